"""What another policy would have earned, from the outcomes of the one that served and the propensities it logged."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from contracts.errors import BadInput
from serving.analysis.estimates import Contrast, Estimate, paired_lift, ratio, totals

__all__ = ["OffPolicyValue", "Served", "doubly_robust", "lift_over_served", "predicted_rewards", "snips"]

Values = npt.NDArray[np.float64]
Rows = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Served:
    """Impressions of the policy that served."""

    reward: Values
    """Outcome of each, ``[N]``."""
    propensity: Values
    """Chance with which it was shown, as logged: more than 0, at most 1, ``[N]``."""
    target: Values
    """Chance with which the other policy would have shown it there; 0 or 1 for one that draws nothing, ``[N]``."""
    user: Rows
    """Number of the user, from 0 without a gap, ``[N]``."""

    def __post_init__(self) -> None:
        self._refuse("propensity", ~((self.propensity > 0) & (self.propensity <= 1)), "more than 0 and at most 1")
        self._refuse("target", ~((self.target >= 0) & (self.target <= 1)), "0 to 1")
        self._refuse("reward", ~np.isfinite(self.reward), "a finite number")

    def _refuse(self, name: str, wrong: npt.NDArray[np.bool_], expected: str) -> None:
        rows = np.flatnonzero(wrong)
        if len(rows):
            raise BadInput(
                f"{name} of impression {rows[0]}",
                found=f"{getattr(self, name)[rows[0]]}, as one of {len(rows)} of {len(wrong)}",
                expected=expected,
                next_step="leave out impressions that were served without a logged propensity, then ask again",
            )


@dataclass(frozen=True)
class OffPolicyValue:
    """Mean reward per impression that the other policy would have had."""

    estimate: Estimate
    low: float
    high: float
    """Bounds at one look; for many looks give :func:`lift_over_served` to a confidence sequence."""
    effective_size: float
    """(sum w)² / sum w²: impressions of the other policy itself that would say as much (Kong 1992)."""
    mean_weight: float
    """Before clipping: 1 on average where the policy that served may show whatever the other would; far below says that
    much of what the other would show was never tried, and is not in the value."""
    clip: float | None
    """Largest weight allowed; None where weights are as they are."""
    clipped_share: float
    """Share of the impressions whose weight was cut to it: bias, towards the policy that served."""

    @property
    def value(self) -> float:
        """The estimate."""
        return self.estimate.value


def snips(served: Served, clip: float | None = None, confidence: float = 0.95) -> OffPolicyValue:
    """Self-normalised inverse propensity score: sum w r / sum w (Swaminathan and Joachims 2015).

    Args:
        served: Impressions; w is target over propensity.
        clip: Largest weight; None leaves them as they are.
        confidence: Of the bounds, from the delta method over users.

    Raises:
        BadInput: The other policy would have shown none of these impressions.
    """
    free, weight = _weights(served, clip)
    users = int(served.user.max()) + 1
    estimate = ratio(totals(weight * served.reward, served.user, users), totals(weight, served.user, users))
    return _value(estimate, free, weight, clip, confidence)


def doubly_robust(
    served: Served,
    predicted: Values,
    predicted_target: Values,
    clip: float | None = None,
    confidence: float = 0.95,
) -> OffPolicyValue:
    """Doubly robust value: mean of q(target) + w (r - q(shown)) (Dudík, Langford and Li 2011).

    Right where either the propensities or the predictions are.

    Args:
        served: Impressions.
        predicted: A model's reward of what was shown, from other users' outcomes, ``[N]``.
        predicted_target: Its mean reward of what the other policy would have shown there, ``[N]``.
        clip: As for :func:`snips`.
        confidence: Likewise.

    Raises:
        BadInput: The other policy would have shown none of these impressions.
    """
    free, weight = _weights(served, clip)
    users = int(served.user.max()) + 1
    worth = predicted_target + weight * (served.reward - predicted)
    estimate = ratio(totals(worth, served.user, users), totals(np.ones(len(worth)), served.user, users))
    return _value(estimate, free, weight, clip, confidence)


def predicted_rewards(
    reward: Values, shown: Rows, other: Rows, user: Rows, strength: float = 10.0
) -> tuple[Values, Values]:
    """What :func:`doubly_robust` asks for, by the plainest model: the mean reward of an item from the other half of the
    users, drawn towards the mean of all by as much as ``strength`` impressions.

    Args:
        reward: Outcome of each impression, ``[N]``.
        shown: Number of the item that was shown, from 0, ``[N]``.
        other: Of the item that the other policy would have shown there; -1 for nothing, which earns nothing, ``[N]``.
        user: Number of the user, from 0, ``[N]``.
        strength: Impressions that the mean of all counts for.
    """
    items = int(max(shown.max(initial=-1), other.max(initial=-1))) + 1
    predicted, of_other = np.zeros(len(reward)), np.zeros(len(reward))
    for half in (0, 1):
        own, rest = user % 2 == half, user % 2 != half
        overall = float(reward[rest].mean()) if rest.any() else 0.0
        count = np.bincount(shown[rest], minlength=items)
        means = (np.bincount(shown[rest], reward[rest], items) + strength * overall) / (count + strength)
        predicted[own] = means[shown[own]]
        of_other[own] = np.where(other[own] >= 0, means[other[own]], 0.0)
    return predicted, of_other


def lift_over_served(served: Served, other: OffPolicyValue) -> Contrast:
    """The other policy's value over that of the one that served, as a logarithm, from the same impressions.

    Args:
        served: The impressions that ``other`` was estimated from.
        other: The other policy's value.

    Raises:
        BadInput: A value is 0 or less.
    """
    users = int(served.user.max()) + 1
    own = ratio(totals(served.reward, served.user, users), totals(np.ones(len(served.reward)), served.user, users))
    return paired_lift(own, other.estimate)


def _weights(served: Served, clip: float | None) -> tuple[Values, Values]:
    weight = served.target / served.propensity
    if not weight.any():
        raise BadInput(
            "off-policy value",
            found=f"{len(weight)} impressions, none of which the other policy would have shown",
            expected="impressions that both may show",
            next_step="serve with some exploration, or judge the other policy in an experiment",
        )
    return weight, weight if clip is None else np.minimum(weight, clip)


def _value(estimate: Estimate, free: Values, weight: Values, clip: float | None, confidence: float) -> OffPolicyValue:
    half = float(ndtri((1 + confidence) / 2)) * estimate.standard_error
    return OffPolicyValue(
        estimate=estimate,
        low=estimate.value - half,
        high=estimate.value + half,
        effective_size=float(weight.sum() ** 2 / (weight**2).sum()),
        mean_weight=float(free.mean()),
        clip=clip,
        clipped_share=float((free > weight).mean()),
    )
