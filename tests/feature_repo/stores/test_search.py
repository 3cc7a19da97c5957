"""The as-of search against plain loops, one microsecond either side of every edge."""

from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import BadInput
from feature_repo.raw_tables import vector_lists
from feature_repo.stores.search import as_of, as_of_rows, gather, instants, newest_rows

INSTANT = st.integers(0, 12)  # so few that rows tie, and lie a microsecond either side of each other
ROW = st.tuples(st.sampled_from("abc"), INSTANT, INSTANT | st.none())
TTL = st.sampled_from([None, 0, 1, 3])


def micro(numbers: list[int | None]) -> pa.Array:
    return pa.array(numbers, pa.int64()).cast(pa.timestamp("us", "UTC"))


def oracle(rows: list[Any], key: str, moment: int, ttl: int | None) -> int:
    """The newest row that had happened, was known and is not too old; the last of equal ones; in plain loops."""
    best = -1
    for number, (name, event, known) in enumerate(rows):
        counts = name == key and known is not None and event <= moment and known <= moment
        if counts and (best < 0 or (event, known) >= rows[best][1:]):
            best = number
    return -1 if best >= 0 and ttl and rows[best][1] < moment - ttl else best


@settings(max_examples=300, deadline=None)
@given(st.lists(ROW, max_size=12), st.lists(st.tuples(st.sampled_from("abcd"), INSTANT), max_size=8), TTL)
def test_as_the_oracle_says(rows: list[Any], asked: list[Any], ttl: int | None) -> None:
    keys, events, known = ([row[part] for row in rows] for part in range(3))
    found = as_of_rows(
        [pa.array(keys, pa.string())],
        instants(micro(events)),
        instants(micro(known)),
        [pa.array([key for key, _ in asked], pa.string())],
        instants(micro([moment for _, moment in asked])),
        None if ttl is None else timedelta(microseconds=ttl),
    )
    assert found.tolist() == [oracle(rows, key, moment, ttl) for key, moment in asked]


@settings(max_examples=100, deadline=None)
@given(st.lists(ROW, max_size=12), st.lists(st.tuples(st.sampled_from("abcd"), INSTANT), max_size=8), TTL)
def test_without_a_knowledge_column_rows_are_known_at_once(rows: list[Any], asked: list[Any], ttl: int | None) -> None:
    keys, events = [row[0] for row in rows], [row[1] for row in rows]
    found = as_of_rows(
        [pa.array(keys, pa.string())],
        instants(micro(events)),
        None,
        [pa.array([key for key, _ in asked], pa.string())],
        instants(micro([moment for _, moment in asked])),
        None if ttl is None else timedelta(microseconds=ttl),
    )
    at_once = [(key, event, event) for key, event, _ in rows]
    assert found.tolist() == [oracle(at_once, key, moment, ttl) for key, moment in asked]


@settings(max_examples=200, deadline=None)
@given(st.lists(ROW, max_size=12), INSTANT, INSTANT, st.booleans())
def test_the_newest_of_a_window(rows: list[Any], first: int, last: int, bitemporal: bool) -> None:
    best: dict[str, int] = {}
    for number, (name, event, known) in enumerate(rows):
        if not bitemporal:
            known = event
        if known is not None and first <= max(event, known) <= last:
            rival = best.get(name)
            if rival is None or (event, known) >= (rows[rival][1], rows[rival][2] if bitemporal else rows[rival][1]):
                best[name] = number
    found = newest_rows(
        [pa.array([row[0] for row in rows], pa.string())],
        instants(micro([row[1] for row in rows])),
        instants(micro([row[2] for row in rows])) if bitemporal else None,
        first,
        last,
    )
    assert found.tolist() == sorted(best.values())


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_entities_of_two_keys(data: Any) -> None:
    row = st.tuples(st.sampled_from("ab"), st.integers(0, 2), INSTANT)
    rows, asked = data.draw(st.lists(row, max_size=10)), data.draw(st.lists(row, max_size=6))
    found = as_of_rows(
        [pa.array([r[0] for r in rows], pa.string()), pa.array([r[1] for r in rows], pa.int64())],
        instants(micro([r[2] for r in rows])),
        None,
        [pa.array([r[0] for r in asked], pa.string()), pa.array([r[1] for r in asked], pa.int32())],
        instants(micro([r[2] for r in asked])),
        None,
    )
    joined = [(f"{a}{b}", event, event) for a, b, event in rows]
    assert found.tolist() == [oracle(joined, f"{a}{b}", moment, None) for a, b, moment in asked]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_gathered_as_arrow_takes(data: Any) -> None:
    element = st.sampled_from(
        [
            (pa.list_(pa.float32()), st.just([1.0, 2.0]) | st.just([3.0, 4.0])),
            (pa.list_(pa.float32()), st.lists(st.floats(0, 1, width=32), max_size=3)),
            (pa.list_(pa.string()), st.lists(st.text(max_size=3), max_size=3)),
            (pa.int64(), st.integers(0, 9)),
        ]
    )
    kind, values = data.draw(element)
    column = pa.array(data.draw(st.lists(st.none() | values, min_size=1, max_size=6)), kind)
    column = column.slice(data.draw(st.integers(0, len(column) - 1)))
    rows = data.draw(st.lists(st.integers(-1, len(column) - 1), max_size=8))
    taken = gather(column, np.array(rows, np.int64)).to_pylist()
    assert taken == [None if row < 0 else column[row].as_py() for row in rows]


def test_tables_are_joined_in_order() -> None:
    source = pa.table(
        {
            "user_id": ["a", "a", "b"],
            "event_time": micro([1, 5, 1]),
            "ingested_at": micro([1, 9, 4]),
            "vector": vector_lists(np.array([[1, 1], [2, 2], [3, 3]], np.float32)),
        }
    )
    request = pa.table({"user_id": ["b", "a", "a", "c", "b"], "event_timestamp": micro([4, 9, 8, 9, 3])})
    joined = as_of(source, request, "user_id")
    assert joined.column_names == ["user_id", "event_timestamp", "vector"]
    assert joined["vector"].to_pylist() == [[3, 3], [2, 2], [1, 1], None, None]
    assert joined.drop_columns(["vector"]).equals(request)
    only = as_of(source, request, ["user_id"], known=None, ttl=timedelta(microseconds=3), features=["vector"])
    assert only["vector"].to_pylist() == [[3, 3], None, [2, 2], None, [3, 3]]


def test_ids_of_another_kind() -> None:
    source = pa.table({"user_id": pa.array([1], pa.int64()), "event_time": micro([1]), "x": [7]})
    asked = pa.table({"user_id": pa.array(["1", "2"]).dictionary_encode(), "event_timestamp": micro([1, 1])})
    assert as_of(source, asked, "user_id", known=None)["x"].to_pylist() == [7, None]
    with pytest.raises(BadInput, match="found type string; expected int64, as in the source"):
        as_of(source, pa.table({"user_id": ["one"], "event_timestamp": micro([1])}), "user_id", known=None)


def test_instants_of_any_unit() -> None:
    naive = pa.array([1, None], pa.int64()).cast(pa.timestamp("s"))
    assert instants(naive).tolist() == [1_000_000, np.iinfo(np.int64).max]
    assert instants(pa.array([1_999], pa.int64()).cast(pa.timestamp("ns", "Europe/Berlin"))).tolist() == [1]
