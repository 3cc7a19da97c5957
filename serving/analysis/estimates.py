"""Means, ratios and lifts with their standard errors, over units that are independent of each other.

The unit is what is assigned to an arm, as a rule the user: what one user does at different times is not independent,
and a test that counts impressions as if it were finds differences that are not there.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput

__all__ = ["Contrast", "Estimate", "difference", "lift", "mean", "paired_lift", "ratio", "totals"]

Values = npt.NDArray[np.float64]
Rows = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A value, and what each unit moves it by.

    The error of the value is the sum of the units' influences up to terms that vanish faster (the delta method), so
    that combinations of estimates from the same units know how these hang together.
    """

    value: float
    influence: Values
    """Sums to 0, ``[U]``."""

    @property
    def units(self) -> int:
        """Number of independent units."""
        return len(self.influence)

    @property
    def standard_error(self) -> float:
        """Of the value."""
        return float(np.sqrt(self.units / (self.units - 1) * np.sum(self.influence**2)))


@dataclass(frozen=True)
class Contrast:
    """How far a challenger is from a champion."""

    value: float
    """A difference, or the logarithm of a ratio."""
    standard_error: float
    units: int
    """Of the arm that has fewer."""
    logarithmic: bool = False


def totals(values: npt.ArrayLike, unit: Rows, units: int) -> Values:
    """Sum of what each unit contributes, ``[units]``.

    Args:
        values: ``[N]``.
        unit: Number of the unit of each, ``[N]``.
        units: Number of units.
    """
    summed = np.bincount(unit, weights=np.asarray(values, dtype=np.float64), minlength=units)
    return np.asarray(summed, dtype=np.float64)


def mean(values: Values) -> Estimate:
    """Mean over units.

    Args:
        values: One of each unit, ``[U]``.

    Raises:
        BadInput: There are fewer than two units.
    """
    return ratio(values, np.ones(len(values)))


def ratio(numerator: Values, denominator: Values) -> Estimate:
    """Ratio of two sums over units, such as clicks per impression (Deng, Knoblich and Lu 2018, section 2).

    Args:
        numerator: Total of each unit, ``[U]``.
        denominator: Likewise, ``[U]``.

    Raises:
        BadInput: There are fewer than two units, or the denominators sum to 0.
    """
    total = float(np.sum(denominator))
    if len(numerator) < 2 or total <= 0:
        raise BadInput(
            "estimate of a mean",
            found=f"{len(numerator)} units with a total of {total:g}",
            expected="at least two units and something to divide by",
            next_step="wait until more users were served, then ask again",
        )
    value = float(np.sum(numerator)) / total
    return Estimate(value, (numerator - value * denominator) / total)


def difference(champion: Estimate, challenger: Estimate) -> Contrast:
    """Challenger minus champion, of arms that share no unit."""
    return Contrast(
        challenger.value - champion.value,
        float(np.hypot(champion.standard_error, challenger.standard_error)),
        min(champion.units, challenger.units),
    )


def lift(champion: Estimate, challenger: Estimate) -> Contrast:
    """Challenger over champion, of arms that share no unit, as a logarithm.

    The error of a ratio is skewed where outcomes are rare, that of its logarithm hardly: with one like in 2,000
    impressions, sequences of the ratio itself erred three times as often as they promise.

    Raises:
        BadInput: A value is 0 or less.
    """
    value = _log_ratio(champion, challenger)
    error = np.hypot(challenger.standard_error / challenger.value, champion.standard_error / champion.value)
    return Contrast(value, float(error), min(champion.units, challenger.units), logarithmic=True)


def paired_lift(champion: Estimate, challenger: Estimate) -> Contrast:
    """As :func:`lift`, where both are estimated from the same units in the same order.

    Raises:
        BadInput: A value is 0 or less.
    """
    value = _log_ratio(champion, challenger)
    both = Estimate(value, challenger.influence / challenger.value - champion.influence / champion.value)
    return Contrast(value, both.standard_error, champion.units, logarithmic=True)


def _log_ratio(champion: Estimate, challenger: Estimate) -> float:
    if champion.value <= 0 or challenger.value <= 0:
        raise BadInput(
            "lift over the champion",
            found=f"values of {champion.value:g} and {challenger.value:g}",
            expected="both more than 0",
            next_step="check that the feedback of both is joined, and wait until both have had such an outcome",
        )
    return float(np.log(challenger.value / champion.value))
