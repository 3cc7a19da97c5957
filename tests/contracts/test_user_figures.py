"""Metrics of users on disk, and two models over the same users."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.errors import BadInput
from contracts.user_figures import UserFigures

METRIC = "validation_recall_at_20"


def figures(values: list[float], ids: str = "abcd", lists: tuple[int, ...] = (1, 1, 1, 1)) -> UserFigures:
    return UserFigures.of(list(ids), np.array(lists), {METRIC: np.array(values)})


def test_they_come_back_as_they_were(tmp_path: Path) -> None:
    made = figures([0.0, 0.25, 0.5, 1.0], lists=(1, 2, 3, 4))
    made.save(tmp_path / "f.parquet")
    found = UserFigures.load(tmp_path / "f.parquet")
    assert np.array_equal(found.users, made.users)
    assert found.users.dtype == np.uint64
    assert found.lists.tolist() == made.lists.tolist()
    assert found.figures[METRIC].tolist() == made.figures[METRIC].tolist()
    assert len(found) == 4
    assert b"abcd" not in (tmp_path / "f.parquet").read_bytes()


def test_the_order_of_users_is_of_no_consequence() -> None:
    one, other = figures([0.1, 0.2, 0.3, 0.4]), figures([0.4, 0.3, 0.2, 0.1], ids="dcba")
    assert one.pairs_with(other, METRIC)
    assert one.difference(other, METRIC) == (0, 0, 0)


def test_means_are_over_lists() -> None:
    found = figures([0.0, 0.0, 0.0, 1.0], lists=(1, 1, 1, 3))
    assert found.mean(METRIC) == 0.5
    mean, low, high = found.interval(METRIC)
    assert mean == 0.5
    assert low < 0.5 < high


@pytest.mark.parametrize(
    "other",
    [
        figures([0.1] * 4, ids="abce"),
        figures([0.1] * 3, ids="abc", lists=(1, 1, 1)),
        figures([0.1] * 4, lists=(1, 1, 1, 2)),
        UserFigures(figures([0.1] * 4).users, np.ones(4, np.int64), {}),
    ],
    ids=["another user", "fewer users", "more lists", "another metric"],
)
def test_only_the_same_lists_pair(other: UserFigures) -> None:
    mine = figures([0.1] * 4)
    assert not mine.pairs_with(other, METRIC)
    assert not other.pairs_with(mine, METRIC)


def test_what_makes_users_hard_cancels_out() -> None:
    hard = np.random.default_rng(0).random(300)
    ids, lists = [str(row) for row in range(300)], np.ones(300, np.int64)
    better = UserFigures.of(ids, lists, {METRIC: hard + 0.01})
    mean, low, high = better.difference(UserFigures.of(ids, lists, {METRIC: hard}), METRIC)
    assert (mean, low, high) == pytest.approx((0.01, 0.01, 0.01))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "f.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BadInput, match=r"f\.parquet: found a file that cannot be read"):
        UserFigures.load(tmp_path / "f.parquet")
    pq.write_table(pa.table({"user": [1]}), tmp_path / "f.parquet")
    with pytest.raises(BadInput, match="expected a table of users, their lists and metrics"):
        UserFigures.load(tmp_path / "f.parquet")
    pq.write_table(pa.table({"user": [1], "lists": [1], METRIC: ["x"]}), tmp_path / "f.parquet")
    with pytest.raises(BadInput, match="cannot be read"):
        UserFigures.load(tmp_path / "f.parquet")
