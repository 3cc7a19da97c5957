"""What a fitted model can be looked at by, beside its scores."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from training.batches import UserBatch

__all__ = ["Internals"]


@dataclass(frozen=True)
class Internals:
    """Parts of a model that mean something by themselves; None where it has no such part."""

    content_weight: Tensor | None = None
    """How much an item's content counts against its ID, from 0 to 1, ``[N]``."""
    intensities: Callable[[UserBatch], Tensor] | None = None
    """How much each modality counts for B users, ``[B, M]`` in order of the modalities' names; rows add up to 1."""
    modalities: tuple[str, ...] = ()
    """Names of the M modalities."""
    ids: Tensor | None = None
    """What the model learnt of each item by its ID, ``[N, d]``."""
    contents: Tensor | None = None
    """What it makes of each item's content, ``[N, e]``."""
    both: Tensor | None = None
    """Items of which both mean something: with a training event and with content; bool ``[N]``."""
