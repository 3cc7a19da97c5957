"""Columns are compared as plain Python compares their values."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.materialization.equality import unequal

NAN = float("nan")

FLOATS = st.none() | st.sampled_from([0.0, -0.0, 1.0, 1.5, NAN, math.inf])
VALUES: list[tuple[st.SearchStrategy[Any], pa.DataType]] = [
    (FLOATS, pa.float32()),
    (st.none() | st.integers(0, 2), pa.int64()),
    (st.none() | st.sampled_from(["", "a", "ü"]), pa.string()),
    (st.none() | st.lists(FLOATS, max_size=3), pa.list_(pa.float32())),
    (st.none() | st.lists(st.sampled_from(["a", "b"]), max_size=2), pa.list_(pa.string())),
]


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return ours == theirs or (math.isnan(ours) and math.isnan(theirs))
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    return bool(ours == theirs)


@pytest.mark.parametrize(("values", "kind"), VALUES, ids=lambda each: str(each)[:20])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_columns_differ_where_values_differ(values: st.SearchStrategy[Any], kind: pa.DataType, data: Any) -> None:
    pairs = data.draw(st.lists(st.tuples(values, values), max_size=8))
    ours, theirs = (pa.array([pair[side] for pair in pairs], kind) for side in (0, 1))
    expected = [not _same(a, b) for a, b in zip(ours.to_pylist(), theirs.to_pylist(), strict=True)]
    assert unequal(ours, theirs).tolist() == expected
    cut = data.draw(st.integers(0, len(pairs)))
    parts = pa.chunked_array([ours[:cut], ours[cut:]], kind)
    assert unequal(parts, theirs).tolist() == expected
    assert unequal(ours[cut:], theirs[cut:]).tolist() == expected[cut:], "of an array that begins in the middle"


def test_columns_of_other_types() -> None:
    assert unequal(pa.array(["a", None]), pa.nulls(2)).tolist() == [True, False]
    assert unequal(pa.array([1, 2]), pa.array([1, 3], pa.int32())).tolist() == [False, True]
    wide = pa.array([np.nextafter(np.float32(1), 2).item()])
    assert unequal(pa.array([1.0], pa.float32()), wide).tolist() == [True]
    fixed = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.0]), 2)
    assert unequal(fixed, pa.array([[1.0, 2.0], [3.0, 5.0]])).tolist() == [False, True]
