"""M3CSR (Chen et al. 2024): multi-modal modelling for cold-start short-video recommendation, read plainly.

Equation numbers are the paper's. What it leaves open and what is done here:

- Eq. 2 gives an item 2d components per modality and eq. 4 gives the user's interest d, yet eq. 12 multiplies the
  two: the attention of eq. 4 ends in 2d components here.
- A user's own target video is left out of the history while training. With it, a user of one interaction would
  learn to match a video with itself.
- The prose speaks of high-order connectivity; no equation has it and neither has this reading.
- A user unknown to training asks with the mean user embedding, so that a history alone gets recommendations.
- The ID part of an item without a training interaction is zero when scoring; its content remains.
"""

from typing import TYPE_CHECKING, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import embedding

from training.attention import HistoryAttention, Places
from training.batches import PADDING, Samples, UserBatch
from training.config import LearnedConfig
from training.content import ContentScaling, content_clusters, nearest_clusters
from training.content_recommender import ContentRecommender
from training.losses import bpr, pairwise_squared_dot, squared_norm
from training.recommender import Catalogue, TwoTower

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["M3csr", "M3csrConfig"]


class M3csrConfig(LearnedConfig):
    """Options of M3CSR; the defaults were chosen on the TikTok validation pairs, also over values the paper gives.

    The paper's own: learning rate 1e-3, batches of 1024, alpha 1e-6, beta 1e-5, tau 0.07, d 64, patience 10.
    """

    variant: str = Field(default="tuned", min_length=1, max_length=64)
    """Label under which the version is listed and reported; it changes nothing else."""

    learning_rate: float = Field(default=5e-3, gt=0)
    """Step size of Adam; the paper's 1e-3 ends at the same validation Recall@20 after four times the epochs."""

    heads: int = Field(default=4, ge=1)
    """Attention heads of eqs. 3 and 4; must divide ``dimension``."""

    clusters: int = Field(default=100, ge=1)
    """K-means centres over the concatenated content."""

    popularity_bins: int = Field(default=12, ge=1)
    """Bins of eq. 10's popularity: bin b holds items with 2^b - 1 to 2^(b+1) - 2 views, the last one all above."""

    content_scaling: ContentScaling = "none"
    """What is done to each modality's vectors before anything else; the paper says nothing."""

    temperature: float = Field(default=0.07, gt=0)
    """tau of eq. 6."""

    orthogonality: float = Field(default=1e-6, ge=0)
    """alpha of eq. 13, weight of L_perp."""

    regularisation: float = Field(default=3e-5, ge=0)
    """beta of eq. 13, weight of the squared norm of all parameters; the paper's own value is 1e-5."""

    @model_validator(mode="after")
    def _heads_divide_dimension(self) -> Self:
        if self.dimension % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide dimension ({self.dimension})")
        return self


class _Items(NamedTuple):
    ids: Tensor
    """ID embeddings, ``[n, d]``."""
    encodings: list[Tensor]
    """Per modality ``[n, 2d]``."""


class _Interests(NamedTuple):
    behaviour: Tensor
    """h_u, ``[B, d]``."""
    modal: Tensor
    """Weighted by intensity, ``[B, M, 2d]``."""


class M3csr(ContentRecommender, TwoTower):
    """Two towers whose vectors have D = d + 2dM components for M modalities."""

    config: M3csrConfig

    def __init__(self, config: M3csrConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d, widths = config.dimension, dict(sorted(catalogue.widths.items()))
        self.users = nn.Parameter(torch.zeros(catalogue.users, d))
        self.items = nn.Parameter(torch.zeros(catalogue.items, d))
        self.maps = nn.ParameterList([nn.Parameter(torch.zeros(width, d)) for width in widths.values()])
        self.map_biases = nn.ParameterList([nn.Parameter(torch.zeros(d)) for _ in widths])
        self.cluster_ids = nn.ParameterList([nn.Parameter(torch.zeros(config.clusters, d)) for _ in widths])
        self.behaviour = HistoryAttention(query=d, item=d, inner=d, out=d, heads=config.heads)
        self.tastes = nn.ModuleList(
            [HistoryAttention(query=d, item=2 * d, inner=d, out=2 * d, heads=config.heads) for _ in widths]
        )
        self.intensity = nn.Parameter(torch.zeros(3 * d, 1))
        self.popularity = nn.Parameter(torch.zeros(config.popularity_bins, d))
        self.gate = nn.Parameter(torch.zeros(d, 1))
        self.gate_bias = nn.Parameter(torch.zeros(1))
        self.register_buffer("cluster", torch.zeros(catalogue.items, dtype=torch.int64))
        self.register_buffer("bin", torch.zeros(catalogue.items, dtype=torch.int64))
        self.cluster: Tensor
        self.bin: Tensor
        self._widths = list(widths.values())
        self._history: Tensor | None = None

    @property
    def scaling(self) -> ContentScaling:
        return self.config.content_scaling

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.dim() == 2:
                    parameter.copy_(nn.init.xavier_uniform_(torch.empty(parameter.shape), generator=generator))
                else:
                    parameter.zero_()
        content = self.scaled(frame)
        seed = int(torch.randint(2**31, (), generator=generator))
        self.content.copy_(content)
        self.cluster.copy_(content_clusters(content, self.config.clusters, seed))
        views = torch.from_numpy(frame.popularity).double()
        self.bin.copy_(torch.log2(views + 1).long().clamp(max=self.config.popularity_bins - 1))
        self._history = torch.from_numpy(frame.history).to(self.device)

    def content_state(self, scaled: Tensor) -> dict[str, Tensor]:
        """Items whose content is another go to the nearest of the clusters whose embeddings were trained."""
        held, clusters = self.content.cpu(), self.cluster.cpu()
        other = torch.ones(len(scaled), dtype=torch.bool)
        other[: len(held)] = (scaled[: len(held)] != held).any(1)
        found = torch.zeros(len(scaled), dtype=torch.int64)
        found[: len(held)] = clusters
        found[other] = nearest_clusters(scaled[other], held, clusters)
        return {"content": scaled, "cluster": found}

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        assert self._history is not None, "prepare() comes first"
        users, positives = samples.users, samples.positives
        # Rows that see the same are computed once: a heavy user's target is seldom among the newest 50.
        history = self._history[users]
        target = torch.where((history == positives.unsqueeze(1)).any(1), positives, self.catalogue.items)
        distinct, row = torch.unique(users * (self.catalogue.items + 1) + target, return_inverse=True)
        user, left_out = distinct // (self.catalogue.items + 1), distinct % (self.catalogue.items + 1)
        history = self._history[user]
        visible = (history != PADDING) & (history != left_out.unsqueeze(1))
        interests = self._interests(embedding(user, self.users), history, visible)
        towers = embedding(row, _final(interests))
        seen, unseen = self._item_tower(positives), self._item_tower(samples.negatives)
        return {
            "bpr": bpr((towers * seen).sum(1), (towers.unsqueeze(1) * unseen).sum(2)),
            "orthogonality": self.config.orthogonality * pairwise_squared_dot(interests.modal.index_select(0, row)),
            "l2": self.config.regularisation * 2 * squared_norm(*self.parameters(), count=1),
        }

    def user_vectors(self, batch: UserBatch) -> Tensor:
        known = self.is_trained(batch).unsqueeze(1)
        queries = torch.where(known, self.users[batch.rows.clamp(min=0)], self.users.mean(0))
        return _final(self._interests(queries, batch.history, batch.history != PADDING))

    def item_vectors(self) -> Tensor:
        items = self._item_tower(torch.arange(self.catalogue.items, device=self.device))
        ids, content = items.tensor_split([self.config.dimension], dim=1)
        return torch.cat([self.trained_items_of(ids), content], dim=1)

    def can_score(self, batch: UserBatch) -> Tensor:
        return (batch.history != PADDING).any(1)

    def _encode(self, rows: Tensor) -> _Items:
        """Eqs. 1-2: content mapped to the behaviour space, beside the cluster's embedding."""
        clusters = self.cluster[rows]
        contents = torch.split(self.content[rows], self._widths, dim=-1)
        encodings = [
            torch.cat([content @ matrix + bias, embedding(clusters, table)], dim=-1)
            for content, matrix, bias, table in zip(contents, self.maps, self.map_biases, self.cluster_ids, strict=True)
        ]
        return _Items(embedding(rows, self.items), encodings)

    def _interests(self, queries: Tensor, history: Tensor, visible: Tensor) -> _Interests:
        """Eqs. 3-7.

        Args:
            queries: ID embeddings of the users, ``[B, d]``.
            history: Their item rows, ``[B, n]``.
            visible: Which places of the history count, bool ``[B, n]``.
        """
        rows, item = torch.unique(history[visible], return_inverse=True)
        places = Places(row=visible.nonzero()[:, 0], item=item)
        items = self._encode(rows)
        behaviour = self.behaviour(queries, items.ids, places)  # eq. 3
        tastes = zip(self.tastes, items.encodings, strict=True)
        modal = torch.stack([taste(queries.detach(), encoding, places) for taste, encoding in tastes], dim=1)  # eq. 4
        own = behaviour.detach().unsqueeze(1).expand(-1, modal.shape[1], -1)
        intensity = torch.cat([own, modal], dim=2) @ self.intensity  # eq. 5
        return _Interests(behaviour, torch.softmax(intensity / self.config.temperature, dim=1) * modal)  # eqs. 6-7

    def _item_tower(self, rows: Tensor) -> Tensor:
        """Eqs. 10-11: the colder the item, the more its content counts."""
        items = self._encode(rows)
        delta = torch.sigmoid(embedding(self.bin[rows], self.popularity) @ self.gate + self.gate_bias)
        return torch.cat([(1 - delta) * items.ids, *(delta * encoding for encoding in items.encodings)], dim=-1)


def _final(interests: _Interests) -> Tensor:
    """Eq. 9."""
    return torch.cat([interests.behaviour, interests.modal.flatten(1)], dim=1)
