"""What versions show of the catalogue, by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from contracts.vocabulary import Vocabulary
from serving.shifts import KnownItems


def test_the_shift_between_two_versions(tmp_path: Path) -> None:
    Vocabulary(["a", "b", "c"]).save(tmp_path / "items.parquet")
    Vocabulary([f"u{number}" for number in range(8)]).save(tmp_path / "users.parquet")
    np.save(tmp_path / "popularity.npy", np.array([8, 2, 0]))
    known = KnownItems.of_package(tmp_path)
    assert known is not None
    shift = known.shift([["a", "b"], ["a", "b"]], [["a", "c"], ["x", "b"]])
    assert shift is not None
    assert shift["popularity"] == pytest.approx((8 + 0 + 0 + 2) / 4 - 5)
    assert shift["new_share"] == 0.5
    assert shift["coverage"] == pytest.approx((4 - 2) / 4)  # a, c, x, b less a, b, of a, b, c and x
    # 0 bits for a, log2(8 / 2) for b, log2(8) for what nobody had seen
    assert shift["novelty"] == pytest.approx((0 + 3 + 3 + 2) / 4 - (0 + 2 + 0 + 2) / 4)
    assert math.isclose(sum(known.shift([["a"]], [["a"]]).values()), 0)  # type: ignore[union-attr]


def test_nothing_is_said_of_nothing(tmp_path: Path) -> None:
    assert KnownItems.of_package(tmp_path) is None
    known = KnownItems(Vocabulary(["a"]), np.array([1]), 1)
    assert known.shift([[]], [["a"]]) is None
