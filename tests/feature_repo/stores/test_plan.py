"""Chunks hold the newest known rows, each once, within their bytes, and the same ones every time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import BadInput, NotFound
from feature_repo.stores.plan import ahead, plan, read_chunk, read_chunks

ZERO = datetime(2025, 1, 1, tzinfo=UTC)
US = timedelta(microseconds=1)
INSTANT = st.integers(0, 9)
WRITE = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> WRITE:
    def make(rows: list[Any], group: int = 4) -> Path:
        moments = [pa.array([ZERO + row[part] * US for row in rows], pa.timestamp("us", "UTC")) for part in (1, 2)]
        columns = {
            "user_id": pa.array([row[0] for row in rows], pa.string()),
            "words": pa.array(
                [["x" * 40] * (n % 3) if n % 4 else None for n in range(len(rows))], pa.list_(pa.string())
            ),
            "number": pa.array(range(len(rows)), pa.int64()),
        }
        table = pa.table(columns | {"event_time": moments[0], "ingested_at": moments[1]})
        pq.write_table(table, tmp_path / "rows.parquet", row_group_size=group)
        return tmp_path / "rows.parquet"

    return make


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), INSTANT, INSTANT), max_size=20),
    INSTANT | st.none(),
    INSTANT,
    st.sampled_from([1, 300, 10**9]),
    st.integers(1, 9),
)
def test_every_winner_once(write: WRITE, rows: Any, start: Any, end: int, chunk_bytes: int, group: int) -> None:
    path = write(rows, group)
    best: dict[str, int] = {}
    for number, (user, event, known) in enumerate(rows):
        inside = max(event, known) <= end and (start is None or max(event, known) > start)
        if inside and (user not in best or (event, known) >= rows[best[user]][1:]):
            best[user] = number
    chosen = plan(path, "user_id", None if start is None else ZERO + start * US, ZERO + end * US, chunk_bytes)
    chunks = list(read_chunks(chosen))
    read = pa.concat_tables([table for _, table in chunks]) if chunks else None
    assert sorted(best.values()) == chosen.rows.tolist() == (read["number"].to_pylist() if read else [])
    if read is not None:
        assert read.equals(pq.read_table(path).take(pa.array(chosen.rows))), "all columns as they are in the file"
    assert [chunk for chunk, _ in chunks] == list(chosen.chunks)
    for chunk, table in chunks:
        assert chunk.rows == table.num_rows > 0
        assert (chunk.first_key, chunk.last_key) == (table["user_id"][0].as_py(), table["user_id"][-1].as_py())
        times = table["event_time"].to_pylist()
        assert (chunk.first_time, chunk.last_time) == (min(times), max(times))
        assert read_chunk(chosen, chunk.number).equals(table), "each chunk can be read again by itself"
    if chunk_bytes == 1:
        assert all(chunk.rows == 1 for chunk in chosen.chunks)
    assert len(chosen.chunks) <= 1 or chunk_bytes < 10**9
    again = plan(path, "user_id", chosen.start, chosen.end, chunk_bytes)
    assert (again.chunks, again.digest) == (chosen.chunks, chosen.digest)
    for first in range(len(chunks)):
        assert [chunk.number for chunk, _ in read_chunks(chosen, first)] == list(range(first, len(chunks)))


def test_chunks_stay_within_their_bytes(write: WRITE) -> None:
    path = write([(f"u{n}", n, n) for n in range(2000)], group=500)
    chosen = plan(path, "user_id", None, ZERO + timedelta(days=1), 20_000)
    assert len(chosen.chunks) > 4
    for _, table in read_chunks(chosen):
        assert table.nbytes <= 2 * 20_000, "the estimate is not far off"
    assert chosen.digest != plan(path, "user_id", None, ZERO + timedelta(days=1), 30_000).digest


def test_without_a_column_of_ingestion(write: WRITE) -> None:
    path = write([("a", 1, 5), ("a", 2, 3)])
    assert plan(path, ["user_id"], None, ZERO + 2 * US, 100, known=None).rows.tolist() == [1]
    assert plan(path, "user_id", None, ZERO + 2 * US, 100, known="arrived").rows.tolist() == [1]
    assert plan(path, "user_id", None, ZERO + 2 * US, 100).rows.tolist() == []


def test_a_file_that_is_not_what_it_was(write: WRITE) -> None:
    chosen = plan(write([("a", 1, 1), ("b", 1, 1), ("c", 2, 2)]), "user_id", None, ZERO + 9 * US, 10**6)
    with pytest.raises(NotFound, match=r"chunk 1 of rows.parquet: found 1 chunks"):
        read_chunk(chosen, 1)
    assert list(read_chunks(chosen, 5)) == []
    write([("a", 1, 1)])
    with pytest.raises(BadInput, match="found 1 rows of chunk 0; expected 3: the file has changed"):
        list(read_chunks(chosen))
    with pytest.raises(BadInput, match="expected item_id and event_time among them"):
        plan(chosen.path, "item_id", None, ZERO, 1)
    chosen.path.unlink()
    with pytest.raises(NotFound, match=r"no such file.*backbeat features apply"):
        plan(chosen.path, "user_id", None, ZERO, 1)


def test_items_made_ahead() -> None:
    assert list(ahead(iter([1, 2, 3]))) == [1, 2, 3]
    assert list(ahead(iter([]))) == []

    def broken() -> Any:
        yield 1
        raise OSError("disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        list(ahead(broken()))
