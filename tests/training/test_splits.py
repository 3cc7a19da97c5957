"""Splits: what is held out reaches neither training pairs nor histories nor counts."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from training.protocols import HeldOut
from training.splits import by_record, global_instants, hold_out_share, item_cold_start, leave_one_out

Rows = npt.NDArray[np.int64]
Split = Callable[[TrainingFrame, Rows, np.random.Generator], tuple[TrainingFrame, HeldOut]]

COLD = {"validation": np.arange(50, 57), "test": np.arange(57, 64)}
SPLITS: dict[str, Split] = {
    "leave-one-out": leave_one_out,
    "share": hold_out_share,
    "record": by_record,
    "cold start": lambda frame, pairs, _: item_cold_start(frame, pairs, **COLD),
}


@pytest.fixture
def union(blocks: tuple[TrainingFrame, Rows]) -> Rows:
    frame, test = blocks
    return np.concatenate([frame.train, frame.validation, test])


def as_set(pairs: Rows) -> set[tuple[int, int]]:
    return {(int(user), int(item)) for user, item in pairs}


@pytest.mark.parametrize("name", SPLITS)
def test_nothing_held_out_reaches_training(frame: TrainingFrame, union: Rows, name: str) -> None:
    parted, held = SPLITS[name](frame, union, np.random.default_rng(0))
    train, validation, test = (as_set(part) for part in (parted.train, parted.validation, held.pairs))

    assert train | validation | test == as_set(union)
    assert len(train) + len(validation) + len(test) == len(union)
    users, columns = np.nonzero(parted.history != -1)
    assert as_set(np.stack([users, parted.history[users, columns]], axis=1)) == train  # None has more than 50.
    assert parted.popularity.tolist() == [sum(item == row for _, item in train) for row in range(64)]
    assert parted.train_context is parted.validation_context is held.context is None
    assert parted.modalities is frame.modalities
    assert held.split


@pytest.mark.parametrize("name", ["leave-one-out", "share", "record"])
def test_equal_generators_give_equal_splits(frame: TrainingFrame, union: Rows, name: str) -> None:
    first, again, other = (SPLITS[name](frame, union, np.random.default_rng(seed))[1].pairs for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert as_set(first) != as_set(other)


def test_leave_one_out_takes_one_of_each_user(frame: TrainingFrame) -> None:
    # Users with one, two, three and five interactions.
    pairs = np.array([(0, 1), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5), *((3, item) for item in range(5))])
    parted, held = leave_one_out(frame, pairs, np.random.default_rng(0))
    assert np.bincount(held.pairs[:, 0], minlength=4).tolist() == [0, 1, 1, 1]
    assert np.bincount(parted.validation[:, 0], minlength=4).tolist() == [0, 0, 1, 1]
    assert np.bincount(parted.train[:, 0], minlength=4).tolist() == [1, 1, 1, 3]


def test_every_interaction_is_held_out_as_often(frame: TrainingFrame) -> None:
    pairs = np.array([(user, item) for user in range(96) for item in range(4)])
    rng = np.random.default_rng(3)
    held = np.concatenate([leave_one_out(frame, pairs, rng)[1].pairs[:, 1] for _ in range(40)])
    # 3,840 draws: 960 each, with a standard deviation of 27.
    assert np.bincount(held) == pytest.approx([960] * 4, abs=4 * 27)


def test_hand_worked_shares(frame: TrainingFrame) -> None:
    # 30 % are test and 10 % validate: of nine 2.7 and 0.9, of three 0.9 and 0.3.
    pairs = np.array([(user, item) for user, count in enumerate((10, 9, 3, 20)) for item in range(count)])
    parted, held = hold_out_share(frame, pairs, np.random.default_rng(0))
    assert np.bincount(held.pairs[:, 0], minlength=4).tolist() == [3, 3, 1, 6]
    assert np.bincount(parted.validation[:, 0], minlength=4).tolist() == [1, 1, 0, 2]
    assert np.bincount(parted.train[:, 0], minlength=4).tolist() == [6, 5, 2, 12]
    parted, held = by_record(frame, pairs, np.random.default_rng(0))
    assert [len(parted.train), len(parted.validation), len(held.pairs)] == [30, 4, 8]


def test_histories_keep_order_of_arrival_and_the_newest(frame: TrainingFrame) -> None:
    pairs = np.array([(user, item) for item in (9, 3, 7, 1, 8, 2, 50, 57) for user in (1, 0)])
    narrow = replace(frame, history=frame.history[:, :4])
    parted, _ = item_cold_start(narrow, pairs, **COLD)
    assert parted.history[0].tolist() == parted.history[1].tolist() == [7, 1, 8, 2]
    assert parted.history[2].tolist() == [-1] * 4


def test_records_bring_their_contexts(frame: TrainingFrame) -> None:
    # The context of record r is 100 + r; a pair may come again.
    pairs = np.array([(row % 5, row % 3) for row in range(40)])
    parted, held = by_record(frame, pairs, np.random.default_rng(0), context=np.arange(100, 140))
    parts = [(parted.train, parted.train_context), (parted.validation, parted.validation_context)]
    seen = []
    for part, context in [*parts, (held.pairs, held.context)]:
        assert context is not None
        assert np.array_equal(pairs[context - 100], part)
        seen += context.tolist()
    assert sorted(seen) == list(range(100, 140))
    assert held.split.endswith("each with its own list")


def test_cold_items_are_the_candidates(frame: TrainingFrame, union: Rows) -> None:
    parted, held = item_cold_start(frame, union, **COLD)
    assert held.candidates is not None
    assert held.candidates.tolist() == list(range(57, 64))
    assert set(held.pairs[:, 1]) <= set(range(57, 64))
    assert set(parted.validation[:, 1]) <= set(range(50, 57))
    assert parted.train[:, 1].max() < 50
    assert held.split == "all interactions with 7 new items, which are the candidates; 7 for validation"


def test_the_given_split_stays(blocks: tuple[TrainingFrame, Rows]) -> None:
    frame, test = blocks
    parted, held = global_instants(frame, test)
    assert parted is frame
    assert held.pairs is test
    assert held.split == frame.snapshot.split.describe()


def test_a_pair_that_stands_twice_is_refused(frame: TrainingFrame, union: Rows) -> None:
    twice = np.concatenate([union, [[7, 63], [7, 63]]])
    with pytest.raises(BadInput, match="found user row 7 and item row 63 more than once; expected distinct pairs"):
        leave_one_out(frame, twice, np.random.default_rng(0))


@pytest.mark.parametrize("shares", [(0.0, 0.1), (1.0, 0.1), (0.5, 0.5), (0.5, 0.0)])
def test_impossible_shares_are_refused(frame: TrainingFrame, union: Rows, shares: tuple[float, float]) -> None:
    train, validation = shares
    for split in (hold_out_share, by_record):
        with pytest.raises(BadInput, match=f"found train {train:g}, validation {validation:g}; expected 0 < valid"):
            split(frame, union, np.random.default_rng(0), train=train, validation=validation)


def test_a_part_without_interactions_is_refused(frame: TrainingFrame) -> None:
    with pytest.raises(BadInput, match=r"split of 2 interactions: one random .* found none left for validation"):
        leave_one_out(frame, np.array([[0, 0], [0, 1]]), np.random.default_rng(0))


def test_an_item_in_both_sets_is_refused(frame: TrainingFrame, union: Rows) -> None:
    with pytest.raises(BadInput, match="found item row 5 for validation and for test; expected two sets without"):
        item_cold_start(frame, union, validation=np.array([4, 5]), test=np.array([5, 6]))
