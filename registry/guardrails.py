"""Metrics that must not be paid with for a better primary metric."""

import math
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from registry.facts import Evidence, Finding, Outcome
from registry.thresholds import Guardrail

__all__ = ["guardrails"]

_SLICE = re.compile(r"(.+)_[a-z]+_at_\d+")
"""``validation_<slice>_<metric>_at_<k>``; there is ``validation_<slice>_events`` too."""


def guardrails(evidence: Evidence, rules: Mapping[str, Guardrail]) -> Finding:
    """Ask every guardrail.

    Args:
        evidence: Metrics of the version and of the champion.
        rules: Name → what it asks.
    """
    asked = [(name, metric, rule) for name, rule in rules.items() for metric in _meant(evidence, rule)]
    found = [{"name": name, **_one(evidence, metric, rule)} for name, metric, rule in asked]
    refused = [each for each in found if each["outcome"] != "pass"]
    held = f"{len(found) - len(refused)} of {len(found)}"
    outcome: Outcome = "pass"
    if refused:
        outcome = "fail" if any(each["outcome"] == "fail" for each in refused) else "missing"
    said = "; ".join(f"{each['name']}: {each['sentence']}" for each in (refused or found))
    return Finding(outcome, held, f"{held} hold" + (f": {said}" if said else ""), {"guardrails": found})


def _meant(evidence: Evidence, rule: Guardrail) -> Iterator[str]:
    """Names of the metrics that a guardrail is on; of a pattern those there are, and slices without events too."""
    if "*" not in rule.metric:
        yield rule.metric
        return
    known = set(evidence.metrics)
    tail = rule.metric.rpartition("*")[2]
    for name in evidence.metrics:
        if name.endswith("_events"):
            known.add(name.removesuffix("_events") + tail)
    yield from (name for name in sorted(known) if fnmatchcase(name, rule.metric))


def _one(evidence: Evidence, metric: str, rule: Guardrail) -> dict[str, object]:
    rival = evidence.champion
    own = evidence.metrics.get(metric)
    theirs = rival.metrics.get(metric) if rival is not None else None
    outcome, sentence = _judged(evidence, metric, rule, own, theirs)
    return {
        "metric": metric,
        "figure": _json(own),
        "champion": _json(theirs),
        "bound": rule.floor if rule.ceiling is None else rule.ceiling,
        "outcome": outcome,
        "sentence": sentence,
        "rule": rule.rule,
    }


def _judged(
    evidence: Evidence, metric: str, rule: Guardrail, own: float | None, theirs: float | None
) -> tuple[Outcome, str]:
    if rule.least_events and (said := _too_few(evidence, metric, rule)) is not None:
        return said
    if own is None:
        return "missing", f"there is no {metric}; run `backbeat train {evidence.model} --force`, which measures it"
    if not _sound(own):
        return "fail", f"{metric} is {own:g}, no sound figure"
    if rule.floor is not None and own < rule.floor:
        return "fail", f"{metric} is {own:.4g}, below its floor {rule.floor:g}"
    if rule.ceiling is not None and own > rule.ceiling:
        return "fail", f"{metric} is {own:.4g}, above its ceiling {rule.ceiling:g}"
    rival = evidence.champion
    if rival is None:
        return "pass", f"{metric} is {own:.4g}, and there is no champion yet"
    who = f"champion {rival.version}"
    if rival.fault is not None:
        return "missing", f"{who} could not be measured: {rival.fault}"
    if rival.protocol != evidence.protocol:
        return "missing", f"{who} was measured by another protocol"
    if theirs is None or not _sound(theirs):
        return "missing", f"{who} has no sound {metric} to compare with"
    limit = theirs - rule.change * abs(theirs) if rule.ceiling is None else theirs + rule.change * abs(theirs)
    held = own >= limit if rule.ceiling is None else own <= limit
    sentence = f"{metric} is {own:.4g}, {who} has {theirs:.4g}"
    return ("pass", sentence) if held else ("fail", f"{sentence}, which allows {limit:.4g}")


def _too_few(evidence: Evidence, metric: str, rule: Guardrail) -> tuple[Outcome, str] | None:
    """What is said of a slice that cannot be judged; None where it can."""
    match = _SLICE.fullmatch(metric)
    name = f"{match[1]}_events" if match else f"{metric}_events"
    events = evidence.metrics.get(name)
    if events is None:
        return "missing", f"there is no {name}; run `backbeat train {evidence.model} --force`, which counts them"
    if not _sound(events) or events < 0:
        return "fail", f"{name} is {events:g}, no sound number"
    if events < rule.least_events:
        return "pass", f"{int(events)} events are too few to judge {metric} by ({rule.least_events} are needed)"
    return None


def _sound(value: float) -> bool:
    """Finite, and not what MLflow makes of an infinite value."""
    return math.isfinite(value) and abs(value) < 1e300


def _json(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
