"""The promotion gates: pure functions from evidence and policy to verdict."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from contracts.surfaces import PRIMARY_METRICS
from contracts.verdict import LiveVerdict
from registry.facts import Evidence, Finding, Outcome, ShadowFacts, Waiver
from registry.guardrails import guardrails
from registry.offline_quality import offline_quality
from registry.thresholds import MovePolicy, ShadowRule, SurfacePolicy

__all__ = ["GATES", "Verdict", "judge"]


@dataclass(frozen=True)
class Verdict:
    """One gate's answer."""

    gate: str
    outcome: Outcome
    figure: float | str | None
    rule: str
    sentence: str
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the gate lets the version through; missing or stale evidence does not."""
        return self.outcome in ("pass", "waived")


def _package(evidence: Evidence) -> Finding:
    facts = evidence.package
    if facts.fault is None:
        sentence = f"{facts.files} files are as sealed and the golden requests are answered alike"
        return Finding("pass", facts.files, sentence)
    return Finding("fail" if facts.present else "missing", facts.files, facts.fault)


def _validation(evidence: Evidence, policy: SurfacePolicy) -> Finding:
    report, snapshot = evidence.report, evidence.snapshot
    if report is None:
        return Finding(
            "missing", None, f"there is no validation report on snapshot {snapshot}; run `backbeat validate run`"
        )
    if report.snapshot != snapshot:
        return Finding("fail", report.id, f"report {report.id} is on snapshot {report.snapshot}, not {snapshot}")
    word = "passed" if report.success else "failed"
    sentence = f"report {report.id} on snapshot {snapshot} {word}"
    if report.declined is not None:
        sentence += f", its comparison with accepted snapshot {report.declined} was declined"
    if report.override is not None:
        sentence += f", overridden by {report.override.actor}: {report.override.reason}"
    if not report.accepted:
        return Finding("fail", report.id, sentence)
    age = evidence.at - report.created_at
    if age > timedelta(days=policy.validation.max_age_days):
        sentence += f" {age.days} days ago; run `backbeat validate run --force`"
        return Finding("stale", report.id, sentence, {"age_days": age.days})
    return Finding("pass", report.id, sentence, {"age_days": max(0, age.days)})


def _index_recall(evidence: Evidence, policy: SurfacePolicy) -> Finding:
    if evidence.package.shape == "scorer" and not evidence.package.candidates:
        return Finding("pass", None, f"{evidence.model} is a scorer: it ranks every item and has no index")
    return _measured(
        evidence, f"index_recall_at_{policy.index.k}", lambda share: policy.index.floor <= share <= 1, ".4f", ""
    )


def _latency(evidence: Evidence, policy: SurfacePolicy) -> Finding:
    return _measured(evidence, "score_latency_ms_p99", lambda ms: 0 <= ms <= policy.latency.p99_ms, ".1f", " ms")


def _measured(evidence: Evidence, metric: str, holds: Callable[[float], bool], form: str, unit: str) -> Finding:
    value = evidence.metrics.get(metric)
    if value is None:
        sentence = f"{metric} was not measured; run `backbeat train {evidence.model} --force`, which does"
        return Finding("missing", None, sentence)
    if not math.isfinite(value):
        return Finding("fail", str(value), f"{metric} is {value:g}")
    return Finding("pass" if holds(value) else "fail", value, f"{metric} is {value:{form}}{unit}")


def _shadow(evidence: Evidence, policy: SurfacePolicy) -> Finding:
    champion, facts, rule = evidence.champion, evidence.shadow, policy.shadow
    if champion is None:
        first = "there is no champion yet that a shadow could be compared with"
        return Finding("pass", None, first, rule=first)
    how = f"run `backbeat models promote {evidence.version} --to shadow`, serve both, then `backbeat shadow report`"
    if facts is None:
        return Finding("missing", None, f"version {evidence.version} was never compared as shadow; {how}")
    if facts.champion != champion.version:
        sentence = f"it was compared with version {facts.champion}, and {champion.version} is champion now; {how}"
        return Finding("stale", None, sentence)
    age = evidence.at - facts.at
    if age > timedelta(days=rule.max_age_days):
        return Finding("stale", None, f"it was compared {age.days} days ago; run `backbeat shadow report`")
    return _shadow_figures(facts, rule)


def _shadow_figures(facts: ShadowFacts, rule: ShadowRule) -> Finding:
    figures = {name: getattr(facts, name) for name in ("requests", "errors", "p99_ms", "overlap")}
    unsound = [name for name, value in figures.items() if value is None or not math.isfinite(value)]
    if unsound:
        return Finding(
            "missing", None, f"the comparison has no sound {', '.join(unsound)}; run `backbeat shadow report`"
        )
    requests, errors, p99_ms, overlap = figures.values()
    share = errors / requests if requests > 0 else math.inf
    held = {
        f"{requests:,.0f} requests": requests >= rule.requests,
        f"{errors:,.0f} errors": 0 <= share <= rule.error_share,
        f"p99 {p99_ms:.1f} ms": 0 <= p99_ms <= rule.p99_ms,
        f"overlap {overlap:.3f}": rule.overlap <= overlap <= 1,
    }
    verdict = facts.live_verdict
    detail: dict[str, Any] = {**figures, "live_verdict": verdict and _said(verdict), "live_source": facts.live_source}
    if verdict is not None:
        of = "" if facts.live_source == "shadow report" else f" of {facts.live_source}"
        held[f"live verdict {verdict.decision}{of}"] = verdict.decision != "reject"
    refused = [name for name, holds in held.items() if not holds]
    if not refused and facts.live_fault is not None:
        sentence = f"its live verdict cannot be read ({facts.live_fault}); run `backbeat shadow report`"
        return Finding("missing", requests, sentence, detail)
    if not refused and rule.live_verdict == "required" and (verdict is None or verdict.decision == "hold"):
        why = "none was made; run `backbeat shadow report`" if verdict is None else verdict.sentence
        return Finding("missing", requests, f"there is no live verdict to promote it: {why}", detail)
    sentence = f"as shadow of champion {facts.champion}: {', '.join(held)}"
    if refused:
        return Finding("fail", requests, f"{sentence}; refused for {', '.join(refused)}", detail)
    return Finding("pass", requests, sentence, detail)


def _said(verdict: LiveVerdict) -> dict[str, Any]:
    return verdict.model_dump(mode="json", include={"decision", "reason", "sentence", "requests", "more_requests"})


def _approval(evidence: Evidence, move: MovePolicy) -> Finding:
    counted = sorted({who for who in evidence.approvers if move.author_may_approve or who != evidence.author})
    detail = {"author": evidence.author, "approvers": counted, "needed": move.approvals}
    said = f"approved by {', '.join(counted)}" if counted else "nobody has approved it"
    if not counted and evidence.author in evidence.approvers:
        said = f"only its author {evidence.author} has approved it"
    if len(counted) >= move.approvals:
        return Finding("pass", len(counted), said, detail)
    return Finding("missing", len(counted), f"{said}; {move.approvals} needed", detail)


Gate = Callable[[Evidence, SurfacePolicy, MovePolicy], Finding]

GATES: Final = MappingProxyType[str, Gate](
    {
        "package": lambda evidence, _policy, _move: _package(evidence),
        "validation": lambda evidence, policy, _move: _validation(evidence, policy),
        "offline-quality": lambda evidence, policy, _move: offline_quality(evidence, policy.offline),
        "guardrails": lambda evidence, policy, _move: guardrails(evidence, policy.guardrails),
        "index-recall": lambda evidence, policy, _move: _index_recall(evidence, policy),
        "latency": lambda evidence, policy, _move: _latency(evidence, policy),
        "shadow": lambda evidence, policy, _move: _shadow(evidence, policy),
        "approval": lambda evidence, _policy, move: _approval(evidence, move),
    }
)
"""Name → gate."""


def judge(policy: SurfacePolicy, target: str, evidence: Evidence, waivers: Iterable[Waiver] = ()) -> list[Verdict]:
    """Ask every gate of a move, whatever the others say.

    Args:
        policy: The surface's rules.
        target: State that the version would take, or ``rollback``.
        evidence: What the gates look at.
        waivers: Leave to pass gates; those over, and those of gates that the policy does not let be waived, count not.
    """
    move = policy.move(target)
    in_force = {waiver.gate: waiver for waiver in waivers if waiver.until > evidence.at}
    verdicts = []
    for name in move.gates:
        found = GATES[name](evidence, policy, move)
        verdict = Verdict(
            name,
            found.outcome,
            found.figure,
            found.rule or _rule(name, policy, move, evidence),
            found.sentence,
            found.detail,
        )
        waiver = in_force.get(name)
        if waiver is not None and not verdict.passed and name in policy.waivable:
            verdict = _waived(verdict, waiver)
        verdicts.append(verdict)
    return verdicts


def _rule(name: str, policy: SurfacePolicy, move: MovePolicy, evidence: Evidence) -> str:
    if name == "approval":
        return move.rule
    rules = policy.rules(PRIMARY_METRICS[evidence.surface])[name]
    return rules[0] if name == "offline-quality" else "; ".join(rules)


def _waived(verdict: Verdict, waiver: Waiver) -> Verdict:
    by = f"waived until {waiver.until:%Y-%m-%d} by {waiver.approver}: {waiver.reason}"
    detail = {
        **verdict.detail,
        "waived": {"was": verdict.outcome, "approver": waiver.approver, "reason": waiver.reason},
    }
    return replace(verdict, outcome="waived", sentence=f"{verdict.sentence} ({by})", detail=detail)
