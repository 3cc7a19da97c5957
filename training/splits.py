"""How a frame's interactions are set apart for training, validation and test.

A cut takes a training frame and the events of all its parts, and gives a frame whose training and validation pairs,
histories and popularity come from the new training part alone, and the test part beside it. What items and requests
contain (modalities, contexts, texts) and the networks stay: they are no labels.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput
from training.batches import PADDING
from training.protocols import HeldOut

if TYPE_CHECKING:
    from contracts.snapshot import SplitInstants
    from feature_repo.frame import TrainingFrame
    from feature_repo.frames.events import Events

__all__ = ["ByRecord", "Cut", "GlobalInstants", "HoldOutShare", "LeaveOneOut", "Marks", "NewItems", "parted"]

Rows = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]
"""One truth value for each event, ``[n]``."""


@dataclass(frozen=True)
class Cut(ABC):
    """One way to set events apart."""

    @abstractmethod
    def describe(self, instants: "SplitInstants") -> str:
        """The rule in words, for the fingerprint of a protocol.

        Args:
            instants: Those of the snapshot.
        """

    @property
    def seeds(self) -> tuple[int, ...]:
        """What decides which events are drawn; nothing where none are."""
        return ()

    def parts(self, frame: "TrainingFrame", events: "Events") -> tuple["TrainingFrame", HeldOut]:
        """The frame of what is neither validation nor test, and the test events.

        Args:
            frame: Gives all but the pairs.
            events: Those of all parts in order of arrival, as ``feature_repo.frame.load_all_events`` gives them.

        Raises:
            BadInput: The cut's numbers are impossible, a pair without context stands twice, or nothing is left for a
                part.
        """
        if events.context is None:
            _require_distinct(frame, events.pairs)
        validation, test = self.marks(frame, events)
        return parted(frame, events, validation, test, self.describe(frame.snapshot.split))

    @abstractmethod
    def marks(self, frame: "TrainingFrame", events: "Events") -> tuple[Marks, Marks]:
        """Which events validate and which test, ``[n]`` each; the others train."""


@dataclass(frozen=True)
class GlobalInstants(Cut):
    """The split that the snapshot has: two instants cut all users at once."""

    def describe(self, instants: "SplitInstants") -> str:
        return instants.describe()

    def parts(self, frame: "TrainingFrame", events: "Events") -> tuple["TrainingFrame", HeldOut]:
        test = events.parts(frame.snapshot.split)[2]
        return frame, HeldOut(test.pairs, test.context)

    def marks(self, frame: "TrainingFrame", events: "Events") -> tuple[Marks, Marks]:
        train, validation, _ = (len(part) for part in events.parts(frame.snapshot.split))
        place = np.arange(len(events))
        return (place >= train) & (place < train + validation), place >= train + validation


@dataclass(frozen=True)
class LeaveOneOut(Cut):
    """One random interaction of each user held out for test and one for validation.

    A user with two interactions has none in validation, a user with one has it in training.
    """

    seed: int = 0

    def describe(self, instants: "SplitInstants") -> str:
        return "one random interaction per user held out, another for validation"

    @property
    def seeds(self) -> tuple[int, ...]:
        return (self.seed,)

    def marks(self, frame: "TrainingFrame", events: "Events") -> tuple[Marks, Marks]:
        place, count = _shuffled_within_users(events.pairs, len(frame.users), self.seed)
        return (place == 1) & (count >= 3), (place == 0) & (count >= 2)


@dataclass(frozen=True)
class _Shares(Cut):
    train: float
    """Share of the events that train or validate."""
    validation: float = 0.1
    """Share of the events that validate; out of those of ``train``."""
    seed: int = 0

    @property
    def seeds(self) -> tuple[int, ...]:
        return (self.seed,)

    def _require_possible(self) -> None:
        if not 0 < self.validation < self.train < 1:
            raise BadInput(
                "shares of a split",
                found=f"train {self.train:g}, validation {self.validation:g}",
                expected="0 < validation < train < 1; validation is taken out of train",
                next_step="correct the shares",
            )


@dataclass(frozen=True)
class HoldOutShare(_Shares):
    """A share of each user's interactions trains, the rest is test; to the nearest whole interaction."""

    train: float = 0.7

    def describe(self, instants: "SplitInstants") -> str:
        return f"{self.train:g} of each user's interactions, {self.validation:g} of them for validation"

    def marks(self, frame: "TrainingFrame", events: "Events") -> tuple[Marks, Marks]:
        self._require_possible()
        place, count = _shuffled_within_users(events.pairs, len(frame.users), self.seed)
        tests, validations = (np.floor(share * count + 0.5) for share in (1 - self.train, self.validation))
        return (place >= tests) & (place < tests + validations), place < tests


@dataclass(frozen=True)
class ByRecord(_Shares):
    """A share of all events trains, whoever they are of; the rest is test.

    Where requests bring a context each held-out event has a list of its own, and a pair may come again in another part.
    """

    train: float = 0.8

    def describe(self, instants: "SplitInstants") -> str:
        return f"{self.train:g} of the records, {self.validation:g} of them for validation"

    def marks(self, frame: "TrainingFrame", events: "Events") -> tuple[Marks, Marks]:
        self._require_possible()
        place = np.random.default_rng(self.seed).permutation(len(events))
        tests = round((1 - self.train) * len(events))
        validations = round(self.validation * len(events))
        return (place >= tests) & (place < tests + validations), place < tests


@dataclass(frozen=True)
class NewItems(Cut):
    """Items that nobody has seen in training: those that first come after the snapshot's instants.

    All their interactions are held out and ranked among themselves, the new items of the validation and those of the
    test. Nor are they drawn as negatives: a model would learn that what they contain is not liked.
    """

    def describe(self, instants: "SplitInstants") -> str:
        return f"{instants.describe()}; items without an event before, ranked among themselves"

    def parts(self, frame: "TrainingFrame", events: "Events") -> tuple["TrainingFrame", HeldOut]:
        training, held = super().parts(frame, events)
        training = replace(
            training,
            validation_candidates=np.unique(training.validation[:, 1]),
            negative_candidates=np.unique(training.train[:, 1]),
        )
        return training, replace(held, candidates=np.unique(held.pairs[:, 1]))

    def marks(self, frame: "TrainingFrame", events: "Events") -> tuple[Marks, Marks]:
        known, validating, _ = (np.unique(part.pairs[:, 1]) for part in events.parts(frame.snapshot.split))
        items = events.pairs[:, 1]
        validation = np.isin(items, validating) & ~np.isin(items, known)
        return validation, ~np.isin(items, known) & ~validation


def parted(
    frame: "TrainingFrame", events: "Events", validation: Marks, test: Marks, rule: str
) -> tuple["TrainingFrame", HeldOut]:
    """A frame whose pairs, histories and popularity are those of a new training part, and the test events.

    Args:
        frame: Gives all else.
        events: In order of arrival, ``[n]``; those of the frame that are not among them are left out.
        validation: Which of them validate.
        test: Which of them are test; the others train.
        rule: How they were marked, for the error.

    Raises:
        BadInput: Nothing is left for a part.
    """
    train = ~(validation | test)
    for name, part in (("training", train), ("validation", validation), ("test", test)):
        if not part.any():
            raise BadInput(
                f"split of {len(events):,} interactions: {rule}",
                found=f"none left for {name}",
                expected="at least one in each part",
                next_step="take data with more interactions, or other shares",
            )
    training, validating, tested = (events.part(np.flatnonzero(part)) for part in (train, validation, test))
    parts = replace(
        frame,
        train=training.pairs,
        validation=validating.pairs,
        train_context=training.context,
        validation_context=validating.context,
        history=_histories(training.pairs, frame.history.shape),
        popularity=np.bincount(training.pairs[:, 1], minlength=len(frame.items)),
    )
    return parts, HeldOut(tested.pairs, tested.context)


def _histories(train: Rows, shape: tuple[int, ...]) -> Rows:
    """The last items of each user, oldest first, padded on the right, ``[U, n]``."""
    users, width = shape
    by_user = train[np.argsort(train[:, 0], kind="stable")]
    counts = np.bincount(train[:, 0], minlength=users)
    place = np.arange(len(by_user)) - np.repeat(np.cumsum(counts) - counts, counts)
    column = place - np.repeat(np.maximum(counts - width, 0), counts)
    kept = column >= 0
    history = np.full(shape, PADDING, np.int64)
    history[by_user[kept, 0], column[kept]] = by_user[kept, 1]
    return history


def _shuffled_within_users(pairs: Rows, users: int, seed: int) -> tuple[Rows, Rows]:
    """Place of each pair in a random order of its user's, from 0, and how many the user has, ``[n]`` each."""
    shuffled = np.random.default_rng(seed).permutation(len(pairs))
    order = shuffled[np.argsort(pairs[shuffled, 0], kind="stable")]
    counts = np.bincount(pairs[:, 0], minlength=users)
    place = np.empty(len(pairs), np.int64)
    place[order] = np.arange(len(pairs)) - np.repeat(np.cumsum(counts) - counts, counts)
    return place, counts[pairs[:, 0]]


def _require_distinct(frame: "TrainingFrame", pairs: Rows) -> None:
    keys = np.sort(pairs[:, 0] * len(frame.items) + pairs[:, 1])
    twice = keys[1:][keys[1:] == keys[:-1]]
    if len(twice):
        user, item = divmod(int(twice[0]), len(frame.items))
        raise BadInput(
            "interactions to split",
            found=f"user row {user} and item row {item} more than once",
            expected="distinct pairs: the same one could be trained on and held out",
            next_step="keep the first event of each pair",
        )
