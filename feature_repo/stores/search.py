"""Which row of a source counts at which instant: the knowledge rule on plain columns, without Feast.

A row counts at instant t where it had happened and was known: ``event_time <= t`` and ``ingested_at <= t``. Its
*arrival* is the later of the two. Among the rows that count the newest one is the value, by event time and then by
ingestion time; of two rows equal in both, the later one in the file. A row that arrives late, behind a newer one,
is never the value, so it is left out before the search, which then needs the arrivals only.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import BadInput
from feature_repo.stores.byte_columns import contiguous

__all__ = ["as_of", "as_of_rows", "gather", "instants", "newest_rows"]

_MICROSECOND = timedelta(microseconds=1)
_NEVER = np.iinfo(np.int64).max
_LIST_LIMIT = 2**31 - 1
Rows = npt.NDArray[np.int64]


def as_of(
    source: pa.Table,
    request: pa.Table,
    key: str | Sequence[str],
    *,
    moment: str = "event_timestamp",
    event_time: str = "event_time",
    known: str | None = "ingested_at",
    ttl: timedelta | None = None,
    features: Sequence[str] | None = None,
) -> pa.Table:
    """Join to each request the row of a source that counts at its instant.

    Args:
        source: Keys, times and features; in any order.
        request: Keys and instants ``[n]``.
        key: Columns that name the entity in both tables.
        moment: Column of the request with the instant.
        event_time: Column of the source that says when it happened.
        known: Column of the source that says from when on it was known; at once if None.
        ttl: How long after its event time a row counts, the end included; for ever if None or zero.
        features: Columns of the source to add; all but keys and times if None.

    Returns:
        The request, rows and order as they are, and the features; null where no row counts.

    Raises:
        BadInput: Keys of the two tables cannot be compared.
    """
    keys = [key] if isinstance(key, str) else list(key)
    rows = as_of_rows(
        [source[name] for name in keys],
        instants(source[event_time]),
        instants(source[known]) if known else None,
        [request[name] for name in keys],
        instants(request[moment]),
        ttl,
    )
    for name in features if features is not None else source.column_names:
        if features is not None or name not in {*keys, event_time, known}:
            request = request.append_column(name, gather(source[name], rows))
    return request


def instants(column: pa.Array | pa.ChunkedArray) -> Rows:
    """Microseconds since 1970 UTC, ``[n]``; naive times are UTC, and null is an instant that never comes."""
    array = contiguous(column)
    if array.type != pa.timestamp("us", "UTC"):
        array = array.cast(pa.timestamp("us", getattr(array.type, "tz", None) or "UTC"), safe=False)
    whole = array.cast(pa.int64())
    moments: Rows = (whole.fill_null(_NEVER) if whole.null_count else whole).to_numpy()
    return moments


def as_of_rows(
    source_keys: Sequence[Any],
    event: Rows,
    known: Rows | None,
    request_keys: Sequence[Any],
    moments: Rows,
    ttl: timedelta | None,
) -> Rows:
    """Row of the source that counts for each request, ``[n]``; -1 where none does.

    Args:
        source_keys: Key columns of the source, ``[m]`` each; none where all rows are of one entity.
        event: Event times of the source in microseconds, ``[m]``.
        known: Ingestion times likewise.
        request_keys: Key columns of the requests, ``[n]`` each.
        moments: Instants asked for, ``[n]``.
        ttl: As in :func:`as_of`.
    """
    groups, wanted = _codes(source_keys, len(event), request_keys, len(moments))
    order = _arrivals_that_displace(groups, event, known)
    groups = groups[order]
    arrival = event[order] if known is None else np.maximum(event, known)[order]
    count = int(groups[-1]) + 1 if len(groups) else 0
    ends = np.searchsorted(groups, np.arange(count), side="right")
    starts = np.append(0, ends[:-1]) if count else ends
    there = (wanted >= 0) & (wanted < count) & (moments != _NEVER)
    asked = np.where(there, wanted, 0)
    low, high = (starts[asked], ends[asked]) if count else (np.zeros_like(wanted), np.zeros_like(wanted))
    first = low.copy()
    # one binary search per request inside the rows of its entity, all of them a step at a time
    for _ in range(int((ends - starts).max(initial=0)).bit_length()):
        middle = (low + high) >> 1
        right = (low < high) & (arrival[np.minimum(middle, len(arrival) - 1)] <= moments)
        low, high = np.where(right, middle + 1, low), np.where(right | (low >= high), high, middle)
    found = there & (low > first)
    rows = np.full(len(moments), -1, np.int64)
    rows[found] = order[low[found] - 1]
    if ttl and found.any():
        rows[found & (event[rows] < moments - ttl // _MICROSECOND)] = -1
    return rows


def newest_rows(keys: Sequence[Any], event: Rows, known: Rows | None, first: int, last: int) -> Rows:
    """The newest row of each entity among those that arrived in ``[first, last]``, in file order.

    Args:
        keys: Key columns, ``[m]`` each.
        event: Event times in microseconds, ``[m]``.
        known: Ingestion times likewise; None where rows are known at once.
        first: Earliest arrival that counts.
        last: Latest one.
    """
    arrival = event if known is None else np.maximum(event, known)
    inside = np.flatnonzero((arrival >= first) & (arrival <= last) & (arrival != _NEVER))
    groups, _ = _codes(keys, len(event), [], 0)
    groups = groups[inside]
    by = (event[inside], groups) if known is None else (known[inside], event[inside], groups)
    order = np.lexsort(by)
    is_last = np.append(groups[order][1:] != groups[order][:-1], True)[: len(order)]
    return np.sort(inside[order[is_last]])


def gather(column: pa.Array | pa.ChunkedArray, rows: Rows) -> pa.Array | pa.ChunkedArray:
    """The values at some rows; null where the row is -1."""
    array = contiguous(column)
    missing = rows < 0
    if pa.types.is_list(array.type) and array.type.value_type == pa.float32():
        vectors = _gather_vectors(array, rows, missing)
        if vectors is not None:
            return vectors
    return array.take(pa.array(rows, mask=missing))


def _gather_vectors(array: pa.ListArray, rows: Rows, missing: npt.NDArray[np.bool_]) -> pa.ChunkedArray | None:
    """Vectors of one width move as rows of a matrix, several times faster than as lists."""
    offsets = array.offsets.to_numpy()
    widths = np.diff(offsets)
    width = int(widths.max(initial=0))
    valid = np.ones(len(array), np.bool_) if not array.null_count else array.is_valid().to_numpy(zero_copy_only=False)
    if not width or array.values.null_count or (widths[valid] != width).any():
        return None
    if (widths[~valid] != 0).any():
        return None
    values = array.values.to_numpy()[offsets[0] : offsets[-1]]
    places = (offsets[:-1] - offsets[0]) // width
    chunks = []
    for begin in range(0, max(len(rows), 1), _LIST_LIMIT // width):
        part = rows[begin : begin + _LIST_LIMIT // width]
        present = ~missing[begin : begin + len(part)]
        present[present] = valid[part[present]]
        taken = values.reshape(-1, width).take(places[part[present]], axis=0)
        ends = np.zeros(len(part) + 1, np.int32)
        np.cumsum(present, out=ends[1:])
        mask = None if present.all() else pa.array(~present)
        chunks.append(pa.ListArray.from_arrays(pa.array(ends * np.int32(width)), pa.array(taken.ravel()), mask=mask))
    return pa.chunked_array(chunks, array.type)


def _arrivals_that_displace(groups: Rows, event: Rows, known: Rows | None) -> Rows:
    """Rows by entity and arrival, without those that arrive behind a newer row of their entity, or never."""
    if known is None:
        by_event: Rows = np.lexsort((event, groups))
        happened: npt.NDArray[np.bool_] = event[by_event] != _NEVER
        return by_event[happened]
    order: Rows = np.lexsort((known, event, np.maximum(event, known), groups))
    order = order[(event[order] != _NEVER) & (known[order] != _NEVER)]
    times = event[order], known[order]
    if (times[0] >= times[1]).all():  # known at once: the order of arrival is the order of event times
        return order
    rank = np.empty(len(order), np.int64)
    by_age = np.lexsort((times[1], times[0]))
    newer = (np.diff(times[0][by_age]) != 0) | (np.diff(times[1][by_age]) != 0)
    rank[by_age] = np.append(0, np.cumsum(newer))[: len(order)]
    rank += groups[order] * (len(order) + 1)  # starts anew with every entity
    return order[rank >= np.maximum.accumulate(rank)]


def _codes(source: Sequence[Any], rows: int, request: Sequence[Any], requests: int) -> tuple[Rows, Rows]:
    """Number the entities of the source, and say which number each request asks for; -1 for one that is not there."""
    groups, wanted = np.zeros(rows, np.int64), np.zeros(requests, np.int64)
    for position, column in enumerate(source):
        array = _plain(contiguous(column))
        encoded = array.dictionary_encode(null_encoding="encode")
        size = len(encoded.dictionary) + 1
        groups = groups * size + encoded.indices.to_numpy(zero_copy_only=False)
        if request:
            asked = _plain(contiguous(request[position]))
            try:
                asked = asked if asked.type == array.type else asked.cast(array.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise BadInput(
                    "entity keys of the request",
                    found=f"type {asked.type}",
                    expected=f"{array.type}, as in the source",
                    next_step="give the ids as the ingested tables have them",
                ) from None
            code = pc.index_in(asked, value_set=encoded.dictionary, skip_nulls=True).fill_null(-1)
            code = code.to_numpy(zero_copy_only=False)
            wanted = np.where((wanted < 0) | (code < 0), -1, wanted * size + code)
    if len(source) > 1:
        distinct, groups = np.unique(groups, return_inverse=True)
        place = np.minimum(np.searchsorted(distinct, wanted), max(len(distinct) - 1, 0))
        wanted = np.where(distinct[place] == wanted, place, -1) if len(distinct) else np.full(requests, -1)
    return groups, wanted


def _plain(array: pa.Array) -> pa.Array:
    return array.cast(array.type.value_type) if pa.types.is_dictionary(array.type) else array
