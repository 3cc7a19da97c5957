"""Whether the arms of an experiment have the users that their weights promise.

Where they have not, something loses users of one arm (a redirect, a crash, a filter), and no outcome can be trusted
(Fabijan et al. 2019).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln
from scipy.stats import chisquare

from contracts.errors import BadInput

__all__ = ["SampleRatio", "sample_ratio"]


@dataclass(frozen=True)
class SampleRatio:
    """Users by arm against what was expected."""

    users: dict[str, int]
    expected: dict[str, float]
    p_value: float
    """Pearson's chi-square test; right for one look."""
    always_valid_p: float
    """Right for any number of looks."""

    def broken(self, alpha: float = 0.001) -> bool:
        """Whether the split is refuted, however often it was looked at."""
        return self.always_valid_p <= alpha


def sample_ratio(users: Mapping[str, int], weights: Mapping[str, float], strength: float = 100.0) -> SampleRatio:
    """Test counts of users against the weights of their arms.

    The always-valid p-value is 1 over the likelihood ratio of a Dirichlet mixture around the weights (Lindon and
    Malek 2022).

    Args:
        users: Number of different users by arm. Users, not requests: these hang together.
        weights: Of the arms, as they were assigned.
        strength: Sum of the mixture's parameters: the larger, the sooner small faults are found, and the later large
            ones.

    Raises:
        BadInput: Users and weights name different arms, there are fewer than two, one has no weight, or no user was
            counted.
    """
    known = set(users) == set(weights) and len(weights) >= 2 and min(weights.values()) > 0
    if not known or sum(users.values()) == 0:
        raise BadInput(
            "sample ratio",
            found=f"users in {dict(users)}",
            expected=f"users in at least two arms with a weight, of {', '.join(sorted(weights))}",
            next_step="count the users of every arm of the experiment, with 0 where there was none",
        )
    arms = list(weights)
    counts = np.array([users[arm] for arm in arms], dtype=np.float64)
    share = np.array([weights[arm] for arm in arms], dtype=np.float64)
    share /= share.sum()
    prior, total = strength * share, counts.sum()
    mixed = gammaln(strength) - gammaln(strength + total) + np.sum(gammaln(prior + counts) - gammaln(prior))
    ratio = float(mixed - np.sum(counts * np.log(share)))
    expected = share * total
    return SampleRatio(
        users={arm: users[arm] for arm in arms},
        expected=dict(zip(arms, expected.tolist(), strict=True)),
        p_value=float(chisquare(counts, expected).pvalue),
        always_valid_p=float(np.exp(min(0.0, -ratio))),
    )
