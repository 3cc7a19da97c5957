"""VBPR (He and McAuley, AAAI 2016): matrix factorisation plus a learned projection of item content, by BPR."""

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag

from training.batches import Samples, UserBatch
from training.cold_items import ColdItems, ColdItemsConfig
from training.content import ContentScaling
from training.internals import Internals
from training.losses import bpr, squared_norm
from training.recommender import Catalogue, TwoTower
from training.spaces import Choice, Floats

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["Vbpr", "VbprConfig"]


class VbprConfig(ColdItemsConfig):
    """Options of VBPR; the defaults were chosen on the TikTok validation pairs."""

    learning_rate: float = Field(default=2e-2, gt=0)
    """Step size of Adam."""

    batch_size: int = Field(default=8192, ge=1)
    """Training pairs per step."""

    content_dimension: Annotated[int, Choice((16, 32, 64, 128))] = Field(default=64, ge=1)
    """Width of the projected content and of the users' taste for it."""

    content_scaling: ContentScaling = "centred"
    """What is done to each modality's vectors before they are concatenated."""

    regularisation: Annotated[float, Floats(1e-4, 1.0, log=True)] = Field(default=5e-2, ge=0)
    """Weight of half the squared norm of the vectors and biases in a batch, per triplet."""

    projection_regularisation: Annotated[float, Floats(1e-4, 1.0, log=True)] = Field(default=1e-2, ge=0)
    """Weight of half the squared norm of the projection E and the content bias."""

    initial_deviation: float = Field(default=0.1, gt=0)
    """Standard deviation of the normal that all vectors start from; biases start at zero."""


class Vbpr(ColdItems, TwoTower):
    """score(u, i) = b_i + p_u . q_i + t_u . (E f_i) + c . f_i (eq. 4, without terms that do not change a ranking).

    As two towers: [p_u, t_u, 1] and [q_i, E f_i, b_i + c . f_i] (D = d + content_dimension + 1). ``f_i`` is the
    concatenated content of the item, zeros where it has none; q_i is zero for an item without a training pair.
    """

    config: VbprConfig

    def __init__(self, config: VbprConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        width = sum(catalogue.widths.values())
        self.users = nn.Parameter(torch.zeros(catalogue.users, config.dimension + config.content_dimension))
        self.items = nn.Parameter(torch.zeros(catalogue.items, config.dimension))
        self.bias = nn.Parameter(torch.zeros(catalogue.items, 1))
        self.projection = nn.Parameter(torch.zeros(width, config.content_dimension))
        self.content_bias = nn.Parameter(torch.zeros(width, 1))

    @property
    def scaling(self) -> ContentScaling:
        return self.config.content_scaling

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        with torch.no_grad():
            for table in (self.users, self.items, self.projection):
                table.copy_(torch.empty(table.shape).normal_(0, self.config.initial_deviation, generator=generator))
            self.bias.zero_()
            self.content_bias.zero_()
            self.content.copy_(self.scaled(frame))

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        drawn = samples.negatives
        rows = torch.cat([samples.positives, drawn.flatten()])
        # One look-up in each table: the gradient of each would be a table of its own.
        user, ids, bias = (
            embedding(rows, table)
            for rows, table in ((samples.users, self.users), (rows, self.items), (rows, self.bias))
        )
        if (cold := self.taken_for_cold(len(rows))) is not None:
            ids, bias = (part * ~cold.unsqueeze(1) for part in (ids, bias))
        # Content enters both scores linearly: the projection of the difference is half the work.
        content, offset = self._projected(self._differences(samples))
        vectors = torch.cat([self._margin(ids, drawn), content], dim=2)
        margin = (user.unsqueeze(1) * vectors).sum(2) + (self._margin(bias, drawn) + offset).squeeze(2)
        norm = squared_norm(user, ids, bias, count=len(samples))
        return {
            "bpr": bpr(margin, torch.zeros_like(margin)),
            "l2": self.config.regularisation * norm,
            "l2_projection": self.config.projection_regularisation
            * squared_norm(self.projection, self.content_bias, count=1),
        }

    def user_vectors(self, batch: UserBatch) -> Tensor:
        known = self.can_score(batch).to(self.users.dtype).unsqueeze(1)
        return torch.cat([self.trained_users_of(self.users, batch), known], dim=1)

    def item_vectors(self) -> Tensor:
        content, offset = self._projected(self.content)
        return torch.cat([self.trained_items_of(self.items), content, self.bias + offset], dim=1)

    @torch.no_grad()
    def internals(self) -> Internals:
        both = self.item_trained & self.content.any(1)
        return Internals(ids=self.items, contents=self.content @ self.projection, both=both)

    def _projected(self, content: Tensor) -> tuple[Tensor, Tensor]:
        """E f ``[..., content_dimension]`` and c . f ``[..., 1]`` of content ``[..., width]``."""
        return content @ self.projection, content @ self.content_bias

    def _differences(self, samples: Samples) -> Tensor:
        """Content of each positive less that of its K negatives ``[B, K, width]``, in one pass over both."""
        drawn = samples.negatives
        pairs = torch.stack([samples.positives.unsqueeze(1).expand_as(drawn), drawn], dim=2).view(-1, 2)
        signs = self.content.new_tensor([1.0, -1.0]).expand(pairs.shape)
        return embedding_bag(pairs, self.content, per_sample_weights=signs, mode="sum").view(*drawn.shape, -1)

    @staticmethod
    def _margin(table: Tensor, drawn: Tensor) -> Tensor:
        """Each positive's row less those of its K negatives, ``[B, K, D]``, of ``[B + BK, D]``."""
        positive, negative = torch.split(table, [len(drawn), drawn.numel()])
        return positive.unsqueeze(1) - negative.view(*drawn.shape, -1)
