"""What counts as a measured value of the primary metric."""

import math
from typing import TypeGuard

__all__ = ["is_share"]


def is_share(value: float | None) -> TypeGuard[float]:
    """Whether a value is a number from 0 to 1, as every recall is.

    MLflow keeps an infinite metric as the largest float, so being finite would not be enough.
    """
    return value is not None and math.isfinite(value) and 0 <= value <= 1
