"""Splits: what is held out reaches neither training pairs nor histories nor counts."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from feature_repo.frames.events import Events
from feature_repo.raw_tables import microseconds
from training.splits import ByRecord, Cut, GlobalInstants, HoldOutShare, LeaveOneOut, NewItems

Rows = npt.NDArray[np.int64]

CUTS: dict[str, Callable[[int], Cut]] = {
    "leave-one-out": lambda seed: LeaveOneOut(seed),
    "share": lambda seed: HoldOutShare(seed=seed),
    "record": lambda seed: ByRecord(seed=seed),
    "new items": lambda _: NewItems(),
}


def events_of(frame: TrainingFrame, *parts: Rows, context: Rows | None = None) -> Events:
    """Pairs that arrive in order, of the training before its end, of the validation before its end, of the test."""
    split = frame.snapshot.split
    starts = [0, microseconds(split.train_until), microseconds(split.validation_until)]
    arrivals = np.concatenate([start + np.arange(len(part)) for start, part in zip(starts, parts, strict=False)])
    return Events(np.concatenate(parts), arrivals, arrivals, context)


@pytest.fixture
def union(blocks: tuple[TrainingFrame, Rows]) -> Events:
    """Items from 50 on come first in the validation, those from 57 on in the test."""
    frame, test = blocks
    pairs = np.concatenate([frame.train, frame.validation, test])
    first, last = (pairs[:, 1] >= bound for bound in (50, 57))
    return events_of(frame, pairs[~first], pairs[first & ~last], pairs[last])


def as_set(pairs: Rows) -> set[tuple[int, int]]:
    return {(int(user), int(item)) for user, item in pairs}


@pytest.mark.parametrize("name", CUTS)
def test_nothing_held_out_reaches_training(frame: TrainingFrame, union: Events, name: str) -> None:
    parted, held = CUTS[name](0).parts(frame, union)
    train, validation, test = (as_set(part) for part in (parted.train, parted.validation, held.pairs))

    assert train | validation | test == as_set(union.pairs)
    assert len(train) + len(validation) + len(test) == len(union)
    users, columns = np.nonzero(parted.history != -1)
    assert as_set(np.stack([users, parted.history[users, columns]], axis=1)) == train  # None has more than 50.
    assert parted.popularity.tolist() == [sum(item == row for _, item in train) for row in range(64)]
    assert parted.train_context is parted.validation_context is held.context is None
    assert parted.modalities is frame.modalities


@pytest.mark.parametrize("name", ["leave-one-out", "share", "record"])
def test_equal_seeds_give_equal_splits(frame: TrainingFrame, union: Events, name: str) -> None:
    first, again, other = (CUTS[name](seed).parts(frame, union)[1].pairs for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert as_set(first) != as_set(other)
    assert CUTS[name](1).seeds == (1,)


def test_every_rule_has_words_of_its_own(frame: TrainingFrame) -> None:
    rules = [*(make(0) for make in CUTS.values()), GlobalInstants(), HoldOutShare(train=0.6), ByRecord(validation=0.2)]
    assert len({rule.describe(frame.snapshot.split) for rule in rules}) == len(rules)


def test_leave_one_out_takes_one_of_each_user(frame: TrainingFrame) -> None:
    # Users with one, two, three and five interactions.
    pairs = np.array([(0, 1), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5), *((3, item) for item in range(5))])
    parted, held = LeaveOneOut().parts(frame, events_of(frame, pairs))
    assert np.bincount(held.pairs[:, 0], minlength=4).tolist() == [0, 1, 1, 1]
    assert np.bincount(parted.validation[:, 0], minlength=4).tolist() == [0, 0, 1, 1]
    assert np.bincount(parted.train[:, 0], minlength=4).tolist() == [1, 1, 1, 3]


def test_every_interaction_is_held_out_as_often(frame: TrainingFrame) -> None:
    pairs = np.array([(user, item) for user in range(96) for item in range(4)])
    events = events_of(frame, pairs)
    held = np.concatenate([LeaveOneOut(seed).parts(frame, events)[1].pairs[:, 1] for seed in range(40)])
    # 3,840 draws: 960 each, with a standard deviation of 27.
    assert np.bincount(held) == pytest.approx([960] * 4, abs=4 * 27)


def test_hand_worked_shares(frame: TrainingFrame) -> None:
    # 30 % are test and 10 % validate: of nine 2.7 and 0.9, of three 0.9 and 0.3.
    pairs = np.array([(user, item) for user, count in enumerate((10, 9, 3, 20)) for item in range(count)])
    events = events_of(frame, pairs)
    parted, held = HoldOutShare().parts(frame, events)
    assert np.bincount(held.pairs[:, 0], minlength=4).tolist() == [3, 3, 1, 6]
    assert np.bincount(parted.validation[:, 0], minlength=4).tolist() == [1, 1, 0, 2]
    assert np.bincount(parted.train[:, 0], minlength=4).tolist() == [6, 5, 2, 12]
    parted, held = ByRecord().parts(frame, events)
    assert [len(parted.train), len(parted.validation), len(held.pairs)] == [30, 4, 8]


def test_histories_keep_order_of_arrival_and_the_newest(frame: TrainingFrame) -> None:
    known, new, newest = (
        np.array([(user, item) for item in items for user in (1, 0)]) for items in ((9, 3, 7, 1, 8, 2), (50,), (57,))
    )
    narrow = replace(frame, history=frame.history[:, :4])
    parted, _ = NewItems().parts(narrow, events_of(frame, known, new, newest))
    assert parted.history[0].tolist() == parted.history[1].tolist() == [7, 1, 8, 2]
    assert parted.history[2].tolist() == [-1] * 4


def test_records_bring_their_contexts(frame: TrainingFrame) -> None:
    # The context of record r is 100 + r; a pair may come again.
    pairs = np.array([(row % 5, row % 3) for row in range(40)])
    parted, held = ByRecord().parts(frame, events_of(frame, pairs, context=np.arange(100, 140)))
    parts = [(parted.train, parted.train_context), (parted.validation, parted.validation_context)]
    seen = []
    for part, context in [*parts, (held.pairs, held.context)]:
        assert context is not None
        assert np.array_equal(pairs[context - 100], part)
        seen += context.tolist()
    assert sorted(seen) == list(range(100, 140))


def test_new_items_are_the_candidates(frame: TrainingFrame, union: Events) -> None:
    parted, held = NewItems().parts(frame, union)
    assert held.candidates is not None
    assert parted.validation_candidates is not None
    assert held.candidates.tolist() == list(range(57, 64))
    assert parted.validation_candidates.tolist() == list(range(50, 57))
    assert set(held.pairs[:, 1]) == set(range(57, 64))
    assert set(parted.validation[:, 1]) == set(range(50, 57))
    assert parted.train[:, 1].max() < 50


def test_new_items_are_never_drawn_as_negatives(frame: TrainingFrame, union: Events) -> None:
    parted, _ = NewItems().parts(frame, union)
    assert parted.negative_candidates is not None
    assert parted.negative_candidates.tolist() == sorted(set(parted.train[:, 1].tolist()))


def test_the_given_split_stays(frame: TrainingFrame, union: Events) -> None:
    parted, held = GlobalInstants().parts(frame, union)
    assert parted is frame
    assert as_set(held.pairs) == {pair for pair in as_set(union.pairs) if pair[1] >= 57}
    assert GlobalInstants().describe(frame.snapshot.split) == frame.snapshot.split.describe()


def test_a_pair_that_stands_twice_is_refused(frame: TrainingFrame, union: Events) -> None:
    twice = events_of(frame, np.concatenate([union.pairs, [[7, 63], [7, 63]]]))
    with pytest.raises(BadInput, match="found user row 7 and item row 63 more than once; expected distinct pairs"):
        LeaveOneOut().parts(frame, twice)


@pytest.mark.parametrize("shares", [(0.0, 0.1), (1.0, 0.1), (0.5, 0.5), (0.5, 0.0)])
def test_impossible_shares_are_refused(frame: TrainingFrame, union: Events, shares: tuple[float, float]) -> None:
    train, validation = shares
    for kind in (HoldOutShare, ByRecord):
        with pytest.raises(BadInput, match=f"found train {train:g}, validation {validation:g}; expected 0 < valid"):
            kind(train=train, validation=validation).parts(frame, union)


def test_a_part_without_interactions_is_refused(frame: TrainingFrame) -> None:
    with pytest.raises(BadInput, match=r"split of 2 interactions: one random .* found none left for validation"):
        LeaveOneOut().parts(frame, events_of(frame, np.array([[0, 0], [0, 1]])))
