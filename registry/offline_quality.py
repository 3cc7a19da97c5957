"""Whether a version is good enough beside the champion, by a paired bootstrap over users."""

import math
from typing import Any

from contracts.surfaces import PRIMARY_METRICS
from registry.facts import Evidence, Finding, Rival
from registry.metric import is_share
from registry.thresholds import OfflineRule

__all__ = ["offline_quality"]

_SAME = 1e-5
"""Figures of users are kept in single precision."""


def offline_quality(evidence: Evidence, rule: OfflineRule) -> Finding:
    """Compare the primary metric with the champion's.

    Args:
        evidence: Figures of both.
        rule: What is asked.
    """
    metric = PRIMARY_METRICS[evidence.surface]
    own, rival = evidence.metrics.get(metric), evidence.champion
    if own is None:
        return _missing(None, f"version {evidence.version} has no {metric}; {_train_again(evidence)}")
    figure = own if math.isfinite(own) else str(own)  # JSON has no NaN, and verdicts are kept as JSON
    if not is_share(own):
        return Finding("fail", figure, f"{metric} is {own:g}, not a number between 0 and 1")
    if rival is None:
        sentence = f"{metric} is {own:.4f} and there is no champion yet"
        return Finding("pass", figure, sentence, {"value": own}, rule.first_rule(metric))
    if (fault := _incomparable(evidence, rival, metric)) is not None:
        return _missing(figure, fault)
    return _compared(evidence, rival, rule, metric, own)


def _incomparable(evidence: Evidence, rival: Rival, metric: str) -> str | None:
    who = f"champion {rival.version}"
    when = f" when measured on snapshot {rival.measured_on}" if rival.measured_on else ""
    if rival.fault is not None:
        return f"{who} could not be measured on snapshot {rival.measured_on or evidence.snapshot}: {rival.fault}"
    if rival.protocol != evidence.protocol:
        return (
            f"{who} was measured by another protocol ({rival.protocol}, not {evidence.protocol}){when}; "
            f"run `backbeat train {evidence.model} --force` to have a version measured by today's"
        )
    if not is_share(rival.metrics.get(metric)):
        return f"{who} has no sound {metric} to compare with{when}"
    if evidence.users is None:
        return f"version {evidence.version} has no figures of users; {_train_again(evidence)}"
    if rival.users is None:
        return f"{who} has no figures of users{when}; run `backbeat train {rival.model} --force` and promote that first"
    if not evidence.users.pairs_with(rival.users, metric):
        return f"{who} was not measured on the same users{when}; {_train_again(evidence)}"
    return None


def _compared(evidence: Evidence, rival: Rival, rule: OfflineRule, metric: str, own: float) -> Finding:
    users, others, theirs = evidence.users, rival.users, rival.metrics[metric]
    assert users is not None
    assert others is not None
    for who, figures, said in (("the version", users, own), (f"champion {rival.version}", others, theirs)):
        # Written so that a mean that is NaN does not agree.
        if not abs(figures.mean(metric) - said) <= _SAME:
            found = f"{metric} of {who} is {said:.6f} by its run and {figures.mean(metric):.6f} by its users"
            return Finding("fail", own, found)
    if len(users) < rule.least_users:
        return _missing(own, f"{len(users)} users tell no two versions apart; measure on data with more")
    mean, low, high = users.difference(others, metric)
    allowed = rule.margin * theirs
    passed = low > 0 if rule.superiority else low >= -allowed
    when = f" when measured on snapshot {rival.measured_on}" if rival.measured_on else ""
    sentence = (
        f"{metric} is {own:.4f}, champion {rival.version} has {theirs:.4f}{when}: difference {mean:+.4f}, "
        f"95 % interval {low:+.4f} to {high:+.4f} over {len(users):,} users; {_said(low, high, allowed)}"
    )
    detail: dict[str, Any] = {
        "value": own,
        "champion": theirs,
        "difference": mean,
        "low": low,
        "high": high,
        "users": len(users),
        "allowed": -allowed,
        "superior": low > 0,
    }
    return Finding("pass" if passed else "fail", own, sentence, detail)


def _said(low: float, high: float, allowed: float) -> str:
    if low > 0:
        return "better"
    if high < 0:
        return "worse, but by no more than the margin" if low >= -allowed else "worse"
    return "not shown to be better, and no worse" if low >= -allowed else "undecided: it may be worse than the margin"


def _missing(figure: float | str | None, sentence: str) -> Finding:
    return Finding("missing", figure, sentence)


def _train_again(evidence: Evidence) -> str:
    return f"run `backbeat train {evidence.model} --force`, which measures all that promotion asks for"
