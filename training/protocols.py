"""How a model is judged: what a held-out item is ranked against, and where the lists are cut off."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from contracts.protocol import ProtocolFingerprint
from contracts.snapshot import Snapshot

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["FULL_20", "HeldOut", "Protocol", "validation_of"]


@dataclass(frozen=True)
class Protocol:
    """One way to measure; metrics of different protocols are not comparable."""

    cutoffs: tuple[int, ...]
    """k of the reported metrics, all from one pass."""
    negatives: int | None
    """None: full ranking. A number: each held-out item is ranked against so many items, drawn uniformly and without
    repetition from those that the user has no interaction with in any part of the data. The draws depend on the
    data and :attr:`seed` alone, so they are equal for every model."""
    stopping: str
    """Validation metric that decides which epoch is best, e.g. ``recall_at_20``. Never a test metric."""
    seed: int
    """Of the sampled candidates; of no effect in full ranking."""
    exclude_seen: bool = True
    """Whether, in full ranking, a user's training items are no candidates. False where people choose the same item
    again, as music for another video. The held-out item itself is a candidate always."""

    def fingerprint(self, snapshot: Snapshot, split: str, seeds: tuple[int, ...] = ()) -> ProtocolFingerprint:
        """What must be equal for two metrics to be comparable.

        Args:
            snapshot: The data.
            split: How they were cut, as :meth:`training.splits.Cut.describe` says.
            seeds: Of the split, where it was drawn.
        """
        return ProtocolFingerprint(
            snapshot=snapshot.id,
            split=split,
            candidates=self._candidates(),
            cutoffs=self.cutoffs,
            seeds=seeds if self.negatives is None else (*seeds, self.seed),
        )

    def _candidates(self) -> str:
        if self.negatives is not None:
            drawn = f"{self.negatives} drawn uniformly from the items the user has no interaction with"
            return f"the held-out item and {drawn}"
        return "all items not in the user's training set" if self.exclude_seen else "all items"


FULL_20 = Protocol(cutoffs=(20,), negatives=None, stopping="recall_at_20", seed=0)
"""Full ranking at 20, as the public toolboxes measure; what is measured by where nothing else is said."""


@dataclass(frozen=True)
class HeldOut:
    """Events that a model is judged by and was not trained on."""

    pairs: npt.NDArray[np.int64]
    """User row and item row, ``[m, 2]``."""
    context: npt.NDArray[np.int64] | None = None
    """Row in ``frame.contexts`` of each event, ``[m]``; then each event has a list of its own. None: one list for
    each user."""
    candidates: npt.NDArray[np.int64] | None = None
    """Distinct item rows that are ranked, ``[C]``, e.g. the new items of a cold start; all if None."""


def validation_of(frame: "TrainingFrame") -> HeldOut:
    """The validation events of a frame, which choose when training stops."""
    return HeldOut(frame.validation, frame.validation_context, frame.validation_candidates)
