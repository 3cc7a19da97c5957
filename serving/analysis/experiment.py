"""An experiment of two arms, measured as a rule asks."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput
from contracts.verdict import Rule
from serving.analysis.cuped import adjust
from serving.analysis.estimates import lift
from serving.analysis.outcomes import OUTCOMES, Impressions, estimate
from serving.analysis.sequences import Interval, normal_sequence, quantile_lift_sequence, rate_difference_sequence

__all__ = ["ERRORS", "LATENCY_P99", "Traffic", "measure", "measure_service"]

Values = npt.NDArray[np.float64]

ERRORS = "errors"
"""Share of requests that failed; with the next, a metric of the service beside those of users in ``OUTCOMES``."""

LATENCY_P99 = "latency_p99"
"""99th percentile of the latency of requests that did not."""


@dataclass(frozen=True, eq=False)
class Traffic:
    """How one version served its requests, or those it was asked aside."""

    requests: int
    errors: int
    latency_ms: Values
    """Of the requests without an error, more than 0."""


def measure(
    rule: Rule,
    shown: Impressions,
    champion: Traffic,
    challenger: Traffic,
    before: Mapping[str, Values] | None = None,
) -> dict[str, Interval]:
    """Everything the rule names that can be measured, at its confidence.

    Outcomes of users are lifts over the champion; a guardrail's scale is its margin.

    Args:
        rule: The rule.
        shown: Impressions of arm 0, the champion, and arm 1, the challenger.
        champion: Its requests.
        challenger: Likewise.
        before: For outcomes of which it is known, each user's outcome per impression before the experiment, NaN for
            those without, ``[users]``; takes noise away.

    Returns:
        Intervals by metric. One of which nothing can be said yet, such as likes where nobody liked, is left out.
    """
    scales = {rule.objective: rule.minimum_effect} | {g.metric: g.margin for g in rule.guardrails}
    found = measure_service(rule, champion, challenger)
    for name, scale in scales.items():
        if name in OUTCOMES:
            try:
                found[name] = _outcome(shown, name, scale, rule.alpha, (before or {}).get(name))
            except BadInput:
                continue
    return found


def measure_service(rule: Rule, champion: Traffic, challenger: Traffic) -> dict[str, Interval]:
    """Errors and latency alone, which need no feedback: a shadow has these too.

    Args:
        rule: The rule.
        champion: Its requests.
        challenger: Likewise.
    """
    asked = {guardrail.metric for guardrail in rule.guardrails}
    found = {}
    if ERRORS in asked and champion.requests and challenger.requests:
        counts = [(traffic.errors, traffic.requests) for traffic in (champion, challenger)]
        found[ERRORS] = rate_difference_sequence(counts[0], counts[1], rule.alpha)
    if LATENCY_P99 in asked and len(champion.latency_ms) and len(challenger.latency_ms):
        found[LATENCY_P99] = quantile_lift_sequence(champion.latency_ms, challenger.latency_ms, 0.99, rule.alpha)
    return found


def _outcome(shown: Impressions, name: str, scale: float, alpha: float, before: Values | None) -> Interval:
    (champion, its_users), (challenger, other_users) = (estimate(shown, name, arm) for arm in (0, 1))
    if before is not None:
        adjusted = adjust(champion, challenger, before[its_users], before[other_users])
        champion, challenger = adjusted.champion, adjusted.challenger
    return normal_sequence(lift(champion, challenger), scale, alpha)
