"""FISM (Kabbur, Ning and Karypis, KDD 2013): an item is scored by its factored similarity to all that a user has seen.

Each item has two vectors: q_i as the one to be judged, p_j as a witness of taste. Users have none, so whoever brings
a history is answered.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag

from training.batches import Samples, UserBatch
from training.config import LearnedConfig
from training.histories import Histories, HistorySum, Seen, history_sum
from training.learned import LearnedRecommender
from training.losses import bpr, logistic, squared_norm
from training.recommender import Catalogue, TwoTower

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["Fism", "FismConfig"]


class FismConfig(LearnedConfig):
    """Options of FISM; the defaults were chosen on MovieLens 1M, on a held-out interaction of each user."""

    dimension: int = Field(default=32, ge=1)
    """Width d of an embedding."""

    learning_rate: float = Field(default=1e-2, gt=0)
    """Step size of Adam."""

    batch_size: int = Field(default=8192, ge=1)
    """Positives per step; each step sums over all histories once, so small batches are slow."""

    negatives: int = Field(default=4, ge=1)
    """Items drawn against each positive, rho of the paper."""

    loss: Literal["logistic", "bpr"] = "logistic"
    """``logistic``: each score by itself, as FISMrmse but by cross-entropy; ``bpr``: positives against their
    negatives, as FISMauc (eq. 9) but by a smooth rank loss."""

    alpha: float = Field(default=0.5, ge=0, le=1)
    """Exponent of the history's size that divides the sum over it: 0 sums, 1 averages (eq. 6)."""

    regularisation: float = Field(default=1e-4, ge=0)
    """Weight of half the squared norm of the vectors and biases in a batch, per positive."""

    initial_deviation: float = Field(default=0.1, gt=0)
    """Standard deviation of the normal that the vectors start from; biases start at zero."""


class Fism(LearnedRecommender, TwoTower):
    """score(u, i) = b_i + n^-alpha (sum of p_j over the n items j seen) . q_i (eq. 6), as two towers (D = d + 1).

    While training, the positive is left out of its own history, as in the paper. The user's bias of eq. 6 is not
    there: it changes no ranking.
    """

    config: FismConfig

    def __init__(self, config: FismConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.items = nn.Parameter(torch.zeros(catalogue.items, config.dimension))
        self.witnesses = nn.Parameter(torch.zeros(catalogue.items, config.dimension))
        self.bias = nn.Parameter(torch.zeros(catalogue.items, 1))
        self.histories = Histories(catalogue.users, catalogue.items)
        self._sum: HistorySum | None = None

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        with torch.no_grad():
            for table in (self.items, self.witnesses):
                table.copy_(torch.empty(table.shape).normal_(0, self.config.initial_deviation, generator=generator))
            self.bias.zero_()
        self.histories.take(frame.train)
        self._sum = HistorySum.of(frame.train, len(frame.users), len(frame.items)).to(self.device)

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        assert self._sum is not None, "prepare() comes first"
        seen, unseen = embedding(samples.positives, self.items), embedding(samples.negatives, self.items)
        seen_bias = embedding(samples.positives, self.bias).squeeze(1)
        unseen_bias = embedding(samples.negatives, self.bias).squeeze(2)
        own = embedding(samples.positives, self.witnesses)
        total = embedding(samples.users, history_sum(self._sum, self.witnesses))
        count = self.histories.counts(samples.users)
        others = self._normalised(total - own, count - 1)
        positive = seen_bias + (others * seen).sum(1)
        # FISMauc compares under one user vector; FISMrmse leaves out of a history only what it is asked for.
        asking = others if self.config.loss == "bpr" else self._normalised(total, count)
        negative = unseen_bias + (unseen @ asking.unsqueeze(2)).squeeze(2)
        fit = bpr(positive, negative) if self.config.loss == "bpr" else logistic(positive, negative)
        norm = squared_norm(seen, unseen, own, seen_bias, unseen_bias, count=len(samples))
        return {self.config.loss: fit, "l2": self.config.regularisation * norm}

    def user_vectors(self, batch: UserBatch) -> Tensor:
        row, item = self._witnesses_of(batch)
        counts = torch.bincount(row, minlength=len(batch))
        sums = embedding_bag(item, self.witnesses, torch.cumsum(counts, 0) - counts, mode="sum")
        able = (counts > 0).to(sums.dtype).unsqueeze(1)
        return torch.cat([self._normalised(sums, counts), able], dim=1)

    def item_vectors(self) -> Tensor:
        return torch.cat([self.trained_items_of(self.items), self.bias], dim=1)

    def can_score(self, batch: UserBatch) -> Tensor:
        """Whether each user has seen something that training has, bool ``[B]``."""
        return torch.bincount(self._witnesses_of(batch).row, minlength=len(batch)) > 0

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.histories.make_room(state, "histories")
        super().load_state(state)

    def _witnesses_of(self, batch: UserBatch) -> Seen:
        row, item = self.histories.of(batch)
        trained = self.item_trained[item]
        return Seen(row[trained], item[trained])

    def _normalised(self, sums: Tensor, counts: Tensor) -> Tensor:
        return sums * counts.clamp(min=1).to(sums.dtype).pow(-self.config.alpha).unsqueeze(1)
