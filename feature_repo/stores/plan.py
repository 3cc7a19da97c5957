"""Which rows of a view's file go to the online store, in chunks of bounded size; without Feast.

Two passes. The first reads keys and times only and chooses the newest row of each entity; the second reads the row
groups in which chosen rows lie, a slice at a time. The same file, window and chunk size give the same chunks, so a
job that was cut short goes on at the number it had reached.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.errors import BadInput, NotFound
from feature_repo.raw_tables import microseconds
from feature_repo.stores.search import gather, instants, newest_rows

__all__ = ["Chunk", "Plan", "ahead", "plan", "read_chunk", "read_chunks"]

Item = TypeVar("Item")

_SLICE_BYTES = 16 * 1024 * 1024
_BUFFER_BYTES = 1024 * 1024
_SAMPLE_ROWS = 256


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows to write."""

    number: int
    rows: int
    first_key: Any
    last_key: Any
    first_time: datetime
    """Earliest event time in it."""
    last_time: datetime


@dataclass(frozen=True)
class Plan:
    """The newest row of each entity that became known in a window, cut into chunks."""

    path: Path
    keys: tuple[str, ...]
    event_time: str
    known: str | None
    start: datetime | None
    """Arrivals at or before it are left out."""
    end: datetime
    chunk_bytes: int
    rows: npt.NDArray[np.int64]
    """Numbers of the chosen rows in the file, ascending, ``[n]``."""
    ends: npt.NDArray[np.int64]
    """Where each chunk ends in ``rows``, ``[chunks]``."""
    chunks: tuple[Chunk, ...]
    bytes: int
    """About how much memory all chosen rows take."""

    @cached_property
    def digest(self) -> str:
        """Names what the chunks hold: equal for equal files, windows and chunk sizes."""
        text = f"{self.keys} {self.start} {self.end} {self.chunk_bytes} {self.ends.tolist()}"
        return hashlib.sha256(text.encode() + self.rows.tobytes()).hexdigest()[:16]


def plan(
    path: Path,
    key: str | Sequence[str],
    start: datetime | None,
    end: datetime,
    chunk_bytes: int,
    *,
    event_time: str = "event_time",
    known: str | None = "ingested_at",
) -> Plan:
    """Choose the rows to write.

    Args:
        path: The view's Parquet file.
        key: Column that names the entity, or several.
        start: Rows that had arrived by then are left out; none are if None.
        end: Rows that arrive later are left out.
        chunk_bytes: Most memory that the rows of a chunk take; a single row may take more.
        event_time: Column that says when a row happened.
        known: Column that says from when on it was known; at once if None, or if the file has none.

    Raises:
        NotFound: There is no such file.
        BadInput: It lacks the key or the event time.
    """
    if not path.is_file():
        raise NotFound(
            f"source {path}",
            found="no such file",
            expected="the Parquet file that the view reads",
            next_step="run `backbeat features apply` to compute it again",
        )
    keys = (key,) if isinstance(key, str) else tuple(key)
    with _opened(path) as file:
        there = file.schema_arrow.names
        if not {*keys, event_time} <= set(there):
            raise BadInput(
                f"source {path}",
                found=f"columns {', '.join(there)}",
                expected=f"{', '.join(keys)} and {event_time} among them",
                next_step="run `backbeat features apply` to compute it again",
            )
        known = known if known in there else None
        table = file.read(columns=[*keys, event_time, *filter(None, [known])])
        group_rows, row_bytes = _groups(file)
    event = instants(table[event_time])
    first = np.iinfo(np.int64).min if start is None else microseconds(start) + 1
    rows = newest_rows(
        [table[name] for name in keys], event, instants(table[known]) if known else None, first, microseconds(end)
    )
    sizes = row_bytes[np.searchsorted(np.cumsum(group_rows), rows, side="right")]
    ends = _cut(sizes, chunk_bytes)
    chunks = tuple(_described(ends, table[keys[0]].take(pa.array(rows)), event[rows]))
    return Plan(path, keys, event_time, known, start, end, chunk_bytes, rows, ends, chunks, int(sizes.sum()))


def read_chunk(plan: Plan, number: int) -> pa.Table:
    """The rows of one chunk, all columns, in file order.

    Args:
        plan: From :func:`plan`.
        number: Which chunk, from 0.

    Raises:
        NotFound: There is no chunk of that number.
        BadInput: The file has changed since.
    """
    if not 0 <= number < len(plan.ends):
        raise NotFound(
            f"chunk {number} of {plan.path.name}",
            found=f"{len(plan.ends)} chunks",
            expected="a number from 0 up to that",
            next_step="plan the materialization again",
        )
    return next(read_chunks(plan, number))[1]


def read_chunks(plan: Plan, first: int = 0) -> Iterator[tuple[Chunk, pa.Table]]:
    """Chunks one after the other; the file is read once for all of them, and a chunk and a slice held at a time.

    Args:
        plan: From :func:`plan`.
        first: Number of the chunk to begin with.
    """
    starts = np.append(0, plan.ends[:-1])[: len(plan.ends)]
    if first >= len(starts):
        return
    number, gathered, have = first, list[pa.Table](), 0
    for begin, batch in _slices(plan, int(plan.rows[starts[first]])):
        low, high = np.searchsorted(plan.rows, [begin, begin + batch.num_rows])
        low = max(int(low), int(starts[first]))
        while low < high:
            upto = min(int(high), int(plan.ends[number]))
            wanted = plan.rows[low:upto] - begin
            gathered.append(_rows_of(batch, wanted))
            have += upto - low
            low = upto
            if low == plan.ends[number]:
                table, gathered, have = pa.concat_tables(gathered), [], 0
                yield plan.chunks[number], table
                del table
                number += 1
                if number == len(plan.ends):
                    return
    raise BadInput(
        f"source {plan.path}",
        found=f"{have} rows of chunk {number}",
        expected=f"{plan.chunks[number].rows}: the file has changed since the plan was made",
        next_step="run `backbeat features materialize` again",
    )


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, the next one made in a thread while the caller is busy with this one."""
    with ThreadPoolExecutor(max_workers=1) as worker:
        coming = worker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = worker.submit(next, items, None)
            yield item


def _opened(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)


def _groups(file: pq.ParquetFile) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of each row group, and about how many bytes a row takes in memory.

    The file says how long its encoded pages are; a sample of rows says how much more they take once decoded.
    """
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    rows = np.array([group.num_rows for group in groups], np.int64)
    encoded = np.array([group.total_byte_size / max(group.num_rows, 1) for group in groups])
    sample = next(file.iter_batches(batch_size=_SAMPLE_ROWS), None)
    growth = sample.nbytes / sample.num_rows / max(encoded[0], 1) if sample is not None and sample.num_rows else 1.0
    return rows, np.ceil(encoded * max(growth, 1.0)).astype(np.int64) + 1


def _cut(sizes: npt.NDArray[np.int64], chunk_bytes: int) -> npt.NDArray[np.int64]:
    """Ends of the longest runs of at most so many bytes, one row at least each."""
    total, ends = np.cumsum(sizes), list[int]()
    while not ends or ends[-1] < len(sizes):
        done = ends[-1] if ends else 0
        if not len(sizes):
            break
        limit = (total[done - 1] if done else 0) + chunk_bytes
        ends.append(max(int(np.searchsorted(total, limit, side="right")), done + 1))
    return np.array(ends, np.int64)


def _described(ends: npt.NDArray[np.int64], keys: Any, event: npt.NDArray[np.int64]) -> Iterator[Chunk]:
    moments = pa.array(event, pa.int64()).cast(pa.timestamp("us", "UTC"))
    begin = 0
    for number, stop in enumerate(ends.tolist()):
        times = pc.min_max(moments.slice(begin, stop - begin)).as_py()
        first, last = keys[begin].as_py(), keys[stop - 1].as_py()
        yield Chunk(number, stop - begin, first, last, times["min"], times["max"])
        begin = stop


def _slices(plan: Plan, first_row: int) -> Iterator[tuple[int, pa.Table]]:
    """Slices of the file in order, from the row group of a row on, without groups that have no chosen row."""
    with _opened(plan.path) as file:
        group_rows, row_bytes = _groups(file)
        starts = np.append(0, np.cumsum(group_rows))
        for group in range(len(group_rows)):
            low, high = np.searchsorted(plan.rows, [starts[group], starts[group + 1]])
            if low == high or starts[group + 1] <= first_row:
                continue
            begin, size = int(starts[group]), max(_SLICE_BYTES // int(row_bytes[group]), 64)
            for batch in file.iter_batches(batch_size=size, row_groups=[group], use_threads=False):
                yield begin, pa.Table.from_batches([batch])
                begin += batch.num_rows


def _rows_of(table: pa.Table, rows: npt.NDArray[np.int64]) -> pa.Table:
    if rows[-1] - rows[0] + 1 == len(rows):
        return table.slice(rows[0], len(rows))
    return pa.table({name: gather(table[name], rows) for name in table.column_names}, schema=table.schema)
