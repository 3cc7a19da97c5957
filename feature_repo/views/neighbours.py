"""Lists of what is nearest to a user, as of midnights UTC.

A list states what was known strictly before its midnight. A user's list is computed at the first midnight after a day
on which something of the user's own became known, and stands until the next: what others do meanwhile waits for that,
so that there are never more rows than events. A row that would repeat the one before it is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.views.builder import chunk_of
from feature_repo.views.sequences import Numbers, expand, lists, ranges

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from feature_repo.views.catalogue import View

__all__ = ["DAY_US", "NEIGHBOURS", "RECENT", "Lists", "Recent", "heaviest", "list_rows", "midnights"]

DAY_US = 86_400_000_000
NEIGHBOURS = 50
"""Entries kept of a list."""
RECENT = 20
"""Items that a key is joined by: those with the latest event times, of equal times the lower ids."""

_LEVELS = 64
"""Scores told apart when looking for the 50th of a row; those above are not."""

Weights = npt.NDArray[np.float32]


def midnights(arrivals: Numbers) -> Numbers:
    """Number of the first midnight that each event was known strictly before, in days since 1970-01-01 UTC."""
    return arrivals // DAY_US + 1


@dataclass(frozen=True)
class Lists:
    """The lists of R users and midnights, their entries laid end to end."""

    key: Numbers
    """``[R]``"""
    midnight: Numbers
    """``[R]`` in days since 1970-01-01 UTC."""
    lengths: Numbers
    """``[R]``"""
    item: Numbers
    """``[sum of lengths]``"""
    weight: Weights
    """``[sum of lengths]``"""


class Recent:
    """The last 20 distinct items of each key, as more and more events are known.

    Args:
        keys: Number of keys.
    """

    def __init__(self, keys: int) -> None:
        self._items = np.full((keys, RECENT), -1, np.int32)
        self._times = np.zeros((keys, RECENT), np.int64)

    def learn(self, key: Numbers, item: Numbers, time: Numbers) -> None:
        """Take in events, ``[n]``. An item that dropped out comes back only by a later event of its own, so nothing
        else need be remembered."""
        changed = np.unique(key)
        row, column = np.nonzero(self._items[changed] >= 0)
        keys = np.r_[changed[row], key]
        items = np.r_[self._items[changed[row], column], item]
        times = np.r_[self._times[changed[row], column], time]
        order = np.lexsort((-times, items, keys))
        keys, items, times = keys[order], items[order], times[order]
        first = np.r_[True, (keys[1:] != keys[:-1]) | (items[1:] != items[:-1])][: len(keys)]
        keys, items, times = keys[first], items[first], times[first]
        order = np.lexsort((items, -times, keys))
        keys, items, times = keys[order], items[order], times[order]
        place = np.arange(len(keys)) - np.searchsorted(keys, keys)
        kept = place < RECENT
        self._items[changed] = -1
        self._items[keys[kept], place[kept]] = items[kept]
        self._times[keys[kept], place[kept]] = times[kept]

    def matrix(self, keys: Numbers, width: int) -> "csr_matrix":
        """Ones where a key has an item, ``[len(keys), width]``."""
        from scipy.sparse import csr_matrix

        items = self._items[keys]
        present = items >= 0
        bounds = np.r_[0, np.cumsum(present.sum(axis=1))]
        columns = items[present]
        return csr_matrix((np.ones(len(columns), np.int32), columns, bounds), shape=(len(keys), width))


def heaviest(scores: "csr_matrix") -> tuple[Numbers, Numbers, Weights]:
    """The 50 greatest positive scores of each row, greatest first, of equal ones the lower columns first.

    Args:
        scores: Integers, ``[R, width]``, each entry once.

    Returns:
        Number of entries of each row ``[R]``; columns and scores of the entries.
    """
    rows = scores.shape[0]
    row = np.repeat(np.arange(rows), np.diff(scores.indptr))
    # How many of each row reach each score tells which score its 50th has; most entries are below, and not sorted.
    level = np.clip(scores.data, 0, _LEVELS - 1)
    reach = np.bincount(row * _LEVELS + level, minlength=rows * _LEVELS).reshape(rows, _LEVELS)
    reach = np.cumsum(reach[:, ::-1], axis=1)[:, ::-1]
    least = np.maximum((reach >= NEIGHBOURS).sum(axis=1) - 1, 1)
    near = level >= least[row]
    row, column, score = row[near], scores.indices[near], scores.data[near]
    counts = np.bincount(row, minlength=rows)
    top = int(score.max(initial=0))
    # One number for row, falling score and column: a plain sort is several times faster than one of three columns.
    coded = np.sort((row * (top + 1) + (top - score)) * scores.shape[1] + column)
    kept = np.minimum(counts, NEIGHBOURS)
    _, entry = expand(np.cumsum(counts) - counts, kept)
    rest, column = np.divmod(coded[entry], scores.shape[1])
    return kept, column, (top - rest % (top + 1)).astype(np.float32)


def list_rows(view: "View", keys: pa.Array, items: pa.Array, parts: list[Lists]) -> Iterator[pa.Table]:
    """The rows of a view of lists.

    Args:
        view: Whose features are the items and their weights.
        keys: Id of each key.
        items: Id of each item.
        parts: Lists in any order, one of a key and midnight.
    """
    if not parts:
        return
    key, midnight = np.concatenate([p.key for p in parts]), np.concatenate([p.midnight for p in parts])
    lengths = np.concatenate([p.lengths for p in parts])
    item, weight = np.concatenate([p.item for p in parts]), np.concatenate([p.weight for p in parts])
    order = np.lexsort((midnight, key))
    starts = (np.cumsum(lengths) - lengths)[order]
    key, midnight, lengths = key[order], midnight[order], lengths[order]
    item_feature, weight_feature = view.features
    before = np.r_[-1, np.arange(len(key) - 1)]
    before[np.r_[True, key[1:] != key[:-1]]] = -1
    lengths_before = np.where(before >= 0, lengths[before], 0)
    for part in ranges(lengths):
        row, entry = expand(starts[part], lengths[part])
        same = lengths[part] == lengths_before[part]
        compared = same[row]
        other = entry[compared] - starts[part][row[compared]] + starts[before[part][row[compared]]]
        mine = entry[compared]
        differs = (item[mine] != item[other]) | (weight[mine] != weight[other])
        same[row[compared][differs]] = False
        kept = ~same[row]
        row, entry = (np.cumsum(~same) - 1)[row[kept]], entry[kept]
        count = int((~same).sum())
        columns = {
            item_feature: lists(count, row, items.take(pa.array(item[entry]))),
            weight_feature: lists(count, row, pa.array(weight[entry])),
        }
        yield chunk_of(view, keys.take(pa.array(key[part][~same])), midnight[part][~same] * DAY_US, **columns)
