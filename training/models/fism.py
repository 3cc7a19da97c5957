"""FISM (Kabbur, Ning and Karypis, KDD 2013): an item is scored by its factored similarity to all that a user has seen.

Each item has two vectors: q_i as the one to be judged, p_j as a witness of taste. Users have none, so whoever brings
a history is answered.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag

from training.batches import Samples, UserBatch
from training.config import LearnedConfig
from training.histories import HistorySum, history_sum
from training.history_recommender import HistoryRecommender
from training.learned import LearnedRecommender
from training.losses import bpr, listed_logistic, logistic, squared_norm
from training.recommender import Catalogue, TwoTower
from training.spaces import Floats
from training.spectral import start_spectral
from training.visits import one_of_each_user

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["Fism", "FismConfig", "fitted_fism", "start_from_fism"]


class FismConfig(LearnedConfig):
    """Options of FISM; the defaults were chosen on MovieLens 1M, on a held-out interaction of each user."""

    dimension: int = Field(default=128, ge=1)
    """Width d of an embedding."""

    learning_rate: float = Field(default=3e-3, gt=0)
    """Step size of Adam."""

    against: Literal["all", "drawn"] = "all"
    """``all``: each user is visited once with all items, which is what draws amount to on average, and on catalogues
    of some thousands far faster; ``drawn``: each pair is visited, with its draws, as in the paper."""

    batch_size: int = Field(default=256, ge=1)
    """Users per step, or positives where negatives are drawn: then each step sums over all histories once, so that
    thousands are wanted."""

    negatives: int = Field(default=4, ge=1)
    """Items drawn against each positive, rho of the paper; against all, the weight of the others."""

    averaging: float | None = Field(default=0.98, gt=0, lt=1)
    """Decay of a running mean of the parameters over the steps, which is what is validated and kept; the parameters
    themselves if unset."""

    loss: Literal["logistic", "bpr"] = "logistic"
    """``logistic``: each score by itself, as FISMrmse but by cross-entropy; ``bpr``: positives against their
    negatives, as FISMauc (eq. 9) but by a smooth rank loss."""

    alpha: Annotated[float, Floats(0.0, 1.0)] = Field(default=0.5, ge=0, le=1)
    """Exponent of the history's size that divides the sum over it: 0 sums, 1 averages (eq. 6)."""

    regularisation: Annotated[float, Floats(1e-6, 1e-1, log=True)] = Field(default=5e-3, ge=0)
    """Weight of half the squared norm of an item's vectors and bias, mean over the items."""

    initialisation: Literal["spectral", "normal"] = "spectral"
    """``spectral``: vectors start from the singular vectors of the normalised interactions; ``normal``: from a normal
    of deviation 0.1. Biases start at zero."""

    initial_spread: float = Field(default=0.5, gt=0)
    """Standard deviation of the scores that spectral vectors start with."""

    @model_validator(mode="after")
    def _draws_are_compared(self) -> Self:
        if self.loss == "bpr" and self.against == "all":
            raise ValueError("`loss=bpr` compares with draws: add `against=drawn`")
        return self


class Fism(HistoryRecommender, TwoTower):
    """score(u, i) = b_i + n^-alpha (sum of p_j over the n items j seen) . q_i (eq. 6), as two towers (D = d + 1).

    While training, the positive is left out of its own history, as in the paper. The user's bias of eq. 6 is not
    there: it changes no ranking. Nor are draws the default: their average, every item that the user has not seen with
    the weight that draws would give it, costs less than four draws do where the catalogue has some thousand items.
    """

    config: FismConfig

    def __init__(self, config: FismConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.items = nn.Parameter(torch.zeros(catalogue.items, config.dimension))
        self.witnesses = nn.Parameter(torch.zeros(catalogue.items, config.dimension))
        self.bias = nn.Parameter(torch.zeros(catalogue.items, 1))
        self._sum: HistorySum | None = None

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        with torch.no_grad():
            for table in (self.items, self.witnesses):
                table.copy_(torch.empty(table.shape).normal_(0, 0.1, generator=generator))
            self.bias.zero_()
        if self.config.initialisation == "spectral":
            spread, beta = self.config.initial_spread, self.config.alpha
            start_spectral(frame, self.items, self.witnesses, beta=beta, spread=spread, generator=generator)
        if self.config.against == "drawn":
            self._sum = HistorySum.of(frame.train, len(frame.users), len(frame.items)).to(self.device)

    def visits(self, pairs: Tensor, generator: torch.Generator) -> Tensor:
        """Against all items one pair of each user, which stands for all of the user's."""
        if self.config.against == "all":
            return one_of_each_user(pairs[:, 0], generator)
        return super().visits(pairs, generator)

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        fit = self._against_all(samples.users) if self.config.against == "all" else self._against_drawn(samples)
        norm = squared_norm(self.items, self.witnesses, self.bias, count=self.catalogue.items)
        return {self.config.loss: fit, "l2": self.config.regularisation * norm}

    def _against_all(self, users: Tensor) -> Tensor:
        row, item = self.histories.of(UserBatch(users, users.new_empty(len(users), 0)))
        counts = self.histories.counts(users).unsqueeze(1)
        known = self.bias.new_zeros(len(users), self.catalogue.items)
        known[row, item] = 1
        starts = (torch.cumsum(counts, 0) - counts).squeeze(1)
        inner = embedding_bag(item, self.witnesses, starts, mode="sum") @ self.items.T
        inner = inner - known * (self.witnesses * self.items).sum(1)
        scores = torch.where(known > 0, self._normalised(inner, counts - 1), self._normalised(inner, counts))
        return listed_logistic(scores + self.bias.squeeze(1), known, self.config.negatives)

    def _against_drawn(self, samples: Samples) -> Tensor:
        assert self._sum is not None, "prepare() comes first"
        seen, unseen = embedding(samples.positives, self.items), embedding(samples.negatives, self.items)
        seen_bias = embedding(samples.positives, self.bias).squeeze(1)
        unseen_bias = embedding(samples.negatives, self.bias).squeeze(2)
        own = embedding(samples.positives, self.witnesses)
        total = embedding(samples.users, history_sum(self._sum, self.witnesses))
        count = self.histories.counts(samples.users)
        others = self._normalised(total - own, count.unsqueeze(1) - 1)
        positive = seen_bias + (others * seen).sum(1)
        # FISMauc compares under one user vector; FISMrmse leaves out of a history only what it is asked for.
        asking = others if self.config.loss == "bpr" else self._normalised(total, count.unsqueeze(1))
        negative = unseen_bias + (unseen @ asking.unsqueeze(2)).squeeze(2)
        return bpr(positive, negative) if self.config.loss == "bpr" else logistic(positive, negative)

    def user_vectors(self, batch: UserBatch) -> Tensor:
        row, item = self.witnesses_of(batch)
        counts = torch.bincount(row, minlength=len(batch))
        sums = embedding_bag(item, self.witnesses, torch.cumsum(counts, 0) - counts, mode="sum")
        able = (counts > 0).to(sums.dtype).unsqueeze(1)
        return torch.cat([self._normalised(sums, counts.unsqueeze(1)), able], dim=1)

    def item_vectors(self) -> Tensor:
        return torch.cat([self.trained_items_of(self.items), self.bias], dim=1)

    def _normalised(self, sums: Tensor, counts: Tensor) -> Tensor:
        return sums * counts.clamp(min=1).to(sums.dtype).pow(-self.config.alpha)


def fitted_fism(
    model: LearnedRecommender, frame: "TrainingFrame", options: FismConfig, generator: torch.Generator
) -> Fism:
    """FISM, trained for another model to start from.

    Args:
        model: The other one; gives the catalogue and the device.
        frame: What FISM is trained on.
        options: Of FISM.
        generator: Seeds it.
    """
    fism = Fism(options, model.catalogue).to(model.device)
    with torch.enable_grad():
        fism.fit(frame, seed=int(torch.randint(2**31, (), generator=generator)))
    return fism


def start_from_fism(
    model: LearnedRecommender, frame: "TrainingFrame", options: FismConfig, generator: torch.Generator
) -> None:
    """Let the ``items``, ``witnesses`` and ``bias`` of a model start from what FISM learns, as NAIS's paper does.

    Arguments are those of :func:`fitted_fism`; FISM is a special case of the model and has its dimension.
    """
    fism = fitted_fism(model, frame, options, generator)
    with torch.no_grad():
        for name in ("items", "witnesses", "bias"):
            model.get_parameter(name).copy_(fism.get_parameter(name))
