"""The verdict on a challenger: promote, hold or reject, why, and how much more traffic it takes to know."""

import math
from collections.abc import Mapping
from typing import Literal

from contracts.verdict import Decision, Guardrail, LiveVerdict, MetricFinding, Reason, Rule, State
from serving.analysis.sample_ratio import SampleRatio
from serving.analysis.sequences import Interval

__all__ = ["decide"]


def decide(
    rule: Rule, measured: Mapping[str, Interval], requests: int, split: SampleRatio | None = None
) -> LiveVerdict:
    """Apply a rule to what was measured.

    A broken split, a metric that nobody measured and too little traffic hold. A guardrail that is surely broken
    rejects, and so does an objective whose lift is surely below the least one worth having. A lift that is surely
    above 0 promotes, once every guardrail is surely kept. Anything else holds: more traffic will tell.

    Args:
        rule: Set before the first look.
        measured: Change of the challenger by metric, at ``rule.alpha`` each: the objective as a lift with
            ``rule.minimum_effect`` as its scale.
        requests: Of the arm that has fewer.
        split: The sample ratio, where users were split between arms.
    """
    findings = _findings(rule, measured)
    split_p = None if split is None else split.always_valid_p

    def verdict(decision: Decision, reason: Reason, sentence: str, more: int | None = 0) -> LiveVerdict:
        return LiveVerdict(
            decision=decision,
            reason=reason,
            sentence=sentence,
            requests=requests,
            more_requests=more,
            findings=findings,
            split_p=split_p,
            rule=rule,
        )

    if split is not None and split.broken(rule.split_alpha):
        sentence = f"Hold: users are split as {_split(split)}; find what loses users of one arm and start anew."
        return verdict("hold", "broken_split", sentence, None)
    if missing := [name for name in _metrics(rule) if name not in measured]:
        return verdict("hold", "not_measured", f"Hold: {' and '.join(missing)} not measured.", None)
    if requests < rule.minimum_requests:
        sentence = f"Hold: {requests:,} requests of at least {rule.minimum_requests:,}."
        return verdict("hold", "too_few_requests", sentence, rule.minimum_requests - requests)
    users = min((interval.units for interval in measured.values() if interval.units is not None), default=None)
    if users is not None and users < rule.minimum_users:
        needed = math.ceil(requests * (rule.minimum_users / users - 1))
        return verdict("hold", "too_few_users", f"Hold: {users:,} users of at least {rule.minimum_users:,}.", needed)
    objective, guardrails = findings[0], findings[1:]
    if broken := [finding for finding in guardrails if finding.state == "broken"]:
        return verdict("reject", "guardrail_broken", f"Reject: {'; '.join(map(_harm, broken))}.")
    if objective.state == "no_relevant_gain":
        sentence = f"Reject: {_change(objective)}; less than {rule.minimum_effect:+.2%} is not worth a promotion."
        return verdict("reject", "no_relevant_gain", sentence)
    waiting = [finding for finding in findings if finding.state == "open"]
    if not waiting:
        kept = f", and {' and '.join(f.metric for f in guardrails)} kept" if guardrails else ""
        return verdict("promote", "better", f"Promote: {_change(objective)}{kept}.")
    more = _more(requests, waiting)
    need = "near a threshold, so that no traffic can be named" if more is None else f"about {more:,} more requests"
    sentence = f"Hold: {_change(objective)}; {' and '.join(f.metric for f in waiting)} not settled, {need}."
    return verdict("hold", "undecided", sentence, more)


def _metrics(rule: Rule) -> list[str]:
    return [rule.objective, *(guardrail.metric for guardrail in rule.guardrails)]


def _findings(rule: Rule, measured: Mapping[str, Interval]) -> tuple[MetricFinding, ...]:
    found = []
    if rule.objective in measured:
        found.append(_objective(rule, measured[rule.objective]))
    found += [_guardrail(g, measured[g.metric]) for g in rule.guardrails if g.metric in measured]
    return tuple(found)


def _objective(rule: Rule, interval: Interval) -> MetricFinding:
    state: State = "open"
    if interval.high < rule.minimum_effect:
        state = "no_relevant_gain"
    elif interval.low > 0:
        state = "better"
    traffic = min(interval.traffic_until_clear_of(threshold) for threshold in (0.0, rule.minimum_effect))
    return _finding(rule.objective, "objective", rule.minimum_effect, interval, state, traffic)


def _guardrail(guardrail: Guardrail, interval: Interval) -> MetricFinding:
    sign = 1 if guardrail.harm == "higher" else -1
    worst, best = (interval.high, interval.low) if sign > 0 else (-interval.low, -interval.high)
    state: State = "kept" if worst < guardrail.margin else "broken" if best > guardrail.margin else "open"
    threshold = sign * guardrail.margin
    traffic = interval.traffic_until_clear_of(threshold)
    return _finding(guardrail.metric, "guardrail", threshold, interval, state, traffic)


def _finding(
    metric: str,
    role: Literal["objective", "guardrail"],
    threshold: float,
    interval: Interval,
    state: State,
    traffic: float,
) -> MetricFinding:
    return MetricFinding(
        metric=metric,
        role=role,
        threshold=threshold,
        value=interval.value,
        low=interval.low if math.isfinite(interval.low) else None,
        high=interval.high if math.isfinite(interval.high) else None,
        p_value=interval.p_value,
        state=state,
        traffic=1.0 if state != "open" else traffic if math.isfinite(traffic) else None,
    )


def _more(requests: int, waiting: list[MetricFinding]) -> int | None:
    factors = [finding.traffic for finding in waiting if finding.traffic is not None]
    if len(factors) < len(waiting):
        return None
    return max(1, math.ceil(requests * (max(factors) - 1)))


def _change(finding: MetricFinding) -> str:
    return f"{finding.metric} {finding.value:+.2%} ({_bound(finding.low)} to {_bound(finding.high)})"


def _harm(finding: MetricFinding) -> str:
    return f"{_change(finding)}, beyond {finding.threshold:+.2%}"


def _bound(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.2%}"


def _split(split: SampleRatio) -> str:
    return ", ".join(f"{arm} {users:,} of {split.expected[arm]:,.0f} expected" for arm, users in split.users.items())
