"""Events as sorted columns of numbers: the ground that change points are computed on.

An event *arrives* at the later of the instants at which it happened and at which it was known. Events of one key are in
the order of event times; events of one event time in the order of arrival, then of the item's id and the kind.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.views.builder import CHUNK_ROWS

__all__ = [
    "Codes",
    "Numbers",
    "Sequences",
    "arrivals_of",
    "change_points",
    "codes",
    "expand",
    "instants",
    "lists",
    "ranges",
    "sequences",
]

Numbers = npt.NDArray[np.int64]

_ENTRIES = 4_194_304
"""Most list entries, as a rule, that a chunk of rows is computed from at once."""


@dataclass(frozen=True)
class Codes:
    """A column of ids as numbers in the order of the ids."""

    ids: pa.Array
    """Distinct ids in order, ``[K]``."""
    rows: Numbers
    """Number of each row's id, ``[n]``."""


@dataclass(frozen=True)
class Sequences:
    """Events in order of key and event time, each once, ``[E]``."""

    keys: pa.Array
    """Distinct keys in order."""
    key: Numbers
    items: pa.Array
    """Distinct items in order."""
    item: Numbers
    kinds: pa.Array
    """Distinct kinds in order."""
    kind: Numbers
    times: Numbers
    """Microseconds since 1970-01-01 UTC."""
    arrivals: Numbers
    row: Numbers
    """Row of the table that each is from."""


def codes(column: pa.ChunkedArray | pa.Array) -> Codes:
    """Number a column of ids without nulls."""
    encoded = (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return Codes(encoded.dictionary.take(pa.array(order)), rank[encoded.indices.to_numpy()])


def instants(column: pa.ChunkedArray) -> Numbers:
    """Microseconds since 1970-01-01 UTC."""
    return np.asarray(column.combine_chunks().cast(pa.int64()).to_numpy())


def arrivals_of(table: pa.Table) -> Numbers:
    """From when on each row counts, ``[n]`` in microseconds since 1970-01-01 UTC."""
    return np.maximum(instants(table["event_time"]), instants(table["ingested_at"]))


def sequences(table: pa.Table, key: str, item: str, once: bool = False) -> Sequences:
    """Put events in order.

    Args:
        table: Events; those without a key or an item are left out. Duplicates (equal key, item, ``kind`` if there is
            one, and event time) count once, from the first arrival on.
        key: Column of whom to tell of.
        item: Column of what happened with.
        once: Whether an item counts once for its key, from its first arrival on, whatever the event time.
    """
    known = np.flatnonzero(pc.and_(pc.is_valid(table[key]), pc.is_valid(table[item])).to_numpy())
    table = table.take(pa.array(known)) if len(known) < table.num_rows else table
    keyed, items = codes(table[key]), codes(table[item])
    kinds = (
        codes(table["kind"])
        if "kind" in table.schema.names
        else Codes(pa.array([], pa.string()), np.zeros(len(table), np.int64))
    )
    times, arrivals = instants(table["event_time"]), arrivals_of(table)
    same = (items.rows, keyed.rows) if once else (kinds.rows, times, items.rows, keyed.rows)
    order = np.lexsort((times, arrivals, *same))
    first = np.zeros(len(order), bool)
    first[:1] = True
    for column in same:
        first[1:] |= column[order][1:] != column[order][:-1]
    order = order[first]
    order = order[np.lexsort(tuple(c[order] for c in (kinds.rows, items.rows, arrivals, times, keyed.rows)))]
    return Sequences(
        keyed.ids,
        keyed.rows[order],
        items.ids,
        items.rows[order],
        kinds.ids,
        kinds.rows[order],
        times[order],
        arrivals[order],
        known[order],
    )


def change_points(key: Numbers, arrivals: Numbers, newest: bool = False) -> tuple[Numbers, Numbers]:
    """Where rows of a change-point table come from.

    Args:
        key: Key of each event, ``[E]``.
        arrivals: When each arrived, ``[E]``.
        newest: Whether only the last instant of each key is of interest.

    Returns:
        Events in order of key and arrival, ``[E]``; positions in that order of the last event of each key and
        instant, ``[R]``: rows of one key and instant would be a toss-up in a point-in-time join.
    """
    order = np.lexsort((arrivals, key))
    k, a = key[order], arrivals[order]
    last = np.r_[(k[1:] != k[:-1]) | ((a[1:] != a[:-1]) & (not newest)), True][: len(k)]
    return order, np.flatnonzero(last)


def ranges(lengths: Numbers) -> Iterator[slice]:
    """Cut rows into chunks of at most 65,536 rows and about four million entries, given each row's entries, ``[R]``."""
    ends = np.cumsum(lengths)
    start = 0
    while start < len(lengths):
        before = ends[start] - lengths[start]
        stop = int(np.searchsorted(ends, before + _ENTRIES, side="right"))
        stop = min(max(stop, start + 1), start + CHUNK_ROWS)
        yield slice(start, stop)
        start = stop


def expand(starts: Numbers, lengths: Numbers) -> tuple[Numbers, Numbers]:
    """Runs of numbers laid end to end.

    Returns:
        Row of each entry, and the entry: ``start``, ``start + 1`` … of each row, ``[sum of lengths]`` both.
    """
    rows = np.repeat(np.arange(len(lengths)), lengths)
    offsets = np.cumsum(lengths) - lengths
    return rows, np.arange(len(rows)) + (starts - offsets)[rows]


def lists(rows: int, row: Numbers, values: pa.Array) -> pa.ListArray:
    """Entries as a column of lists.

    Args:
        rows: Number of lists.
        row: List of each entry, ascending.
        values: The entries.
    """
    offsets = np.searchsorted(row, np.arange(rows + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)
