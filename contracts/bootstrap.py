"""Intervals of mean metrics, by resampling users."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Interval", "difference_interval", "mean_interval"]

Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_CELLS = 4_000_000
"""Draws made at a time; bounds memory."""


class Interval(NamedTuple):
    """A mean and the bounds of its interval."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: Values,
    generator: np.random.Generator,
    *,
    weights: Counts | None = None,
    level: float = 0.95,
    resamples: int = 2_000,
) -> Interval:
    """Percentile bootstrap of a mean over users (Efron and Tibshirani 1993, section 13.3).

    Users are drawn with replacement, as many as there are; the bounds are quantiles of the means of the draws. What
    one user contributes is drawn as a whole, so that several lists of a user do not count as independent.

    Args:
        values: One per user, at least one, ``[U]``.
        generator: Source of the draws.
        weights: How much each user counts, e.g. the number of lists behind the value, ``[U]``; the mean is the sum of
            weights times values over the sum of weights, in each draw too. All alike if None.
        level: Share of such intervals that hold the true mean, where there are many users.
        resamples: Number of draws of all users.
    """
    users = len(values)
    means = np.empty(resamples)
    block = max(1, _CELLS // users)
    for start in range(0, resamples, block):
        drawn = generator.integers(0, users, (min(block, resamples - start), users))
        means[start : start + block] = _mean(values[drawn], None if weights is None else weights[drawn])
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(_mean(values, weights)), float(low), float(high))


def difference_interval(
    values: Values,
    baseline: Values,
    generator: np.random.Generator,
    *,
    weights: Counts | None = None,
    level: float = 0.95,
    resamples: int = 2_000,
) -> Interval:
    """Paired bootstrap: the interval of the mean of each user's difference between two models.

    Both models are measured on the same users in each draw, so what makes users easy or hard cancels out.

    Args:
        values: Metric of each user with one model, ``[U]``.
        baseline: The same with the other, in the same order, ``[U]``; the difference is ``values - baseline``.
        generator: Source of the draws.
        weights: As for :func:`mean_interval`.
        level: Likewise.
        resamples: Likewise.
    """
    return mean_interval(values - baseline, generator, weights=weights, level=level, resamples=resamples)


def _mean(values: Values, weights: Counts | None) -> Values:
    """Along the last axis."""
    if weights is None:
        return np.asarray(values.mean(axis=-1))
    return np.asarray((values * weights).sum(axis=-1) / weights.sum(axis=-1))
