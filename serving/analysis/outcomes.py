"""What users did with what they were shown, by arm, and how new videos fared."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput
from serving.analysis.estimates import Estimate, ratio, totals

__all__ = ["OUTCOMES", "Impressions", "Outcomes", "climbers", "cold", "estimate", "outcomes"]

Rows = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Impressions:
    """Shown items with the feedback that was joined to each, ``[N]`` all.

    Raises:
        BadInput: The columns are not of one length.
    """

    arm: Rows
    """Number of the arm."""
    user: Rows
    """Number of the user, from 0."""
    clicked: Flags
    liked: Flags
    followed: Flags
    watched_s: Values
    """Seconds watched; 0 where it was not clicked."""
    cold: Flags
    """Whether the video was cold when it was shown; see :func:`cold`."""

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise BadInput(
                "columns of impressions",
                found=", ".join(f"{name} {length}" for name, length in lengths.items()),
                expected="one length",
                next_step="join each impression with its feedback, with false and 0 where there was none",
            )


OUTCOMES: dict[str, Callable[[Impressions], npt.NDArray[Any]]] = {
    "ctr": lambda shown: shown.clicked,
    "like": lambda shown: shown.liked,
    "follow": lambda shown: shown.followed,
    "watch_time": lambda shown: shown.watched_s,
    "coverage": lambda shown: shown.cold,
}
"""Name → what is counted for each impression."""


@dataclass(frozen=True)
class Outcomes:
    """Of one arm; all but the counts are per impression."""

    impressions: int
    users: int
    ctr: float
    like: float
    follow: float
    watch_time: float
    """Seconds."""
    coverage: float
    """Share of cold videos in what was shown (M3CSR, section 5.6)."""


def outcomes(shown: Impressions, arm: int) -> Outcomes:
    """The means of an arm; NaN where it has no impression."""
    chosen = shown.arm == arm
    count = int(chosen.sum())
    means = {name: float(of(shown)[chosen].mean()) if count else float("nan") for name, of in OUTCOMES.items()}
    return Outcomes(impressions=count, users=len(np.unique(shown.user[chosen])), **means)


def estimate(shown: Impressions, outcome: str, arm: int) -> tuple[Estimate, Rows]:
    """An outcome per impression of an arm, with its error over users.

    Args:
        shown: Impressions.
        outcome: A name in :data:`OUTCOMES`.
        arm: Number of the arm.

    Returns:
        The estimate, and the numbers of its users in its order, for what is known of them from before.

    Raises:
        BadInput: The arm has fewer than two users.
    """
    chosen = shown.arm == arm
    users, unit = np.unique(shown.user[chosen], return_inverse=True)
    worth = OUTCOMES[outcome](shown)[chosen]
    return ratio(totals(worth, unit, len(users)), totals(np.ones(len(worth)), unit, len(users))), users


def cold(age_s: Values, views: Rows, most_age_s: float = 86_400, fewer_than: int = 4_000) -> Flags:
    """Whether videos are cold: at most a day old and viewed less than 4,000 times (M3CSR, section 5.6).

    Args:
        age_s: Seconds since its release when each was shown, ``[N]``.
        views: Its views then, ``[N]``.
        most_age_s: Inclusive.
        fewer_than: Exclusive.
    """
    return np.asarray((age_s <= most_age_s) & (views < fewer_than))


def climbers(
    video: Rows, at_s: Values, k: int, within_s: float = 2 * 86_400, known: Flags | None = None
) -> npt.NDArray[np.int64]:
    """Videos that climb from 0 to ``k`` exposures within two days; Climbing_k is their number (M3CSR, section 5.6).

    Some two days begin with 0 exposures and end with k if and only if the k-th comes at most two days after the first.

    Args:
        video: Number of the video of each exposure, in any order of time, ``[N]``.
        at_s: When it was shown, in seconds, ``[N]``.
        k: Exposures to reach, at least 1.
        within_s: Inclusive.
        known: Whether each video had exposures before these, so that it does not start from 0, ``[V]``; none if None.

    Returns:
        Their numbers, rising.
    """
    order = np.lexsort((at_s, video))
    video, at_s = np.asarray(video)[order], np.asarray(at_s)[order]
    numbers, first, count = np.unique(video, return_index=True, return_counts=True)
    reached = count >= k
    numbers, first = numbers[reached], first[reached]
    quick = at_s[first + k - 1] - at_s[first] <= within_s
    if known is not None:
        quick &= ~known[numbers]
    return np.asarray(numbers[quick], dtype=np.int64)
