"""Stand-in for feature_repo.stores.engine."""

import itertools
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.materialization.sources import known_times
from feature_repo.raw_tables import microseconds

__all__ = ["Chunk", "Plan", "plan", "read_chunk"]


@dataclass(frozen=True)
class Chunk:
    number: int
    rows: int
    first_key: str
    last_key: str


@dataclass(frozen=True)
class Plan:
    path: Path
    key: str
    winners: npt.NDArray[np.int64]
    bounds: list[int]
    chunks: tuple[Chunk, ...]

    @property
    def rows(self) -> int:
        return len(self.winners)


def plan(path: Path, key: str, start: datetime | None, end: datetime, chunk_bytes: int) -> Plan:
    with pq.ParquetFile(path) as file:
        names = [c for c in ("event_time", "ingested_at") if c in file.schema_arrow.names]
        table = file.read(columns=[key, *names])
        width = max(1, sum(file.metadata.row_group(g).total_byte_size for g in range(file.metadata.num_row_groups)))
    known = known_times(table)
    keys = table[key].combine_chunks().dictionary_encode()
    codes = keys.indices.to_numpy()
    events = table["event_time"].cast(pa.int64()).to_numpy()
    rows = np.flatnonzero(known <= microseconds(end))
    order = rows[np.lexsort((rows, known[rows], events[rows], codes[rows]))]
    last = np.ones(len(order), bool)
    last[:-1] = codes[order][1:] != codes[order][:-1]
    winners = np.sort(order[last])
    if start is not None:
        winners = winners[known[winners] > microseconds(start)]
    step = max(1, int(chunk_bytes // max(1, width // max(1, table.num_rows))))
    bounds = [*range(0, len(winners), step), len(winners)]
    texts = table[key]
    chunks = tuple(
        Chunk(n, b - a, texts[int(winners[a])].as_py(), texts[int(winners[b - 1])].as_py())
        for n, (a, b) in enumerate(itertools.pairwise(bounds))
    )
    return Plan(Path(path), key, winners, bounds, chunks)


def read_chunk(plan: Plan, number: int) -> pa.Table:
    rows = plan.winners[plan.bounds[number] : plan.bounds[number + 1]]
    parts, offset = [], 0
    with pq.ParquetFile(plan.path) as file:
        for group in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            own = rows[(rows >= offset) & (rows < offset + size)] - offset
            if len(own):
                parts.append(file.read_row_group(group).take(pa.array(own)))
            offset += size
    return pa.concat_tables(parts)
