"""Confidence sequences: intervals that hold at all looks together, so that one may watch and stop at any time.

``confseq`` has the same bounds, but its last release is of January 2023, it is published as source that needs Boost,
and its authors call it not stable; SciPy has only tests for one look. Tests check the formulas by simulation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import betaln, xlog1py, xlogy

from contracts.errors import BadInput
from serving.analysis.estimates import Contrast

__all__ = [
    "Interval",
    "always_valid_p",
    "half_width",
    "normal_sequence",
    "quantile_bounds",
    "quantile_lift_sequence",
    "rate_bounds",
    "rate_difference_sequence",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate at one look, with bounds that hold at all looks together."""

    value: float
    """A difference, or a lift: a ratio minus 1."""
    low: float
    high: float
    alpha: float
    """Chance that the bounds ever fail."""
    p_value: float | None = None
    """Always-valid, of the hypothesis that the truth is 0."""
    units: int | None = None
    """Independent units behind it; None where the bounds hold from the first one on."""
    contrast: Contrast | None = None
    """What the normal mixture made it from, and for which scale; None where it is exact."""
    scale: float | None = None

    def traffic_until_clear_of(self, threshold: float) -> float:
        """Traffic, as a multiple of what there was, until the bounds leave a threshold out: a projection.

        It supposes that the value stays as it is.

        Returns:
            At least 1; infinite where the value is the threshold.
        """
        bound = self.low if threshold < self.value else self.high
        if self.low > threshold or self.high < threshold:
            return 1.0
        if self.value == threshold or not np.isfinite(bound):
            return float("inf")
        if self.contrast is None or self.scale is None:
            return float(((bound - self.value) / (threshold - self.value)) ** 2)
        error, scale, alpha = self.contrast.standard_error, self.scale, self.alpha
        inner = float(np.log1p(threshold)) if self.contrast.logarithmic else threshold
        wanted = abs(inner - self.contrast.value)

        def excess(log_shrink: float) -> float:
            return float(half_width(error * np.exp(log_shrink), scale, alpha)) - wanted

        if excess(0.0) <= 0:
            return 1.0
        narrow = float(np.log(wanted / error)) - 10
        return float(np.exp(-2 * brentq(excess, narrow, 0.0)))


def half_width(standard_error: npt.ArrayLike, scale: float, alpha: float) -> Floats:
    """Distance of the bounds from the estimate in the normal mixture's confidence sequence.

    With the estimate's information I = 1/se² and a mixture N(0, scale²), the sum of the score is a Brownian motion in
    I, and Robbins's mixture gives sqrt((I + 1/scale²) log((I scale² + 1) / alpha²)) / I. Robbins 1970; Waudby-Smith,
    Arbour, Sinha, Kennedy and Ramdas 2024, theorem 2.2: asymptotic, as the standard error is estimated. Where a unit
    comes back, its total grows, and looks are more alike than those of a Brownian motion: by Slepian's inequality the
    bound then errs on the safe side.

    Args:
        standard_error: At each look, any shape.
        scale: Effect for which the bounds are made, in units of the estimate; to be set before the first look. They
            are about tightest where they are as far from the estimate as the scale.
        alpha: Chance that the truth is ever outside.
    """
    error = np.asarray(standard_error, dtype=np.float64)
    share = np.maximum((error / scale) ** 2, np.finfo(np.float64).tiny)
    return np.asarray(error * np.sqrt((1 + share) * np.log((1 + 1 / share) / alpha**2)))


def always_valid_p(value: npt.ArrayLike, standard_error: npt.ArrayLike, scale: float) -> Floats:
    """p-value of "the truth is 0" that holds at any look: 1 over the mixture's likelihood ratio, at most 1.

    Johari, Koomen, Pekelis and Walsh 2022. At most alpha where the bounds at that alpha leave 0 out.

    Args:
        value: Estimate at each look, any shape.
        standard_error: Of the same shape; a value without error has p 0, or 1 if it is 0.
        scale: As for :func:`half_width`.
    """
    value, error = np.asarray(value, dtype=np.float64), np.asarray(standard_error, dtype=np.float64)
    share = np.maximum((error / scale) ** 2, np.finfo(np.float64).tiny)
    with np.errstate(divide="ignore", invalid="ignore"):
        square = np.where(value == 0, 0.0, (value / error) ** 2)
    return np.asarray(np.minimum(1.0, np.exp((np.log1p(1 / share) - square / (1 + share)) / 2)))


def normal_sequence(contrast: Contrast, scale: float, alpha: float) -> Interval:
    """The normal mixture's bounds of a lift or a difference.

    Args:
        contrast: At this look. Each unit is seen once or grows; none leaves.
        scale: As for :func:`half_width`: a difference, or a lift such as .01 for a ratio.
        alpha: Chance that the truth is ever outside.

    Raises:
        BadInput: The standard error is 0: no unit differs from another, so that nothing can be said.
    """
    if not contrast.standard_error > 0:
        raise BadInput(
            "confidence sequence",
            found=f"a standard error of {contrast.standard_error:g} over {contrast.units} units",
            expected="units that differ",
            next_step="wait until there were outcomes of more than one kind, then ask again",
        )
    scale = float(np.log1p(scale)) if contrast.logarithmic else scale
    half = float(half_width(contrast.standard_error, scale, alpha))
    ends = (contrast.value, contrast.value - half, contrast.value + half)
    value, low, high = (float(np.expm1(end)) for end in ends) if contrast.logarithmic else ends
    return Interval(
        value=value,
        low=low,
        high=high,
        alpha=alpha,
        p_value=float(always_valid_p(contrast.value, contrast.standard_error, scale)),
        units=contrast.units,
        contrast=contrast,
        scale=scale,
    )


def rate_bounds(successes: int, trials: int, alpha: float) -> tuple[float, float]:
    """Bounds of a rate, exact at any look from the first trial on.

    The rates p at which the beta mixture's likelihood ratio is below 1/alpha (Ville's inequality; Robbins 1970;
    Howard, Ramdas, McAuliffe and Sekhon 2021), with a mixture Beta(1/2, 1/2).

    Args:
        successes: Number of the independent trials that came out so.
        trials: Number of trials, at least 0.
        alpha: Chance that the rate is ever outside.

    Returns:
        Low and high, 0 to 1.
    """
    if not trials:
        return 0.0, 1.0
    share = successes / trials

    def excess(rate: float) -> float:
        return float(_log_ratio(successes, trials, rate, 0.5, 0.5) + np.log(alpha))

    tiny = 1e-15
    low = 0.0 if successes == 0 or excess(tiny) <= 0 else brentq(excess, tiny, share)
    high = 1.0 if successes == trials or excess(1 - tiny) <= 0 else brentq(excess, share, 1 - tiny)
    return float(low), float(high)


def rate_difference_sequence(champion: tuple[int, int], challenger: tuple[int, int], alpha: float) -> Interval:
    """Challenger's rate minus the champion's, such as that of errors, with exact bounds.

    Half of alpha goes to each, so that it does not matter whether both answered the same requests.

    Args:
        champion: Successes and independent trials, at least one.
        challenger: Likewise.
        alpha: Chance that the difference is ever outside.
    """
    (low_a, high_a), (low_b, high_b) = (rate_bounds(*counts, alpha / 2) for counts in (champion, challenger))
    value = challenger[0] / challenger[1] - champion[0] / champion[1]
    return Interval(value, low_b - high_a, high_b - low_a, alpha)


def quantile_bounds(values: Floats, quantile: float, alpha: float) -> tuple[float, float]:
    """Bounds of a quantile, exact at any look, whatever the distribution.

    The number of values up to the true quantile is a sum of independent events of chance ``quantile``, which a beta
    mixture bounds at all looks, and the values at these ranks bound the quantile (Howard and Ramdas
    2022 do so with other mixtures).

    Args:
        values: Independent and alike distributed, ``[N]``, none negative.
        quantile: Between 0 and 1.
        alpha: Chance that the quantile is ever outside.

    Returns:
        Low, 0 where there are too few values to say, and high, infinite likewise.
    """
    count = len(values)
    strength = 1 / min(quantile, 1 - quantile)
    below = np.arange(count + 1)
    ratio = _log_ratio(below, count, quantile, strength * quantile, strength * (1 - quantile))
    kept = np.flatnonzero(ratio <= -np.log(alpha))
    first, last = int(kept[0]), int(kept[-1])
    rising = np.sort(values)
    return (float(rising[first - 1]) if first else 0.0), (float(rising[last]) if last < count else float("inf"))


def quantile_lift_sequence(champion: Floats, challenger: Floats, quantile: float, alpha: float) -> Interval:
    """Challenger's quantile over the champion's, minus 1, such as that of p99 latency, with exact bounds.

    Args:
        champion: Independent values more than 0, ``[N1]``, at least one.
        challenger: Likewise, ``[N2]``.
        quantile: Between 0 and 1.
        alpha: Chance that the lift is ever outside.
    """
    (low_a, high_a), (low_b, high_b) = (quantile_bounds(v, quantile, alpha / 2) for v in (champion, challenger))
    value = float(np.quantile(challenger, quantile) / np.quantile(champion, quantile)) - 1
    return Interval(value, low_b / high_a - 1, high_b / low_a - 1 if low_a > 0 else float("inf"), alpha)


def _log_ratio(successes: Any, trials: Any, rate: Any, a: float, b: float) -> Any:
    """Log likelihood ratio of the mixture Beta(a, b) over one rate."""
    failures = trials - successes
    mixed = betaln(a + successes, b + failures) - betaln(a, b)
    return mixed - xlogy(successes, rate) - xlog1py(failures, -rate)
