"""Metrics of ranked lists: how well they show what is held out, at a cut-off k, and what they show of the catalogue.

A rank counts from 1 and need not be whole: see :mod:`training.ranking` on ties.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

__all__ = [
    "METRICS",
    "Ranks",
    "coverage",
    "gini",
    "hit_ratio",
    "mrr",
    "ndcg",
    "novelty",
    "popularity_lift",
    "precision",
    "recall",
]

Rows = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranks:
    """Where the m held-out items of L lists stand."""

    place: Rows
    """Number of the list that each held-out item belongs to, ``[m]``."""
    rank: Values
    """Rank of each in its list, ``[m]``; infinite where it is not in the list. Of one list's held-out items the one of
    j-th rank has at least rank j."""
    relevant: Rows
    """Held-out items of each list, at least 1, ``[L]``."""

    @classmethod
    def of(cls, place: Rows, rank: Values) -> Self:
        """Ranks whose lists are numbered without a gap."""
        return cls(place, rank, np.bincount(place))

    def only(self, chosen: npt.NDArray[np.bool_]) -> Self:
        """The ranks of some held-out items, as if nothing else had been held out, in the lists that have one.

        Args:
            chosen: ``[m]``.
        """
        _, place = np.unique(self.place[chosen], return_inverse=True)
        return self.of(place, self.rank[chosen])


def recall(ranks: Ranks, k: int) -> Values:
    """Share of a list's held-out items that stand in its first k places, ``[L]``."""
    return np.asarray(_hits(ranks, k) / ranks.relevant)


def precision(ranks: Ranks, k: int) -> Values:
    """Share of the k places that hold a held-out item, ``[L]``; places beyond the last candidate count as misses."""
    return np.asarray(_hits(ranks, k) / k)


def hit_ratio(ranks: Ranks, k: int) -> Values:
    """Whether any held-out item stands in the first k places, 0 or 1, ``[L]`` (Multimodal IRIS, equation 13)."""
    return (_hits(ranks, k) > 0).astype(np.float64)


def ndcg(ranks: Ranks, k: int) -> Values:
    """Discounted gain over that of the best possible list (Järvelin and Kekäläinen 2002), binary gains, ``[L]``.

    The item at rank r (from 1) gains 1 / log2(r + 1) if r <= k; the best possible list starts with
    min(relevant, k) held-out items.
    """
    gain = np.where(ranks.rank <= k, 1 / np.log2(ranks.rank + 1), 0)
    ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))[np.minimum(ranks.relevant, k) - 1]
    return np.asarray(np.bincount(ranks.place, weights=gain, minlength=len(ranks.relevant)) / ideal)


def mrr(ranks: Ranks, k: int) -> Values:
    """1 over the rank of the first held-out item, 0 if that is beyond k, ``[L]`` (Voorhees 1999)."""
    first = np.full(len(ranks.relevant), np.inf)
    np.minimum.at(first, ranks.place, ranks.rank)
    return np.where(first <= k, 1 / first, 0)


METRICS: dict[str, Callable[[Ranks, int], Values]] = {
    "recall": recall,
    "precision": precision,
    "ndcg": ndcg,
    "hr": hit_ratio,
    "mrr": mrr,
}
"""Name → metric; reported as ``<name>_at_<k>``."""


def coverage(exposure: Rows) -> float:
    """Share of the items that stand in any list (Herlocker et al. 2004, catalogue coverage).

    Args:
        exposure: In how many lists each item stands, ``[N]``.
    """
    return float((exposure > 0).mean())


def gini(exposure: Rows) -> float:
    """How unequally the lists show the items: 0 if all alike, 1 - 1/N if they show only one.

    With exposures x_1 <= ... <= x_N: sum of (2 i - N - 1) x_i over N times the sum of x_i (Fleder and Hosanagar 2009).

    Args:
        exposure: In how many lists each item stands, ``[N]``, some at least in one.
    """
    rising, items = np.sort(exposure), len(exposure)
    return float(((2 * np.arange(1, items + 1) - items - 1) * rising).sum() / (items * rising.sum()))


def novelty(exposure: Rows, seen: Rows, users: int) -> float:
    """Mean self-information of the places of the lists, in bits (Zhou et al. 2010): log2(users / seen) of the item.

    An item that nobody has seen counts as seen by one: more cannot be told from so many users.

    Args:
        exposure: In how many lists each item stands, ``[N]``, some at least in one.
        seen: Number of users who saw each item in training, ``[N]``.
        users: Number of users.
    """
    return float((exposure * np.log2(users / np.maximum(seen, 1))).sum() / exposure.sum())


def popularity_lift(exposure: Rows, seen: Rows, own: float) -> float:
    """How much more popular the shown items are than those that users chose themselves; 1 where they are alike.

    Mean popularity of the places of the lists over that of the users' own items: one more than the popularity lift of
    Abdollahpouri et al. (2020), which takes the difference of the two first.

    Args:
        exposure: In how many lists each item stands, ``[N]``, some at least in one.
        seen: Number of users who saw each item in training, ``[N]``.
        own: Mean over users of the mean ``seen`` of their training items, above 0.
    """
    return float((exposure * seen).sum() / exposure.sum() / own)


def _hits(ranks: Ranks, k: int) -> Rows:
    return np.bincount(ranks.place[ranks.rank <= k], minlength=len(ranks.relevant))
