"""A list while the steps of the chain fill it, one after the other."""

from itertools import repeat

import numpy as np
import numpy.typing as npt

from contracts.messages import RecommendedItem, Step
from contracts.vocabulary import Vocabulary
from training.retrieval import outside

__all__ = ["Draft", "best_of"]

_Rows = npt.NDArray[np.int64]
_Mask = npt.NDArray[np.bool_]


class Draft:
    """A list of at most ``k`` items.

    Args:
        vocabulary: Names the items, N of them.
        k: How many are wanted.
        banned: Item rows that are not to be returned; rows below zero are ids nobody knows.
        allowed: Whether an item may be returned, ``[N]``; all may if None.
    """

    def __init__(self, vocabulary: Vocabulary, k: int, banned: _Rows, allowed: _Mask | None) -> None:
        self.items: list[RecommendedItem] = []
        self.steps: list[Step] = []
        """Those that supplied something, in order."""
        self._vocabulary = vocabulary
        self._k = k
        self._banned = banned
        self._allowed = allowed

    @property
    def missing(self) -> int:
        """How many items the list is short of."""
        return self._k - len(self.items)

    def take(self, step: Step, rows: _Rows, scores: npt.NDArray[np.float32] | _Rows) -> None:
        """Append the first of an order of distinct items that are new and may be returned, as many as are missing."""
        kept = outside(rows, self._banned)
        if self._allowed is not None:
            kept &= self._allowed[rows]
        self.take_checked(step, rows[kept], scores[kept])

    def take_checked(self, step: Step, rows: _Rows, scores: npt.NDArray[np.float32] | _Rows) -> None:
        """:meth:`take` of items that are known to be new and to be allowed."""
        rows, values = rows[: self.missing], scores[: self.missing].astype(float).tolist()
        if not len(rows):
            return
        self.items += map(RecommendedItem, self._vocabulary.ids(rows), values, repeat(step))
        self.steps.append(step)
        self._banned = np.concatenate([self._banned, rows])

    def take_popular(self, by_views: _Rows, views: _Rows) -> None:
        """Fill up with the most viewed.

        Args:
            by_views: All items, the most viewed first, ``[N]``.
            views: Of each item, ``[N]``.
        """
        order = by_views if self._allowed is None else by_views[self._allowed[by_views]]
        order = order[: self.missing + len(self._banned)]  # enough, were all that is banned in it
        self.take("popular", order, views[order])


def best_of(
    scores: npt.NDArray[np.float32], k: int, banned: _Rows, allowed: _Mask | None = None
) -> tuple[_Rows, npt.NDArray[np.float32]]:
    """The ``k`` items of the greatest scores that may be returned, of equals the first in the table.

    Args:
        scores: ``[N]``; changed.
        k: How many; fewer come back where fewer may be returned.
        banned: Item rows not to return; those below zero are ignored.
        allowed: Whether an item may be returned, ``[N]``; all may if None.
    """
    scores[banned[banned >= 0]] = -np.inf
    if allowed is not None:
        scores[~allowed] = -np.inf
    rows = np.argsort(-scores, kind="stable")[:k]
    rows = rows[np.isfinite(scores[rows])]
    return rows, scores[rows]
