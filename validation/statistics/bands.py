"""How far a statistic may go, learned from the snapshots that were accepted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = ["ALPHA", "CEILING", "Band", "least_share_band", "share_band", "since_overridden", "value_band"]

ALPHA = 1e-5
"""Chance that a clean snapshot leaves a band."""
CEILING = 3.0
"""However much accepted snapshots differ, a band is at most this many times as wide as a single one would make it."""
_TRUST = 20
"""Degrees of freedom that the standard error of one value is worth beside the differences of snapshots."""

Floats = npt.NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class Band:
    """Values that are within what accepted snapshots lead to expect; a limit of None does not limit."""

    low: float | None
    high: float | None
    learned_from: int
    """Number of accepted snapshots it was learned from; without any there are no limits."""


def share_band(history: Sequence[tuple[float, int]], rows: int, pairs: bool = False) -> Band:
    """Upper limit of a share that must not rise, such as that of zero vectors.

    The limit is the ``1 - ALPHA`` quantile of the beta-binomial predictive distribution under Jeffreys' prior (Brown,
    Cai and DasGupta, 2001): uncertainty of the accepted share and chance of the next one in one. Consecutive snapshots
    hold mostly the same rows, so all of them together are worth the largest, and more of them do not narrow the band.
    Where accepted shares differ by more than chance, the information of the accepted rows is discounted until it
    explains the difference; the limit rises to at most ``CEILING`` times its distance from the accepted share thereby.
    Differences are those of consecutive snapshots (von Neumann, 1941), as far as they go both ways: a rise that nothing
    takes back is a trend and no variation, so that a share that creeps up leaves the band of its own history. A run of
    equal snapshots counts as one.

    Args:
        history: Share and number of rows of accepted snapshots, oldest first.
        rows: Number of rows now.
        pairs: The share counts rows that have a partner, as duplicates do: it is expected to grow with the table.

    Returns:
        A band with ``high`` only.
    """
    known = [(share, count) for share, count in history if count > 0 and np.isfinite(share)]
    if not known or rows <= 0:
        return Band(None, None, 0)
    counts = np.array([count for _, count in known], np.float64)
    shares = np.clip([share for share, _ in known], 0.0, 1.0)
    if pairs:
        shares = np.minimum(shares * np.maximum(rows / counts, 1.0), 1.0)
    total = float(counts.max())
    told = _first_of_runs(np.stack([shares, counts]))
    counts, shares = counts[told], shares[told]
    share = float(shares @ counts / counts.sum())
    high = _upper(share, total, rows)
    if len(shares) > 1 and 0 < share < 1:
        chance = share * (1 - share) / counts
        between = _variation(shares) / (len(shares) - 1) - float(np.mean(chance[1:] + chance[:-1])) / 2
        if between > 0:
            discounted = 1 / (1 / total + between / (share * (1 - share)))
            high = min(_upper(share, discounted, rows), share + CEILING * (high - share))
    return Band(None, min(high, 1.0), len(known))


def least_share_band(history: Sequence[tuple[float, int]], rows: int) -> Band:
    """Lower limit of a share that must not fall, such as coverage: that of ``share_band`` on what is missing."""
    band = share_band([(1 - share, count) for share, count in history], rows)
    return Band(None if band.high is None else 1 - band.high, None, band.learned_from)


def value_band(history: Sequence[float], error: float, floor: float) -> Band:
    """Interval for the next value of a statistic that may go neither way.

    A prediction interval, ``centre ± t(1 - ALPHA / 2) s sqrt(1 + 1/n)``, about the median of the accepted values. Its
    variance ``s²`` is the error's, worth ``_TRUST`` degrees of freedom, averaged with that from differences of
    consecutive values (von Neumann, 1941), worth one each (moderated as by Smyth, 2004), as far as they go both ways;
    a run of equal values counts as one. Snapshots that share most of their items differ less than the next one may, so
    accepted ones only widen the band: the half-width is at least what a single one gives, ``t s sqrt(2)`` or ``floor``
    times the centre, and at most ``CEILING`` times that. A median lags behind a slow drift, which is no variation:
    gradual poisoning leaves the band.

    Args:
        history: Accepted values, oldest first; those that are not finite are left out.
        error: Standard error of one value.
        floor: Relative change that matters to nobody.
    """
    values = np.array([value for value in history if np.isfinite(value)], np.float64)
    if not len(values):
        return Band(None, None, 0)
    learned_from = len(values)
    values = values[_first_of_runs(values[None])]
    centre = float(np.median(values))
    error = error if np.isfinite(error) else 0.0
    least = floor * abs(centre)
    alone = max(least, _quantile(_TRUST) * error * np.sqrt(2))
    freedom = _TRUST + len(values) - 1
    variance = (_TRUST * error**2 + _variation(values)) / freedom
    half = _quantile(freedom) * np.sqrt(variance * (1 + 1 / len(values)))
    half = float(min(max(half, alone), CEILING * alone))
    return Band(centre - half, centre + half, learned_from)


def _first_of_runs(snapshots: Floats) -> npt.NDArray[np.bool_]:
    """Which snapshots ``[facts, n]`` are not what the one before was already."""
    return np.append(True, (np.diff(snapshots) != 0).any(axis=0))


def _variation(values: Floats) -> float:
    """Half the squared differences of consecutive values, but for what one direction has more of than the other."""
    steps = np.diff(values)
    up, down = np.maximum(steps, 0.0), np.minimum(steps, 0.0)
    return float(min(up @ up, down @ down))


def since_overridden(history: Sequence[T], inside: Callable[[Sequence[T], T], bool]) -> Sequence[T]:
    """The accepted values from the last one on that those before it did not let pass: a person did.

    What a person accepts is the new level. Learned from together with the old one, neither of them would pass again.

    Args:
        history: Accepted values, oldest first.
        inside: Whether values let the next one pass.
    """
    start = 0
    for place in range(1, len(history)):
        if not inside(history[start:place], history[place]):
            start = place
    return history[start:]


def _quantile(freedom: int) -> float:
    """Of Student's t, that leaves half of ``ALPHA`` above it."""
    return -float(special.stdtrit(freedom, ALPHA / 2))


def _upper(share: float, total: float, rows: int) -> float:
    """Quantile of the share of ``rows`` rows, after ``share`` of ``total``."""
    first, second = share * total + 0.5, (1 - share) * total + 0.5
    mean = rows * first / (first + second)
    deviation = np.sqrt(mean * (1 - mean / rows) * (first + second + rows) / (first + second + 1))
    start = int(mean)
    stop = int(min(rows, np.ceil(mean + 40 * deviation + 100)))
    counts = np.arange(start, stop + 1)
    above = np.cumsum(np.exp(_log_probability(counts, rows, first, second))[::-1])[::-1]
    # The least count of which, or of more, the chance is below ALPHA is outside; the one before it is the limit.
    outside = np.flatnonzero(above <= ALPHA)
    return float(counts[outside[0]] - 1 if len(outside) else stop) / rows


def _log_probability(counts: npt.NDArray[np.int64], rows: int, first: float, second: float) -> npt.NDArray[np.float64]:
    choices = special.gammaln(rows + 1) - special.gammaln(counts + 1) - special.gammaln(rows - counts + 1)
    probability = choices + special.betaln(counts + first, rows - counts + second) - special.betaln(first, second)
    return np.asarray(probability, np.float64)
