"""Multimodal IRIS (Liu 2022): item similarity in which the item to be judged decides what counts in a history, over
item vectors that hold a representation common to all modalities.

Equation numbers are the paper's. What it leaves open and what is done here:

- Eqs. 1-4 reconstruct every modality from a common representation H, and say nothing of how H is had. Here H is what
  the multimodal feature learning module makes of the content, so that an item nobody trained on has one too.
- The knowledge-sharing units have no equation: a modality's second layer also reads the first layers of the others.
- The interest-related network has none either: here a scaled inner product of two maps, whose exponentials are
  normalised as in NAIS. It depends on the two items alone, so one table answers a whole batch of users.
- The user's own target is left out of the history.
- A plain reading starts from chance (``initialisation``); the default starts from what FISM learns, as NAIS does.
- Nor has the paper ``similarities``, a regression of each item on all others beside the network.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.functional import embedding

from contracts.errors import unknown_name
from training.batches import Samples, UserBatch
from training.cold_items import ColdItems, ColdItemsConfig
from training.content import ContentScaling
from training.histories import Histories, HistorySum, history_sum
from training.losses import listed_logistic, listed_softmax, squared_norm
from training.models.fism import FismConfig, start_from_fism
from training.multimodal import MultimodalFeatures
from training.recommender import Catalogue
from training.ridge import ridge_similarities
from training.spaces import Choice, Floats
from training.spectral import start_spectral
from training.visits import one_of_each_user

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["IRIS_VARIANTS", "Iris", "IrisConfig"]

_CELLS = 1 << 24
"""Pairs of items whose attention is held at once while scoring: 64 MiB a table."""

_EPSILON = 1e-9

_ACTIVITY_EXPONENT = 0.5
"""Of users in the regression of items on items."""

IRIS_VARIANTS: dict[str, dict[str, Any]] = {
    "full": {},
    "image": {"views": "visual"},
    "text": {"views": "textual"},
    "image-add-text": {"views": "textual+visual", "sharing": False, "reconstruction": 0.0},
    "ids": {"views": "none"},
    "fused": {"similarities": 6.0},
}
"""Variant of the paper → options. Not the paper's are ``ids``, which shows what content adds, and ``fused``, with
similarities of the weight that was best on the validation of MovieLens 1M."""


class IrisConfig(ColdItemsConfig):
    """Options of Multimodal IRIS; the paper prints none of its own. The defaults were chosen on MovieLens 1M, on a
    held-out interaction of each user."""

    variant: str = Field(default="full", min_length=1, max_length=64)
    """Label under which the version is listed and reported; it changes nothing else."""

    dimension: int = Field(default=128, ge=1)
    """Width d of an embedding."""

    learning_rate: float = Field(default=5e-4, gt=0)
    """Step size of Adam."""

    batch_size: int = Field(default=512, ge=1)
    """Users per step: an epoch visits each user with one pair, which stands for the whole history."""

    negatives: int = Field(default=6, ge=1)
    """Items drawn for each user; all users of a batch are asked about the draws of all."""

    averaging: float | None = Field(default=0.98, gt=0, lt=1)
    """Decay of a running mean of the parameters over the steps, which is what is validated and kept; the parameters
    themselves if unset."""

    loss: Literal["softmax", "logistic"] = "logistic"
    """``softmax``: each known item against all items that the batch asks about; ``logistic``: each by itself, a user's
    unknown items weighted as ``negatives`` draws for each known one."""

    views: str = "all"
    """Modalities that are read: ``all``, ``none``, or names joined by ``+``, such as ``textual+visual``."""

    sharing: bool = True
    """Whether modalities share knowledge; without, their features are summed with one weight each."""

    reconstruction: Annotated[float, Floats(0.0, 1.0)] = Field(default=0.1, ge=0)
    """Weight of eq. 3, mean over the items of a batch."""

    attention: bool = True
    """Whether the target weighs the history; without, all of it counts alike."""

    attention_dimension: int = Field(default=32, ge=1)
    """Width a of the interest-related network's two maps."""

    beta: Annotated[float, Floats(0.0, 1.0)] = Field(default=0.5, ge=0, le=1)
    """Exponent of the sum of attention that divides the score; 1 is a softmax over the history."""

    content_scaling: ContentScaling = "centred"
    """What is done to each modality's vectors before anything else."""

    initialisation: Literal["fism", "spectral", "normal"] = "fism"
    """``fism``: ID vectors and biases start from what FISM learns, as NAIS does in its paper; ``spectral``: from the
    singular vectors of the normalised interactions; ``normal``: from a normal of deviation 0.1. But for the last,
    attention starts even and content silent."""

    content_ridge: Annotated[float, Floats(1e-3, 10.0, log=True)] | None = Field(default=None, gt=0)
    """Lets content start as what a ridge regression makes of it: the part of the ID vectors that it can tell, which
    keep the rest. No score changes but those of items that nobody was trained on. Weight of the ridge in mean squares
    of a component of H; content starts silent if unset."""

    pretraining_epochs: int = Field(default=60, ge=1)
    """Epochs of FISM, at most."""

    initial_spread: float = Field(default=0.5, gt=0)
    """Standard deviation of the scores that spectral ID vectors start with."""

    regularisation: Annotated[float, Choice((0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2))] = Field(default=0.0, ge=0)
    """Weight of half the squared norm of the items' vectors, mean over the items of a batch."""

    similarities: Annotated[float, Floats(0.5, 20.0, log=True)] | None = Field(default=None, gt=0)
    """Weight of similarities by a ridge regression of each item on all others (Steck, WWW 2019), summed over the
    history and added to the score once all is trained: two models that err on unlike users. IRIS alone if unset."""

    ridge_penalty: Annotated[float, Floats(5.0, 500.0, log=True)] = Field(default=40.0, gt=0)
    """Of that regression, in users, of whom each counts one over the square root of the items seen."""

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


class Iris(ColdItems):
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
        if config.similarities is not None:
            self.register_buffer("ridge", torch.zeros(catalogue.items, catalogue.items))
            self.ridge: Tensor

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
            # What the ID vectors bring is not to be scattered at once.
            for late in (self.asking, self.to_target, self.to_witness):
                if late is not None and self.config.initialisation != "normal":
                    late.zero_()
            for table in (self.items, self.witnesses):
                table.copy_(torch.empty(table.shape).normal_(0, 0.1, generator=generator))
        config = self.config
        if config.initialisation == "spectral":
            spread, beta = config.initial_spread, config.beta
            start_spectral(frame, self.items, self.witnesses, beta=beta, spread=spread, generator=generator)
        elif config.initialisation == "fism":
            options = FismConfig(dimension=config.dimension, alpha=config.beta, max_epochs=config.pretraining_epochs)
            start_from_fism(self, frame, options, generator)
        if config.content_ridge is not None:
            self._start_content(config.content_ridge)
        if config.similarities is not None:
            shape, penalty = (self.catalogue.users, self.catalogue.items), config.ridge_penalty
            found = ridge_similarities(frame.train, shape, penalty=penalty, activity_exponent=_ACTIVITY_EXPONENT)
            self.ridge.copy_(torch.from_numpy(found))

    @torch.no_grad()
    def _start_content(self, ridge: float) -> None:
        """Fit P and Q to the ID vectors of the trained items, and leave those what is not explained."""
        rows = self.item_trained.nonzero().squeeze(1)
        contents, present = self._contents(rows)
        if self.to_target is None or self.to_witness is None or not len(rows):
            return
        common = self.features(contents, present)
        squares = common.T @ common
        penalty = ridge * squares.diagonal().mean().clamp(min=_EPSILON)
        squares.diagonal().add_(penalty)
        for table, matrix in ((self.items, self.to_target), (self.witnesses, self.to_witness)):
            matrix.copy_(torch.linalg.solve(squares, common.T @ table[rows]))
            table[rows] -= common @ matrix

    def visits(self, pairs: Tensor, generator: torch.Generator) -> Tensor:
        """One pair of each user, by chance: it stands for all of the user's, which the loss reads from the history."""
        return one_of_each_user(pairs[:, 0], generator)

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        # Draws alone: with positives among them the list would be of popular items, and their scores too low.
        targets: Tensor = torch.unique(samples.negatives)
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

    def _common(self, batch: UserBatch, items: Tensor) -> Tensor:
        """Scores of the same items for all users, ``[B, C]``, some items at a time."""
        seen = torch.unique(self.histories.of(batch).item)
        witnesses, _ = self._vectors(seen)
        scores = []
        for some in torch.split(items, max(1, _CELLS // max(1, len(seen)))):
            asked = self._asked(batch, some)
            network = self._scores(self._vectors(some)[0], witnesses, asked)
            if (weight := self.config.similarities) is not None:
                network = network + weight * history_sum(asked.sums, self.ridge[seen][:, some])
            scores.append(network)
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
        if (cold := self.taken_for_cold(len(rows))) is not None:
            trained = trained & ~cold.unsqueeze(1)
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
