"""How the lists of two versions differ, request by request.

Lists are rows of integer arrays ``[R, k]``, best first, filled up with -1 at the end; no item stands twice in a list.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput

__all__ = ["Agreement", "agreement", "kendall_tau", "overlap", "padded", "rank_biased_overlap", "score_shift"]

Lists = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

_CELLS = 8_000_000
"""Pairs of places compared at a time; bounds memory."""


@dataclass(frozen=True)
class Agreement:
    """Means over requests."""

    requests: int
    overlap: float
    rank_biased_overlap: float
    kendall_tau: float | None
    """Over the requests whose lists share two items or more; None where there are none."""
    score_shift: float | None
    """In standard deviations of the first version's scores; None where none can be told."""


def agreement(mine: Lists, theirs: Lists, my_scores: Values, their_scores: Values, k: int) -> Agreement:
    """How far two versions agree.

    Args:
        mine: Lists of the first version, ``[R, k1]``.
        theirs: Of the second, ``[R, k2]``.
        my_scores: Scores in the order of the lists, NaN where they have ended, ``[R, k1]``.
        their_scores: Likewise, ``[R, k2]``.
        k: Places of the overlap; the others look at the whole lists.

    Raises:
        BadInput: There is no request.
    """
    if not len(mine):
        raise BadInput(
            "agreement of two versions",
            found="no request",
            expected="lists of both for at least one",
            next_step="run `backbeat shadow replay`, then ask again",
        )
    return Agreement(
        requests=len(mine),
        overlap=float(overlap(mine, theirs, k).mean()),
        rank_biased_overlap=float(rank_biased_overlap(mine, theirs).mean()),
        kendall_tau=_mean(kendall_tau(mine, theirs)),
        score_shift=_mean(score_shift(my_scores, their_scores)),
    )


def padded(*sides: Sequence[Sequence[str]], depth: int | None = None) -> list[Lists]:
    """Lists of ids as integer arrays of one numbering.

    Args:
        sides: For each version its lists, ``[R]`` of any length.
        depth: Places to keep; as many as the longest list has if None.

    Returns:
        For each version ``[R, depth]``.
    """
    longest = max((len(ids) for lists in sides for ids in lists), default=0)
    depth = longest if depth is None else depth
    numbers: dict[str, int] = {}
    arrays = []
    for lists in sides:
        rows = np.full((len(lists), depth), -1, dtype=np.int64)
        for row, ids in zip(rows, lists, strict=True):
            kept = [numbers.setdefault(video, len(numbers)) for video in ids[:depth]]
            row[: len(kept)] = kept
        arrays.append(rows)
    return arrays


def overlap(mine: Lists, theirs: Lists, k: int) -> Values:
    """Share of items that two lists have in common in their first ``k`` places, whatever the order, ``[R]``.

    The share is of ``k``, or of the longer list where both are shorter; two empty lists agree (1).

    Args:
        mine: ``[R, k1]``.
        theirs: ``[R, k2]``.
        k: Places, at least 1.
    """
    mine, theirs = mine[:, :k], theirs[:, :k]
    common = (_places(mine, theirs) >= 0).sum(1)
    longest = np.maximum((mine >= 0).sum(1), (theirs >= 0).sum(1))
    return np.where(longest > 0, common / np.maximum(longest, 1), 1.0)


def rank_biased_overlap(mine: Lists, theirs: Lists, persistence: float = 0.9) -> Values:
    """Extrapolated rank-biased overlap, ``[R]``, 0 to 1: agreement that counts for more at the top.

    Webber, Moffat and Zobel 2010, equation 32, for lists of uneven length: with X_d items in common in the first d
    places, s and l the lengths of the shorter and the longer list,
    (1-p)/p (sum_{d=1}^{l} X_d/d p^d + sum_{d=s+1}^{l} X_s (d-s)/(s d) p^d) + ((X_l - X_s)/l + X_s/s) p^l.
    Two empty lists agree (1); an empty one and another do not (0).

    Args:
        mine: ``[R, k1]``.
        theirs: ``[R, k2]``.
        persistence: p, the chance that a reader goes on to the next place; with .9, the first ten places have 86 % of
            the weight.

    Raises:
        BadInput: p is not between 0 and 1.
    """
    if not 0 < persistence < 1:
        raise BadInput(
            "persistence of rank-biased overlap",
            found=persistence,
            expected="more than 0 and less than 1",
            next_step="take 0.9, with which the first ten places have 86 % of the weight",
        )
    requests, depth = len(mine), max(mine.shape[1], theirs.shape[1])
    lengths = np.stack([(mine >= 0).sum(1), (theirs >= 0).sum(1)])
    short, long = lengths.min(0)[:, None], lengths.max(0)[:, None]
    if not depth:
        return np.ones(requests)
    place = _places(mine, theirs)
    request, column = np.nonzero(place >= 0)
    joined = np.zeros((requests, depth))
    np.add.at(joined, (request, np.maximum(column, place[request, column])), 1)
    common = np.cumsum(joined, axis=1)
    d = np.arange(1, depth + 1)
    at_short = np.take_along_axis(common, np.maximum(short - 1, 0), 1)
    at_long = np.take_along_axis(common, np.maximum(long - 1, 0), 1)
    safe_short, safe_long = np.maximum(short, 1), np.maximum(long, 1)
    beyond = np.where(d > short, at_short * (d - short) / (safe_short * d), 0)
    agreement = np.where(d <= long, common / d + beyond, 0)
    weighted = (1 - persistence) / persistence * (agreement * persistence**d).sum(1)
    rest = ((at_long - at_short) / safe_long + at_short / safe_short) * persistence ** long.astype(np.float64)
    return np.where(long[:, 0] > 0, weighted + rest[:, 0], 1.0)


def kendall_tau(mine: Lists, theirs: Lists) -> Values:
    """Kendall's tau of the order of the items that two lists share, ``[R]``, -1 to 1; NaN for fewer than two.

    There are no ties in a list, so that tau is 1 - 4 D / (c (c - 1)) with D of the c shared items' pairs swapped
    (Kendall 1938).

    Args:
        mine: ``[R, k1]``.
        theirs: ``[R, k2]``.
    """
    place = _places(mine, theirs)
    swapped = np.zeros(len(place))
    for i in range(place.shape[1]):
        here = place[:, i : i + 1]
        later = place[:, i + 1 :]
        swapped += ((here >= 0) & (later >= 0) & (later < here)).sum(1)
    shared = (place >= 0).sum(1)
    pairs = shared * (shared - 1)
    return np.where(pairs > 0, 1 - 4 * swapped / np.maximum(pairs, 1), np.nan)


def score_shift(mine: Values, theirs: Values) -> Values:
    """How much higher the scores of the second version's list are on average, ``[R]``; NaN where a list is empty.

    In standard deviations of all scores of the first version, as scores of models have no unit; 0 where both lists of
    a request have equal means, infinite where the first version gives one score to all.

    Args:
        mine: Scores in the order of the list, NaN where it has ended, ``[R, k1]``.
        theirs: Likewise, ``[R, k2]``.
    """
    spread = float(np.std(mine[np.isfinite(mine)])) if np.isfinite(mine).any() else np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (np.nansum(s, 1) / np.isfinite(s).sum(1) for s in (mine, theirs))
        return np.where(first == second, 0.0, (second - first) / spread)


def _mean(values: Values) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _places(mine: Lists, theirs: Lists) -> Lists:
    """The column of ``theirs`` in which each item of ``mine`` stands, ``[R, k1]``; -1 where it does not."""
    place = np.full(mine.shape, -1, dtype=np.int64)
    if not theirs.shape[1] or not mine.shape[1]:
        return place
    block = max(1, _CELLS // (mine.shape[1] * theirs.shape[1]))
    for start in range(0, len(mine), block):
        rows = slice(start, start + block)
        same = (mine[rows, :, None] == theirs[rows, None, :]) & (mine[rows, :, None] >= 0)
        place[rows] = np.where(same.any(2), same.argmax(2), -1)
    return place
