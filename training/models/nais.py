"""NAIS (He et al., TKDE 2018): FISM in which the item to be judged decides how much each item of the history counts.

Equation numbers are the paper's. What an item's attention to another is depends on the two items alone, so scoring
works it out once for each pair of items and sums it over the histories, whichever users are asked for.
"""

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag

from training.batches import PADDING, Samples, UserBatch
from training.config import LearnedConfig
from training.histories import Seen
from training.history_recommender import HistoryRecommender
from training.losses import listed_logistic, logistic, squared_norm
from training.models.fism import FismConfig, start_from_fism
from training.recommender import Catalogue
from training.spaces import Floats
from training.visits import one_of_each_user

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["Nais", "NaisConfig"]

_CELLS = 1 << 24
"""Components of the hidden layer held at once while scoring: 64 MiB."""

_EPSILON = 1e-12


class NaisConfig(LearnedConfig):
    """Options of NAIS; start and step size were chosen on MovieLens 1M, on a held-out interaction of each user."""

    dimension: int = Field(default=128, ge=1)
    """Width d of an embedding."""

    learning_rate: float = Field(default=5e-4, gt=0)
    """Step size of Adam."""

    averaging: float | None = Field(default=0.98, gt=0, lt=1)
    """Decay of a running mean of the parameters over the steps, which is what is validated and kept; the parameters
    themselves if unset."""

    against: Literal["list", "drawn"] = "list"
    """``list``: each user is visited once, and all users of a batch are asked about one list of items, drawn by them
    together, so that an item's attention to another is worked out once for all; ``drawn``: each pair is visited, with
    its draws, as in the paper."""

    batch_size: int = Field(default=512, ge=1)
    """Users per step, and so items in a list, at most; or positives where negatives are drawn."""

    negatives: int = Field(default=4, ge=1)
    """Items drawn against each positive; in a list, the weight of the others."""

    attention: Literal["prod", "concat"] = "prod"
    """What the attention network reads: the product of the two items' vectors (eq. 10) or both (eq. 9)."""

    attention_dimension: int = Field(default=8, ge=1)
    """Width a of the attention network's hidden layer."""

    beta: Annotated[float, Floats(0.0, 1.0)] = Field(default=0.5, ge=0, le=1)
    """Smoothing exponent of the softmax's denominator (eq. 11); 1 is the plain softmax."""

    history: int = Field(default=50, ge=1)
    """Items of a history that each drawn sample sees; longer ones are sampled. Lists and scoring read all."""

    pretraining_epochs: int = Field(default=60, ge=0)
    """Epochs of FISM, at most, that the item vectors and biases start from; attention then starts even, so that the
    first scores are FISM's. 0: all starts from chance."""

    regularisation: Annotated[float, Floats(1e-6, 1e-1, log=True)] = Field(default=5e-3, ge=0)
    """Weight of half the squared norm of the vectors and biases: mean over the items, or of drawn batches per
    positive."""

    initial_deviation: float = Field(default=0.1, gt=0)
    """Standard deviation of the normal that the vectors start from; biases start at zero."""


class Nais(HistoryRecommender):
    """score(u, i) = b_i + sum of a_ij p_i . q_j over the items j != i that u has seen, with eq. 11's

    a_ij = exp(f(i, j)) / (sum of exp(f(i, j')) over the same items)^beta.

    p_i is the vector of an item to be judged, q_j of a witness. The bias is in the authors' program, not in eq. 8.
    """

    config: NaisConfig

    def __init__(self, config: NaisConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d, a = config.dimension, config.attention_dimension
        self.items = nn.Parameter(torch.zeros(catalogue.items, d))
        self.witnesses = nn.Parameter(torch.zeros(catalogue.items, d))
        self.bias = nn.Parameter(torch.zeros(catalogue.items, 1))
        self.hidden = nn.Parameter(torch.zeros(d if config.attention == "prod" else 2 * d, a))
        self.hidden_bias = nn.Parameter(torch.zeros(a))
        self.energy = nn.Parameter(torch.zeros(a))
        self._generator = torch.Generator()

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        with torch.no_grad():
            for table in (self.items, self.witnesses):
                table.copy_(torch.empty(table.shape).normal_(0, self.config.initial_deviation, generator=generator))
            self.bias.zero_()
            self.hidden.copy_(nn.init.xavier_normal_(torch.empty(self.hidden.shape), generator=generator))
            self.hidden_bias.zero_()
            energy = nn.init.xavier_normal_(torch.empty(len(self.energy), 1), generator=generator)
            self.energy.copy_(energy.squeeze(1))
            if self.config.pretraining_epochs:
                self.energy.zero_()
        if (epochs := self.config.pretraining_epochs) > 0:
            options = FismConfig(dimension=self.config.dimension, alpha=self.config.beta, max_epochs=epochs)
            start_from_fism(self, frame, options, generator)

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self._generator = generator

    def visits(self, pairs: Tensor, generator: torch.Generator) -> Tensor:
        """With lists one pair of each user, which stands for all of the user's."""
        if self.config.against == "list":
            return one_of_each_user(pairs[:, 0], generator)
        return super().visits(pairs, generator)

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        return self._on_a_list(samples) if self.config.against == "list" else self._on_draws(samples)

    def _on_a_list(self, samples: Samples) -> dict[str, Tensor]:
        # Draws alone: with positives among them the list would be of popular items, and their scores too low.
        targets: Tensor = torch.unique(samples.negatives[:, 0])
        targets = targets[self.item_trained[targets]]
        seen = self.witnesses_of(UserBatch(samples.users, samples.users.new_empty(len(samples), 0)))
        column = targets.new_full((self.catalogue.items,), PADDING)
        column[targets] = torch.arange(len(targets), device=targets.device)
        asked = column[seen.item]
        known = self.bias.new_zeros(len(samples), len(targets))
        known[seen.row[asked != PADDING], asked[asked != PADDING]] = 1
        fit = listed_logistic(self._common(seen, len(samples), targets), known, self.config.negatives)
        norm = squared_norm(self.items, self.witnesses, self.bias, count=self.catalogue.items)
        return {"logistic": fit, "l2": self.config.regularisation * norm}

    def _on_draws(self, samples: Samples) -> dict[str, Tensor]:
        history = self.histories.sample(samples.users, self.config.history, self._generator)
        asked = torch.cat([samples.positives.unsqueeze(1), samples.negatives], dim=1)
        targets, bias = embedding(asked, self.items), embedding(asked, self.bias).squeeze(2)
        witnesses = embedding(history.clamp(min=0), self.witnesses)
        visible = (history != PADDING).unsqueeze(1) & (history.unsqueeze(1) != asked.unsqueeze(2))
        # Both sums of a sampled history stand for those over all of it, the positive itself left out.
        whole = self.histories.counts(samples.users).unsqueeze(1).repeat(1, asked.shape[1])
        whole[:, 0] -= 1
        share = whole.to(bias.dtype) / visible.sum(2).clamp(min=1)
        scores = bias + share.pow(1 - self.config.beta) * self._judged(targets, witnesses, visible)
        norm = squared_norm(targets, embedding(samples.positives, self.witnesses), bias, count=len(samples))
        return {"logistic": logistic(scores[:, 0], scores[:, 1:]), "l2": self.config.regularisation * norm}

    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        seen = self.witnesses_of(batch)
        if items is None:
            items = torch.arange(self.catalogue.items, device=self.device)
        if items.dim() == 1:
            return self._common(seen, len(batch), items)
        distinct, column = torch.unique(items, return_inverse=True)
        longest = int(torch.bincount(seen.row, minlength=1).max())
        if len(distinct) * len(torch.unique(seen.item)) <= items.numel() * longest:
            return self._common(seen, len(batch), distinct).gather(1, column)
        return self._separate(seen, items, longest)

    def _energies(self, targets: Tensor, witnesses: Tensor) -> Tensor:
        """f(i, j) of eqs. 9-10 for targets ``[..., C, d]`` and witnesses ``[..., n, d]``, ``[..., C, n]``."""
        if self.config.attention == "concat":
            left, right = self.hidden.tensor_split(2)
            hidden = (targets @ left).unsqueeze(-2) + (witnesses @ right).unsqueeze(-3) + self.hidden_bias
            return torch.relu(hidden) @ self.energy
        # W (p_i * q_j) = (W diag p_i) q_j: a matrix for each target, and no product for each pair.
        maps = (targets.unsqueeze(-1) * self.hidden).transpose(-3, -2).flatten(-2)
        hidden = witnesses @ maps
        hidden = hidden.view(*hidden.shape[:-1], targets.shape[-2], len(self.energy)) + self.hidden_bias
        return (torch.relu(hidden) @ self.energy).transpose(-2, -1)

    def _judged(self, targets: Tensor, witnesses: Tensor, visible: Tensor) -> Tensor:
        """Eq. 11 without the bias for targets ``[B, C, d]`` by witnesses ``[B, n, d]`` where ``[B, C, n]`` says."""
        weights = self._energies(targets, witnesses).exp() * visible
        sums = (weights * (targets @ witnesses.transpose(1, 2))).sum(2)
        return sums / weights.sum(2).clamp(min=_EPSILON).pow(self.config.beta)

    def _common(self, seen: Seen, users: int, items: Tensor) -> Tensor:
        """Scores of the same distinct items ``[C]`` for all users, ``[B, C]``."""
        distinct, place = torch.unique(seen.item, return_inverse=True)
        counts = torch.bincount(seen.row, minlength=users)
        starts = torch.cumsum(counts, 0) - counts
        witnesses, table = self.witnesses[distinct], self.trained_items_of(self.items)
        column = items.new_full((self.catalogue.items,), PADDING)
        scores = []
        for some in torch.split(items, max(1, _CELLS // max(1, len(distinct) * len(self.energy)))):
            targets = table[some]
            weights = self._energies(targets, witnesses).exp()
            sums = weights * (targets @ witnesses.T)
            numerator, denominator = (
                embedding_bag(place, terms.T.contiguous(), starts, mode="sum") for terms in (sums, weights)
            )
            # Summed over whole histories; an item is no witness of itself.
            column.fill_(PADDING)[some] = torch.arange(len(some), device=some.device)
            own = column[seen.item]
            itself = own != PADDING
            cell = (seen.row[itself], own[itself])
            numerator[cell] -= sums[own[itself], place[itself]]
            denominator[cell] -= weights[own[itself], place[itself]]
            scores.append(numerator / denominator.clamp(min=_EPSILON).pow(self.config.beta))
        return torch.cat(scores, dim=1) + self.bias[items].squeeze(1)

    def _separate(self, seen: Seen, items: Tensor, longest: int) -> Tensor:
        """Scores of each user's own items ``[B, C]``, some users at a time, ``[B, C]``."""
        counts = torch.bincount(seen.row, minlength=len(items))
        within = torch.arange(len(seen.row), device=items.device) - (torch.cumsum(counts, 0) - counts)[seen.row]
        history = items.new_full((len(items), longest), PADDING)
        history[seen.row, within] = seen.item
        table, scores = self.trained_items_of(self.items), []
        rows = max(1, _CELLS // max(1, items.shape[1] * longest * len(self.energy)))
        for asked, witnesses in zip(torch.split(items, rows), torch.split(history, rows), strict=True):
            visible = (witnesses != PADDING).unsqueeze(1) & (witnesses.unsqueeze(1) != asked.unsqueeze(2))
            scores.append(self._judged(table[asked], self.witnesses[witnesses.clamp(min=0)], visible))
        return torch.cat(scores) + self.bias[items].squeeze(2)
