"""Whose vectors the rows of a table are, which are the newest, and which owners have none."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from validation.statistics.blocks import Rows

__all__ = ["Entities", "entities_of"]

_RECENT = 0.05
"""Share of the owners that count as recent."""
_HOUR = 3_600_000_000


@dataclass(frozen=True)
class Entities:
    """Of a table with ``rows`` rows."""

    ids: pa.Array
    """``[rows]``."""
    numbers: Rows
    """The same number for the same entity ``[rows]``."""
    known: npt.NDArray[np.bool_]
    """The entity is among the owners ``[rows]``."""
    newest: npt.NDArray[np.bool_]
    """The row is the newest sound one of its entity ``[rows]``."""
    absent: pa.Array
    """Owners without a row."""
    statistics: dict[str, float]
    """``rows``, ``coverage``, ``recent_coverage`` and ``freshness_lag_hours``, as far as they can be told."""


def entities_of(embeddings: pa.Table, owners: pa.Table, key: str, sound: npt.NDArray[np.bool_]) -> Entities:
    """Match the rows of a table of vectors with their owners.

    Args:
        embeddings: The table of vectors, with both times.
        owners: The table of the entities; times are used where it has them.
        key: The column that names them.
        sound: Rows with a sound vector ``[rows]``.
    """
    column = embeddings[key].combine_chunks()
    ids = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    encoded = ids.dictionary_encode()
    numbers = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    newest = _newest(embeddings, numbers, len(encoded.dictionary), sound)
    catalogue = pc.unique(owners[key])
    places = np.asarray(pc.fill_null(pc.index_in(ids, value_set=catalogue), -1), dtype=np.int64)
    known = places >= 0
    listed, served = np.zeros(len(catalogue), bool), np.zeros(len(catalogue), bool)
    listed[places[known]] = True
    served[places[known & newest]] = True
    absent = catalogue.filter(pa.array(~listed))
    statistics = {"rows": float(len(ids))}
    if len(catalogue):
        statistics["coverage"] = float(served.mean())
    if len(catalogue) and "event_time" in owners.column_names:
        times = _microseconds(owners["event_time"])
        recent = times >= np.quantile(times, 1 - _RECENT, method="higher")
        of_recent = pc.index_in(owners[key].filter(pa.array(recent)), value_set=catalogue)
        statistics["recent_coverage"] = float(served[np.asarray(of_recent, dtype=np.int64)].mean())
        if newest.any():
            last = _microseconds(embeddings["event_time"])[newest].max()
            statistics["freshness_lag_hours"] = max(float(times.max() - last) / _HOUR, 0.0)
    return Entities(ids, numbers, known, newest, absent, statistics)


def _newest(embeddings: pa.Table, numbers: Rows, entities: int, sound: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    if entities == len(numbers):
        return sound
    rows = np.flatnonzero(sound)
    times = [_microseconds(embeddings[name])[rows] for name in ("ingested_at", "event_time")]
    order = rows[np.lexsort((rows, *times, numbers[rows]))]
    last = np.append(numbers[order[1:]] != numbers[order[:-1]], True)[: len(order)]
    newest = np.zeros(len(sound), bool)
    newest[order[last]] = True
    return newest


def _microseconds(times: pa.ChunkedArray) -> Rows:
    return np.asarray(times.cast(pa.int64()).to_numpy(), dtype=np.int64)
