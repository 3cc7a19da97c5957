"""Bringing vectors to a scale at which nothing overflows and one monstrous vector hides no other."""

import numpy as np
import numpy.typing as npt

from validation.statistics.blocks import Floats

__all__ = ["bounded", "typical_norm", "varying"]

_LONGEST = 30.0
_ROUNDING = 1e-6
"""Standard deviation over mean that the rounding of float32 explains."""


def typical_norm(norms: Floats) -> float:
    """The median of norms ``[n]``; 1 where there is none, or all vanish."""
    # In float32 the mean of the middle two may overflow.
    return float(np.median(norms.astype(np.float64))) or 1.0 if len(norms) else 1.0


def bounded(rows: Floats, norms: Floats, typical: float) -> Floats:
    """Vectors in units of the typical norm, those of more than 30 shortened to it.

    Args:
        rows: Finite vectors ``[n, width]``.
        norms: Their norms ``[n]``; one beyond float32 may be told as float32's largest number.
        typical: What becomes 1, positive.
    """
    scale = np.minimum(1 / typical, _LONGEST / np.maximum(norms.astype(np.float64), 1e-300))
    return (rows * scale[:, None]).astype(np.float32)


def varying(
    deviation: npt.NDArray[np.float64] | Floats, mean: npt.NDArray[np.float64] | Floats
) -> npt.NDArray[np.bool_]:
    """Which dimensions vary by more than rounding, given their standard deviations and means ``[width]``."""
    above: npt.NDArray[np.bool_] = deviation > _ROUNDING * np.abs(mean)
    return above
