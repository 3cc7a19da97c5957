"""Cuts of an extract of the events: the data sets that papers make of one platform, each set apart for itself.

An extract is drawn from the events of all parts, as the papers draw theirs: it is which data are looked at. Rows keep
their numbers; items without an event in the extract are no candidates, and no negatives either.
"""

import re
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput
from training.protocols import HeldOut
from training.splits import ByRecord, Cut, GlobalInstants, HoldOutShare, LeaveOneOut, Marks, parted

if TYPE_CHECKING:
    from contracts.snapshot import SplitInstants
    from feature_repo.frame import TrainingFrame
    from feature_repo.frames.events import Events

__all__ = ["Dense", "Extract", "OtherItems", "OtherUsers", "WithWords"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Extract(Cut):
    """Some of the events, and a cut of those."""

    cut: GlobalInstants | HoldOutShare | ByRecord | LeaveOneOut
    """How they are set apart; not one that has candidates of its own."""

    def describe(self, instants: "SplitInstants") -> str:
        return f"{self.cut.describe(instants)}; {self._described()}"

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.cut.seeds

    def marks(self, frame: "TrainingFrame", events: "Events") -> tuple[Marks, Marks]:
        return self.cut.marks(frame, events)

    def parts(self, frame: "TrainingFrame", events: "Events") -> tuple["TrainingFrame", HeldOut]:
        kept = self.kept(frame, events)
        some = events.part(np.flatnonzero(kept))
        validation, test = self.marks(frame, some)
        training, held = parted(frame, some, validation, test, self.describe(frame.snapshot.split))
        items = np.unique(some.pairs[:, 1])
        training = replace(training, validation_candidates=items, negative_candidates=items)
        return training, self.held(replace(held, candidates=items), events, kept)

    @abstractmethod
    def kept(self, frame: "TrainingFrame", events: "Events") -> Marks:
        """Which events are in the extract, ``[n]``."""

    def held(self, held: HeldOut, events: "Events", kept: Marks) -> HeldOut:
        """What is held out.

        Args:
            held: The test part of the extract; its candidates are the extract's items.
            events: All.
            kept: Which of them are in the extract, ``[n]``.
        """
        return held

    @abstractmethod
    def _described(self) -> str:
        """The extract in words."""


@dataclass(frozen=True)
class Dense(Extract):
    """Users and items that have some number of events with one another (Chen et al., online appendix E.1).

    What has fewer is left out until all that is left has as many.
    """

    least: int = 10
    """Events of each user and of each item."""
    users_of: int | None = None
    """So many users as this higher number would keep are drawn at random, where there are more. An item may then be
    left with fewer events."""
    seed: int = 0
    """Of the draw."""

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.cut.seeds if self.users_of is None else (*self.cut.seeds, self.seed)

    def kept(self, frame: "TrainingFrame", events: "Events") -> Marks:
        kept = _dense(events.pairs, self.least)
        if self.users_of is None:
            return kept
        users = np.unique(events.pairs[kept, 0])
        count = len(np.unique(events.pairs[_dense(events.pairs, self.users_of), 0]))
        drawn = np.random.default_rng(self.seed).choice(users, size=min(count, len(users)), replace=False)
        return kept & np.isin(events.pairs[:, 0], drawn)

    def _described(self) -> str:
        rule = f"users and items with {self.least} or more events among themselves"
        return rule if self.users_of is None else f"{rule}, of the users as many as at {self.users_of}"


@dataclass(frozen=True)
class OtherUsers(Dense):
    """Trained on the dense extract, tested on new users (appendix D): on the first event of each user that it left out.

    Of those first events the ones of items outside the extract are no test.
    """

    def held(self, held: HeldOut, events: "Events", kept: Marks) -> HeldOut:
        users, items = events.pairs.T
        left_out = np.flatnonzero(~np.isin(users, users[kept]))
        first = left_out[np.unique(users[left_out], return_index=True)[1]]
        return _held(events, first[np.isin(items[first], items[kept])], held.candidates, "users")

    def _described(self) -> str:
        return f"{super()._described()}; tested on the first event of each other user"


@dataclass(frozen=True)
class OtherItems(Dense):
    """Trained on the dense extract, tested on new items as well (appendix D).

    The test part of the extract and the events of its users with items that it left out; candidates are both the items
    of the extract and those.
    """

    def held(self, held: HeldOut, events: "Events", kept: Marks) -> HeldOut:
        users, items = events.pairs.T
        new = np.flatnonzero(np.isin(users, users[kept]) & ~np.isin(items, items[kept]))
        others = _held(events, new, np.union1d(items[kept], items[new]), "items")
        context = None
        if held.context is not None and others.context is not None:
            context = np.concatenate([held.context, others.context])
        return HeldOut(np.concatenate([held.pairs, others.pairs]), context, others.candidates)

    def _described(self) -> str:
        return f"{super()._described()}; tested on their events with other items too"


@dataclass(frozen=True)
class WithWords(Extract):
    """Events whose video has one of some words in its title (appendix E.2), whatever their case."""

    words: tuple[str, ...] = ()

    def kept(self, frame: "TrainingFrame", events: "Events") -> Marks:
        """Which events are in the extract, ``[n]``.

        Raises:
            BadInput: Requests bring no video with a title.
        """
        if frame.context_texts is None or events.context is None:
            raise BadInput(
                f"snapshot {frame.snapshot.id} as {frame.feature_service}",
                found="no titles of videos that requests bring",
                expected="titles in which words can be looked for",
                next_step="take a service of background music, and data whose videos have titles",
            )
        word = re.compile(rf"\b(?:{'|'.join(map(re.escape, self.words))})\b", re.IGNORECASE)
        found = [text is not None and word.search(text) is not None for text in frame.context_texts]
        return np.array(found, np.bool_)[events.context]

    def _described(self) -> str:
        return f"videos with one of the words {', '.join(self.words)}"


def _dense(pairs: Rows, least: int) -> Marks:
    """Which pairs are left when users and items with fewer are left out again and again, ``[n]``."""
    left = np.ones(len(pairs), np.bool_)
    while True:
        enough = left.copy()
        for column in pairs.T:
            enough &= np.bincount(column[left], minlength=column.max(initial=-1) + 1)[column] >= least
        if np.array_equal(enough, left):
            return left
        left = enough


def _held(events: "Events", rows: Rows, candidates: Rows | None, kind: str) -> HeldOut:
    if len(rows) == 0:
        raise BadInput(
            f"new {kind} among {len(events):,} events",
            found=f"no test event of {kind} outside the extract",
            expected="at least one",
            next_step="take data with rarer users and items, or a higher number of least events",
        )
    some = events.part(rows)
    return HeldOut(some.pairs, some.context, candidates)
