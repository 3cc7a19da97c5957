"""The one surface that callers see, whichever model is behind it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from contracts.errors import BadInput
from training.batches import UserBatch
from training.config import RecommenderConfig
from training.internals import Internals
from training.protocols import FULL_20, Protocol
from training.sized import SizedByData

if TYPE_CHECKING:
    # Only a name here: whoever loads a package needs no feature store.
    from feature_repo.frame import TrainingFrame
    from training.content import ItemContent

__all__ = ["Catalogue", "EpochReport", "FitReport", "OnEpoch", "Recommender", "TwoTower"]


@dataclass(frozen=True)
class Catalogue:
    """Sizes that fix the shapes of a model's tensors."""

    users: int
    items: int
    widths: Mapping[str, int]
    """Modality → number of components, in the order of the names; empty for models without content."""
    contexts: Mapping[str, int] = field(default_factory=dict)
    """Name of a context → number of its components, in the order of the names."""

    @classmethod
    def of(cls, frame: "TrainingFrame") -> "Catalogue":
        """The sizes of a training frame."""
        widths = {name: frame.modalities[name].shape[1] for name in sorted(frame.modalities)}
        contexts = {name: table.shape[1] for name, table in sorted(frame.contexts.items())}
        return cls(users=len(frame.users), items=len(frame.items), widths=widths, contexts=contexts)


@dataclass(frozen=True)
class EpochReport:
    """What one pass over the training pairs did."""

    epoch: int
    """Counted from 1."""
    losses: dict[str, float]
    """Loss term → mean over the batches, weighted as in the objective."""
    validation: dict[str, float]
    """Metric → value on the validation pairs."""


@dataclass(frozen=True)
class FitReport:
    """How a fit went; the model holds the state of ``best_epoch``."""

    epochs: int
    """Passes made; 0 for a model that needs none."""
    best_epoch: int
    validation: dict[str, float]
    """Metrics of the best epoch."""
    losses: dict[str, float]
    """Loss terms of the best epoch."""
    seconds: float
    """Wall clock, evaluation included."""


OnEpoch = Callable[[EpochReport], None]


class Recommender(nn.Module, ABC):
    """A model that ranks all items for a user.

    Args:
        config: The model's own typed configuration.
        catalogue: Sizes of its tables.
    """

    shape: ClassVar[Literal["two-tower", "scorer"]] = "scorer"
    """``two-tower``: see :class:`TwoTower`; ``scorer``: user and item meet inside the model, which ranks candidates."""

    reads_content: ClassVar[bool] = False
    """Whether scores depend on the items' vectors."""

    def __init__(self, config: RecommenderConfig, catalogue: Catalogue) -> None:
        super().__init__()
        self.config = config
        self.catalogue = catalogue

    @property
    def device(self) -> torch.device:
        """Where the model's tensors are."""
        tensor: Tensor = next(iter(self.state_dict().values()))
        return tensor.device

    @abstractmethod
    def fit(
        self,
        frame: "TrainingFrame",
        *,
        seed: int,
        on_epoch: OnEpoch | None = None,
        protocol: Protocol = FULL_20,
        checkpoint: Path | None = None,
    ) -> FitReport:
        """Learn from the training pairs of a frame; its validation pairs choose when to stop.

        Args:
            frame: The data.
            seed: Fixes everything random.
            on_epoch: Called after each pass over the data.
            protocol: How the validation pairs judge.
            checkpoint: File in which a long training keeps its standing, so that it goes on if it was killed.
        """

    @abstractmethod
    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        """Scores for B users; higher is better.

        Args:
            batch: The users.
            items: Candidate item rows, int64: ``[B, C]`` of each user, or ``[C]`` of all; None for all N items.

        Returns:
            float32 ``[B, C]``, or ``[B, N]``. Those of a user whom :meth:`can_score` refuses are finite, no more.
        """

    @abstractmethod
    def can_score(self, batch: UserBatch) -> Tensor:
        """Whether the model has something to say about each user, bool ``[B]``."""

    def with_content(self, content: "ItemContent") -> Self:
        """The model with other vectors of its items, its trained weights kept; itself where it reads none.

        Args:
            content: Of the modalities and widths it was fitted on; as many items as it has, in its order, or more:
                those behind its own are scored by what they contain alone.
        """
        return self

    def internals(self) -> Internals:
        """What there is to look at in the fitted model beside its scores; nothing, for most."""
        return Internals()

    def state(self) -> dict[str, Tensor]:
        """Everything that scoring needs, as contiguous CPU tensors."""
        return {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}

    def make_room(self, state: Mapping[str, Tensor]) -> None:
        """Give the parts whose size the data decide the sizes that they have in a state."""
        for name, part in self.named_modules():
            if isinstance(part, SizedByData):
                inside = {
                    key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")
                }
                part.make_room(inside)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` returned.

        Raises:
            BadInput: A tensor is missing, surplus or of another shape.
        """
        self.make_room(state)
        own = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in self.state_dict().items()}
        given = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}
        for name in sorted(own.keys() | given.keys()):
            if own.get(name) != given.get(name):
                raise BadInput(
                    f"weights of {type(self).__name__}: tensor {name!r}",
                    found=_describe(given.get(name)),
                    expected=_describe(own.get(name)),
                    next_step="load them with the configuration and the vocabularies they were trained with",
                )
        self.load_state_dict(dict(state))


class TwoTower(Recommender):
    """A model whose score is the inner product of a user and an item vector, so that an index can retrieve."""

    shape = "two-tower"

    @abstractmethod
    def user_vectors(self, batch: UserBatch) -> Tensor:
        """Vectors of B users, float32 ``[B, D]``; zeros where :meth:`can_score` says no."""

    @abstractmethod
    def item_vectors(self) -> Tensor:
        """Vectors of all items, float32 ``[N, D]``."""

    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        users, table = self.user_vectors(batch), self.item_vectors()
        if items is None:
            return users @ table.T
        if items.dim() == 1:
            return users @ table[items].T
        return (table[items] @ users.unsqueeze(2)).squeeze(2)


def _describe(tensor: tuple[tuple[int, ...], torch.dtype] | None) -> str:
    return f"{str(tensor[1]).removeprefix('torch.')} {list(tensor[0])}" if tensor else "no such tensor"
