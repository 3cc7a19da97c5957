"""CUPED: what was known of the users before the experiment takes its share of the noise away (Deng, Xu, Kohavi and
Walker 2013)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.analysis.estimates import Estimate

__all__ = ["Adjustment", "adjust"]

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Adjustment:
    """Two arms, adjusted."""

    champion: Estimate
    challenger: Estimate
    theta: float
    """Change of the outcome for a unit of the covariate, the same for both arms."""
    variance_ratio: float
    """Variance of the difference after over before; 1 - correlation² in large samples."""


def adjust(champion: Estimate, challenger: Estimate, before_champion: Values, before_challenger: Values) -> Adjustment:
    """Y - theta (X - mean of X over both arms), theta = cov(Y, X) / var(X) within the arms.

    Ratios are adjusted by their users' influences. The covariate must be of a time before the
    assignment: one that the arm can change hides the effect.

    Args:
        champion: Of U1 users.
        challenger: Of U2 other users.
        before_champion: The covariate, such as clicks per impression of the weeks before, in the order of the users,
            ``[U1]``; NaN for a user without it, who stays as he is.
        before_challenger: Likewise, ``[U2]``.
    """
    arms = (champion, challenger)
    covariates = (np.asarray(before_champion, np.float64), np.asarray(before_challenger, np.float64))
    everyone = np.concatenate(covariates)
    known = np.isfinite(everyone)
    middle = float(everyone[known].mean()) if known.any() else 0.0
    centred = [np.where(np.isfinite(x), x - middle, 0.0) for x in covariates]
    covariance = sum(float(np.sum(arm.influence * x)) * arm.units for arm, x in zip(arms, centred, strict=True))
    square = sum(float(np.sum((x - x.mean()) ** 2)) for x in centred)
    theta = covariance / square if square > 0 else 0.0
    adjusted = [
        Estimate(arm.value - theta * float(x.mean()), arm.influence - theta * (x - x.mean()) / arm.units)
        for arm, x in zip(arms, centred, strict=True)
    ]
    before, after = (sum(a.standard_error**2 for a in both) for both in (arms, adjusted))
    return Adjustment(adjusted[0], adjusted[1], theta, after / before if before > 0 else 1.0)
