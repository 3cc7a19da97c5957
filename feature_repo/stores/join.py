"""The join of requests with one file, as data that can be sent to where it is to be done; without Feast."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo.stores.byte_columns import contiguous
from feature_repo.stores.search import as_of_rows, gather, instants

__all__ = ["SourceJoin", "joined_range", "key_ranges"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SourceJoin:
    """Which columns of which Parquet file are joined to a request, and by which."""

    path: Path
    keys: tuple[str, ...]
    """Columns of the file that name the entity; none where all rows are of one."""
    asked: tuple[str, ...]
    """The columns of the request that go with them."""
    event_time: str
    known: str | None
    features: tuple[str, ...]
    ttl: timedelta | None

    def of(self, keys: pa.Table, moments: Rows, ranged: bool = False) -> pa.Table:
        """The features for some requests.

        Args:
            keys: The columns ``asked``, ``[n]``.
            moments: Instants in microseconds since 1970, ``[n]``.
            ranged: Read only rows between the least and the greatest key asked for, which pays where the requests
                are a part of many and the file is sorted by key.

        Returns:
            The columns ``features``, ``[n]``; null where no row counts.
        """
        times = [self.event_time, *filter(None, [self.known])]
        columns = list(dict.fromkeys([*self.keys, *times, *self.features]))
        table = pq.read_table(self.path, columns=columns, filters=self._range(keys) if ranged else None)
        event, *known = (instants(table[name]) for name in times)
        rows = as_of_rows(
            [table[key] for key in self.keys],
            event,
            known[0] if known else None,
            [keys[name] for name in self.asked],
            moments,
            self.ttl,
        )
        return pa.table([gather(table[name], rows) for name in self.features], names=list(self.features))

    def _range(self, keys: pa.Table) -> Any:
        """Rows that may be of these entities, by the first of the keys; all where their types do not compare."""
        if not self.keys:
            return None
        kind = pq.read_schema(self.path).field(self.keys[0]).type if self.path.is_file() else None
        if (
            kind is None
            or kind != keys[self.asked[0]].type
            or not (pa.types.is_string(kind) or pa.types.is_integer(kind))
        ):
            return None
        bounds = pc.min_max(keys[self.asked[0]])
        if not bounds["min"].is_valid:
            return None
        return (pc.field(self.keys[0]) >= bounds["min"]) & (pc.field(self.keys[0]) <= bounds["max"])


def joined_range(join: SourceJoin, keys: pa.Table, moments: Rows) -> pa.Table:
    """The join of a part of the requests, as a task of its own; see :meth:`SourceJoin.of`."""
    return join.of(keys, moments, ranged=True)


def key_ranges(keys: pa.Table, count: int, rows_each: int) -> Iterator[Rows]:
    """Numbers of the requests in parts of about equal size, each of neighbouring keys.

    Args:
        keys: Keys of the requests, ``[n]``; by the first of them the parts are made.
        count: ``n``, which a table without columns does not say.
        rows_each: Size of a part.
    """
    if keys.num_columns:
        encoded = contiguous(keys.column(0)).dictionary_encode(null_encoding="encode")
        rank = np.empty(len(encoded.dictionary), np.int64)
        rank[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(rank))
        order = np.argsort(rank[encoded.indices.to_numpy()], kind="stable")
    else:
        order = np.arange(count)
    parts = max(-(-count // rows_each), 1)
    yield from np.array_split(order, parts)
