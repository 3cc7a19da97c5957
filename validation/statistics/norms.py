"""How long vectors are, and how much that varies."""

import numpy as np

from validation.statistics.blocks import Floats

__all__ = ["norm_outlier_share", "norm_statistics"]

_TAIL = 0.05
_FENCE = 1.5
_ROUNDING = 1e-4
"""Unit vectors differ by rounding only, which is no spread; float16 rounds by up to this."""


def norm_statistics(norms: Floats) -> dict[str, tuple[float, float]]:
    """The median norm and the spread of the norms, with their standard errors.

    The spread is that between the 5 % and the 95 % quantile over the median. Errors are half the distance of the order
    statistics one binomial standard deviation to either side (Woodruff, 1952), so nothing is assumed of the shape.

    Args:
        norms: Of sound vectors, positive ``[n]``.

    Returns:
        ``norm_median`` and ``norm_spread`` → value and error; empty for no vectors.
    """
    count = len(norms)
    if not count:
        return {}
    ordered = np.sort(norms).astype(np.float64)
    levels = np.array([_TAIL, 0.5, 1 - _TAIL])
    step = np.sqrt(levels * (1 - levels) / count)
    low, median, high = np.quantile(ordered, levels)
    above, below = (np.quantile(ordered, np.clip(levels + sign * step, 0, 1)) for sign in (1, -1))
    errors = (above - below) / 2
    return {
        "norm_median": (float(median), float(errors[1])),
        "norm_spread": (
            max(float((high - low) / median), _ROUNDING),
            float(np.hypot(errors[0], errors[2]) / median),
        ),
    }


def norm_outlier_share(norms: Floats) -> float:
    """Share of norms far outside of what most have, such as those of vectors that were not normalised.

    Fences stand one and a half times the distance of the 5 % and the 95 % quantile outside of them (after Tukey, 1977),
    that distance being no less than what rounding makes.

    Args:
        norms: Of sound vectors ``[n]``, at least one.
    """
    low, median, high = np.quantile(norms.astype(np.float64), [_TAIL, 0.5, 1 - _TAIL])
    reach = _FENCE * max(high - low, 10 * _ROUNDING * median)
    return float(((norms < low - reach) | (norms > high + reach)).mean())
