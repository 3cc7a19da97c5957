"""VBPR (He and McAuley, AAAI 2016): matrix factorisation plus a learned projection of item content, by BPR."""

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from training.batches import Samples, UserBatch
from training.config import LearnedConfig
from training.content import ContentScaling
from training.content_recommender import ContentRecommender
from training.losses import bpr, squared_norm
from training.recommender import Catalogue, TwoTower

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["Vbpr", "VbprConfig"]


class VbprConfig(LearnedConfig):
    """Options of VBPR; the defaults were chosen on the TikTok validation pairs."""

    learning_rate: float = Field(default=1e-2, gt=0)
    """Step size of Adam."""

    content_dimension: int = Field(default=64, ge=1)
    """Width of the projected content and of the users' taste for it."""

    content_scaling: ContentScaling = "centred"
    """What is done to each modality's vectors before they are concatenated."""

    regularisation: float = Field(default=5e-2, ge=0)
    """Weight of half the squared norm of the vectors and biases in a batch, per triplet."""

    projection_regularisation: float = Field(default=1e-2, ge=0)
    """Weight of half the squared norm of the projection E and the content bias."""

    initial_deviation: float = Field(default=0.1, gt=0)
    """Standard deviation of the normal that all vectors start from; biases start at zero."""


class Vbpr(ContentRecommender, TwoTower):
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
        user, items = embedding(samples.users, self.users), (samples.positives, samples.negatives)
        user = torch.cat([user, user.new_ones(len(samples), 1)], dim=1)
        seen, unseen = (self._items(rows) for rows in items)
        used = [embedding(rows, table) for rows in items for table in (self.items, self.bias)]
        norm = squared_norm(embedding(samples.users, self.users), *used, count=len(samples))
        return {
            "bpr": bpr((user * seen).sum(1), (user.unsqueeze(1) * unseen).sum(2)),
            "l2": self.config.regularisation * norm,
            "l2_projection": self.config.projection_regularisation
            * squared_norm(self.projection, self.content_bias, count=1),
        }

    def user_vectors(self, batch: UserBatch) -> Tensor:
        known = self.can_score(batch).to(self.users.dtype).unsqueeze(1)
        return torch.cat([self.trained_users_of(self.users, batch), known], dim=1)

    def item_vectors(self) -> Tensor:
        items = self._items(torch.arange(self.catalogue.items, device=self.device))
        ids, others = items.tensor_split([self.config.dimension], dim=1)
        return torch.cat([self.trained_items_of(ids), others], dim=1)

    def _items(self, rows: Tensor) -> Tensor:
        content = self.content[rows]
        bias = embedding(rows, self.bias) + content @ self.content_bias
        return torch.cat([embedding(rows, self.items), content @ self.projection, bias], dim=-1)
