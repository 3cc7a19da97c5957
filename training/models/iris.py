"""Multimodal IRIS (Liu 2022): item similarity in which the item to be judged decides what counts in a history, over
item vectors that hold a representation common to all modalities.

Equation numbers are the paper's. What it leaves open and what is done here:

- Eqs. 1-4 reconstruct every modality from a common representation H, and say nothing of how H is had. Here H is what
  the multimodal feature learning module makes of the content, so that an item nobody trained on has one too.
- The knowledge-sharing units have no equation: a modality's second layer also reads the first layers of the others.
- The interest-related network has none either: here a scaled inner product of two maps, whose exponentials are
  normalised as in NAIS. It depends on the two items alone, so one table answers a whole batch of users.
- The user's own target is left out of the history.
- A plain reading starts from chance and learns by log loss (``initialisation``, ``loss``); the defaults start from the
  factors of the interactions and compare an item with all others that the batch asks about.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.functional import embedding

from contracts.errors import unknown_name
from training.batches import Samples, UserBatch
from training.config import LearnedConfig
from training.content import ContentScaling
from training.content_recommender import ContentRecommender
from training.histories import Histories, HistorySum, history_sum
from training.losses import listed_logistic, listed_softmax, squared_norm
from training.multimodal import MultimodalFeatures
from training.recommender import Catalogue
from training.spectral import spectral_start

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["IRIS_VARIANTS", "Iris", "IrisConfig"]

_CELLS = 1 << 24
"""Pairs of items whose attention is held at once while scoring: 64 MiB a table."""

_EPSILON = 1e-9

IRIS_VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "image": {"views": "visual"},
    "text": {"views": "textual"},
    "image-add-text": {"views": "textual+visual", "sharing": False, "reconstruction": 0.0},
    "ids": {"views": "none"},
}
"""Variant of the paper → options. ``ids`` is none of the paper's: it shows what content adds."""


class IrisConfig(LearnedConfig):
    """Options of Multimodal IRIS; the paper prints none of its own."""

    variant: str = Field(default="full", min_length=1, max_length=64)
    """Label under which the version is listed and reported; it changes nothing else."""

    learning_rate: float = Field(default=2e-3, gt=0)
    """Step size of Adam."""

    batch_size: int = Field(default=512, ge=1)
    """Users per step: an epoch visits each user with one pair, which stands for the whole history."""

    negatives: int = Field(default=4, ge=1)
    """Items drawn against each positive; all users of a batch are asked about the draws of all."""

    loss: Literal["softmax", "logistic"] = "softmax"
    """``softmax``: each known item against all items that the batch asks about; ``logistic``: each by itself, a user's
    unknown items weighted as ``negatives`` draws for each known one."""

    views: str = "all"
    """Modalities that are read: ``all``, ``none``, or names joined by ``+``, such as ``textual+visual``."""

    sharing: bool = True
    """Whether modalities share knowledge; without, their features are summed with one weight each."""

    reconstruction: float = Field(default=0.1, ge=0)
    """Weight of eq. 3, mean over the items of a batch."""

    attention: bool = True
    """Whether the target weighs the history; without, all of it counts alike."""

    attention_dimension: int = Field(default=32, ge=1)
    """Width a of the interest-related network's two maps."""

    beta: float = Field(default=0.5, ge=0, le=1)
    """Exponent of the sum of attention that divides the score; 1 is a softmax over the history."""

    cold_rate: float = Field(default=0.0, ge=0, lt=1)
    """Share of the items of a batch whose ID vectors are left out, so that their content has to do alone."""

    content_scaling: ContentScaling = "centred"
    """What is done to each modality's vectors before anything else."""

    initialisation: Literal["spectral", "normal"] = "spectral"
    """``spectral``: ID vectors start from the singular vectors of the normalised interactions; ``normal``: from a
    normal of deviation 0.1."""

    initial_spread: float = Field(default=0.5, gt=0)
    """Standard deviation of the scores that spectral ID vectors start with."""

    regularisation: float = Field(default=0.0, ge=0)
    """Weight of half the squared norm of the items' vectors, mean over the items of a batch."""

    @field_validator("views")
    @classmethod
    def _views_are_names(cls, views: str) -> str:
        if not all(views.split("+")) or len(set(views.split("+"))) < len(views.split("+")):
            raise ValueError("`all`, `none`, or distinct names joined by `+`")
        return views

    def views_of(self, widths: Mapping[str, int]) -> list[str]:
        """Names of the modalities that are read, in order.

        Raises:
            NotFound: The data lack one of them.
        """
        if self.views in ("all", "none"):
            return sorted(widths) if self.views == "all" else []
        for name in self.views.split("+"):
            if name not in widths:
                raise unknown_name(
                    "iris modality", name, widths, next_step="correct `--set views=`, or encode that modality first"
                )
        return sorted(self.views.split("+"))


class _Items(NamedTuple):
    targets: Tensor
    """As judged, p of the docstring, ``[n, d]``."""
    witnesses: Tensor
    """As judging, q, ``[n, d]``."""
    bias: Tensor
    """``[n]``."""


class _Asked(NamedTuple):
    seen: Tensor
    """Distinct item rows of the histories of a batch, ``[J]``."""
    sums: HistorySum
    """Sums over those of each user."""
    known: Tensor
    """Whether a user has seen a target, float32 ``[B, M]``."""
    place: Tensor
    """Where in ``seen`` a target is, -1 if it is not there, int64 ``[M]``."""


class Iris(ContentRecommender):
    """score(u, i) = b_i + sum of a_ij q_j . p_i over the items j != i that u has seen, divided by (sum of a_ij)^beta,

    with a_ij = exp(p_i A . q_j B / sqrt(a)), p_i = ID vector + H_i P and q_j = other ID vector + H_j Q.
    """

    config: IrisConfig

    def __init__(self, config: IrisConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d, a, widths = config.dimension, config.attention_dimension, dict(sorted(catalogue.widths.items()))
        views = config.views_of(widths)
        self.items = nn.Parameter(torch.zeros(catalogue.items, d))
        self.witnesses = nn.Parameter(torch.zeros(catalogue.items, d))
        self.bias = nn.Parameter(torch.zeros(catalogue.items, 1))
        self.asking = nn.Parameter(torch.zeros(d, a))
        self.answering = nn.Parameter(torch.zeros(d, a))
        self.features = MultimodalFeatures([widths[name] for name in views], d, sharing=config.sharing)
        self.to_target = nn.Parameter(torch.zeros(d, d)) if views else None
        self.to_witness = nn.Parameter(torch.zeros(d, d)) if views else None
        self.histories = Histories(catalogue.users, catalogue.items)
        self._widths, self._read = list(widths.values()), [name in views for name in widths]
        self._generator = torch.Generator()

    @property
    def scaling(self) -> ContentScaling:
        return self.config.content_scaling

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        self.histories.take(frame.train)
        with torch.no_grad():
            if self._widths:
                self.content.copy_(self.scaled(frame))
            for parameter in self.parameters():
                if parameter.dim() == 2 and len(parameter) != self.catalogue.items:
                    parameter.copy_(nn.init.xavier_uniform_(torch.empty(parameter.shape), generator=generator))
                else:
                    parameter.zero_()
            # Attention starts even and content silent, so that what the ID vectors bring is not scattered at once.
            for late in (self.asking, self.to_target, self.to_witness):
                if late is not None and self.config.initialisation == "spectral":
                    late.zero_()
            for table in (self.items, self.witnesses):
                table.copy_(torch.empty(table.shape).normal_(0, 0.1, generator=generator))
            if self.config.initialisation == "spectral":
                start = spectral_start(
                    frame.train,
                    (len(frame.users), len(frame.items)),
                    self.config.dimension,
                    beta=self.config.beta,
                    spread=self.config.initial_spread,
                    generator=np.random.default_rng(int(torch.randint(2**31, (), generator=generator))),
                )
                self.items.copy_(start.targets)
                self.witnesses.copy_(start.witnesses)

    def visits(self, pairs: Tensor, generator: torch.Generator) -> Tensor:
        """One pair of each user, by chance: it stands for all of the user's, which the loss reads from the history."""
        order = torch.randperm(len(pairs), generator=generator, device=pairs.device)
        users = pairs[order, 0]
        first = users.new_full((self.catalogue.users,), len(pairs))
        first = first.scatter_reduce(0, users, torch.arange(len(users), device=users.device), "amin")
        return order[first[first < len(pairs)].sort().values]

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self._generator = generator

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        targets: Tensor = torch.unique(torch.cat([samples.positives, samples.negatives.flatten()]))
        targets = targets[self.item_trained[targets]]  # Nobody saw the others: not because they did not like them.
        asked = self._asked(UserBatch(samples.users, samples.users.new_empty(len(samples), 0)), targets)
        rows, place = torch.unique(torch.cat([asked.seen, targets]), return_inverse=True)
        items, reconstruction = self._vectors(rows)
        scores = self._scores(_some(items, place[len(asked.seen) :]), _some(items, place[: len(asked.seen)]), asked)
        if self.config.loss == "softmax":
            fit = listed_softmax(scores, asked.known)
        else:
            fit = listed_logistic(scores, asked.known, self.config.negatives)
        terms: dict[str, Tensor] = {self.config.loss: fit}
        if reconstruction is not None:
            terms["reconstruction"] = self.config.reconstruction * reconstruction
        if self.config.regularisation:
            norm = squared_norm(items.targets, items.witnesses, count=len(rows))
            terms["l2"] = self.config.regularisation * norm
        return terms

    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        if items is None:
            items = torch.arange(self.catalogue.items, device=self.device)
        if items.dim() == 1:
            return self._common(batch, items)
        distinct, column = torch.unique(items, return_inverse=True)
        seen = torch.unique(self.histories.of(batch).item)
        if len(batch) > 1 and len(distinct) * len(seen) > _CELLS:
            # Users asked about different items share little of a table: fewer users, smaller tables.
            half = len(batch) // 2
            parts = ((_rows(batch, slice(None, half)), items[:half]), (_rows(batch, slice(half, None)), items[half:]))
            return torch.cat([self.score(some, their) for some, their in parts])
        return self._common(batch, distinct).gather(1, column)

    def can_score(self, batch: UserBatch) -> Tensor:
        """Whether each user has seen something that training has, or that has content, bool ``[B]``."""
        row, item = self.histories.of(batch)
        return torch.bincount(row[self._speaks(item)], minlength=len(batch)) > 0

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.histories.make_room(state, "histories")
        super().load_state(state)

    def like(self, items: int) -> Self:
        model = super().like(items)
        model.histories.make_room(self.state(), "histories")
        return model

    def _common(self, batch: UserBatch, items: Tensor) -> Tensor:
        """Scores of the same items for all users, ``[B, C]``, some items at a time."""
        seen = torch.unique(self.histories.of(batch).item)
        witnesses, _ = self._vectors(seen)
        scores = [
            self._scores(self._vectors(some)[0], witnesses, self._asked(batch, some))
            for some in torch.split(items, max(1, _CELLS // max(1, len(seen))))
        ]
        return torch.cat(scores, dim=1) if scores else self.bias.new_zeros(len(batch), 0)

    def _asked(self, batch: UserBatch, targets: Tensor) -> _Asked:
        """What B users know of M targets and of all the items in their histories."""
        row, item = self.histories.of(batch)
        seen, column = torch.unique(item, return_inverse=True)
        speaks = self._speaks(item)
        pairs = torch.stack([row[speaks], column[speaks]], dim=1).cpu().numpy()
        sums = HistorySum.of(pairs, len(batch), len(seen)).to(self.device)
        # Targets may repeat, as any list of candidates may.
        distinct, place = torch.unique(targets, return_inverse=True)
        at = torch.searchsorted(distinct, item).clamp(max=max(0, len(distinct) - 1))
        asked = speaks & (distinct[at] == item) if len(distinct) else speaks & False
        known = self.bias.new_zeros(len(batch), len(distinct))
        known[row[asked], at[asked]] = 1
        column_of = targets.new_full((len(distinct),), -1)
        column_of[at[asked]] = column[asked]
        return _Asked(seen, sums, known[:, place], column_of[place])

    def _speaks(self, items: Tensor) -> Tensor:
        """Whether something is known of items, from training or by their content, bool of their shape."""
        return self.item_trained[items] | self._contents(items)[1].any(1)

    def _contents(self, rows: Tensor) -> tuple[list[Tensor], Tensor]:
        """Content of each modality that is read, ``[n, width]``, and who has it, bool ``[n, V]``."""
        parts = torch.split(self.content[rows], self._widths, dim=1) if any(self._read) else ()
        contents = [part for part, read in zip(parts, self._read, strict=False) if read]
        if not contents:
            return [], torch.zeros(len(rows), 0, dtype=torch.bool, device=rows.device)
        return contents, torch.stack([(content != 0).any(1) for content in contents], dim=1)

    def _vectors(self, rows: Tensor) -> tuple[_Items, Tensor | None]:
        """Vectors of distinct items ``[n]``, and the loss of eq. 3 while training."""
        trained = self.item_trained[rows].unsqueeze(1)
        if self.training and self.config.cold_rate:
            drawn = torch.rand(len(rows), 1, generator=self._generator, device=rows.device)
            trained = trained & (drawn >= self.config.cold_rate)
        targets, witnesses = embedding(rows, self.items) * trained, embedding(rows, self.witnesses) * trained
        bias = (embedding(rows, self.bias) * trained).squeeze(1)
        if self.to_target is None or self.to_witness is None:
            return _Items(targets, witnesses, bias), None
        contents, present = self._contents(rows)
        common = self.features(contents, present)
        reconstruction = None
        if self.training and self.config.reconstruction:
            reconstruction = self.features.reconstruction(common, contents, present)
        return _Items(targets + common @ self.to_target, witnesses + common @ self.to_witness, bias), reconstruction

    def _scores(self, targets: _Items, witnesses: _Items, asked: _Asked) -> Tensor:
        """Scores of M targets for B users, ``[B, M]``, from tables of each history item with each target."""
        similarity = witnesses.witnesses @ targets.targets.T
        weights = torch.ones_like(similarity)
        if self.config.attention:
            keys, queries = witnesses.witnesses @ self.answering, targets.targets @ self.asking
            weights = torch.exp(keys @ queries.T * self.config.attention_dimension**-0.5)
        weighted = weights * similarity
        # Summed over whole histories; an item says nothing of itself.
        own = asked.place.clamp(min=0).unsqueeze(0)
        numerator = history_sum(asked.sums, weighted)
        denominator = history_sum(asked.sums, weights)
        if len(asked.seen):
            numerator = numerator - asked.known * weighted.gather(0, own)
            denominator = denominator - asked.known * weights.gather(0, own)
        return targets.bias + numerator / denominator.clamp(min=_EPSILON) ** self.config.beta


def _some(items: _Items, rows: Tensor) -> _Items:
    return _Items(embedding(rows, items.targets), embedding(rows, items.witnesses), items.bias[rows])


def _rows(batch: UserBatch, part: slice) -> UserBatch:
    return UserBatch(batch.rows[part], batch.history[part])
