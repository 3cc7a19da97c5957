"""Each gate by hand-made evidence: what passes, what fails, what is missing, stale or waived."""

import json
import math
import re
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import utc_now
from contracts.home import Home
from contracts.reports import Override, ValidationReport
from contracts.settings import load_settings
from contracts.user_figures import UserFigures
from contracts.verdict import Decision, LiveVerdict, Rule
from registry.facts import Evidence, PackageFacts, Rival, ShadowFacts, Waiver
from registry.gates import GATES, Verdict, judge
from registry.policy import load_policy
from registry.thresholds import GATE_NAMES, Guardrail, MovePolicy, OfflineRule, SurfacePolicy

NOW = utc_now()
METRIC = "validation_recall_at_20"
COVERAGE, LIFT = "validation_coverage_at_20", "validation_popularity_lift_at_20"
COLD, COLD_EVENTS = "validation_cold_items_recall_at_20", "validation_cold_items_events"
VISUAL, VISUAL_EVENTS = "validation_missing_visual_recall_at_20", "validation_missing_visual_events"
INDEX, LATENCY = "index_recall_at_20", "score_latency_ms_p99"
UNSOUND = [math.nan, math.inf, -math.inf, 1.7976931348623157e308]


def users(values: Any, prefix: str = "u") -> UserFigures:
    values = np.asarray(values, np.float64)
    ids = [f"{prefix}{row}" for row in range(len(values))]
    return UserFigures.of(ids, np.ones(len(values), np.int64), {METRIC: values})


EASE = np.random.default_rng(0).random(200) * 0.16
REPORT = ValidationReport(id="r1", snapshot="s", created_at=NOW, success=True, suites=[], data_docs="index.html")
OVERRIDE = Override(actor="ann", at=NOW, reason="looked at it")
OLD = REPORT.model_copy(update={"created_at": NOW - timedelta(days=31)})
METRICS = {
    METRIC: float(EASE.mean()) + 0.01,
    COVERAGE: 0.4,
    LIFT: 2.0,
    COLD: 0.05,
    COLD_EVENTS: 500.0,
    VISUAL: 0.06,
    VISUAL_EVENTS: 100.0,
    INDEX: 0.99,
    LATENCY: 12.0,
}
CHAMPION = Rival(
    version="1", model="mf", metrics={**METRICS, METRIC: float(EASE.mean())}, protocol="p", users=users(EASE)
)


def live(decision: Decision) -> LiveVerdict:
    return LiveVerdict(
        decision=decision,
        reason="undecided",
        sentence=f"{decision}.",
        requests=5000,
        more_requests=None,
        findings=(),
        split_p=None,
        rule=Rule(),
    )


SHADOW = ShadowFacts(at=NOW, champion="1", requests=5000, errors=1, p99_ms=20, overlap=0.4)
SOUND = Evidence(
    surface="video-feed",
    version="2",
    model="lightgcn",
    at=NOW,
    package=PackageFacts(present=True, files=6, fault=None, shape="two-tower"),
    snapshot="s",
    report=REPORT,
    metrics=METRICS,
    users=users(EASE + 0.01),
    protocol="p",
    champion=CHAMPION,
    shadow=SHADOW,
    author="ann",
    approvers=("bob",),
)


def shipped() -> SurfacePolicy:
    settings = load_settings(home=Path("/nowhere"), profile="production")
    return load_policy(settings, Home(settings.home)).of("video-feed")


POLICY = shipped()


def asked(gate: str, evidence: Evidence, policy: SurfacePolicy = POLICY) -> Verdict:
    """One gate of a promotion to champion in production, which has them all."""
    return next(verdict for verdict in judge(policy, "champion", evidence) if verdict.gate == gate)


def changed(**parts: Any) -> SurfacePolicy:
    return POLICY.model_copy(update=parts)


def test_sound_evidence_passes_every_gate() -> None:
    verdicts = judge(POLICY, "champion", SOUND)
    assert [(v.gate, v.outcome) for v in verdicts] == [(name, "pass") for name in GATE_NAMES]
    assert all(v.rule and v.sentence and v.passed for v in verdicts)
    json.dumps([asdict(v) for v in verdicts], allow_nan=False)


def test_the_gates_are_those_that_a_policy_may_name() -> None:
    assert tuple(GATES) == GATE_NAMES


def without(name: str) -> dict[str, Any]:
    return {"metrics": {key: value for key, value in METRICS.items() if key != name}}


def having(**metrics: float) -> dict[str, Any]:
    return {"metrics": {**METRICS, **metrics}}


def rival(**change: Any) -> dict[str, Any]:
    return {"champion": replace(CHAMPION, **change)}


def shadow(**change: Any) -> dict[str, Any]:
    return {"shadow": replace(SHADOW, **change)}


@pytest.mark.parametrize(
    ("gate", "change", "outcome", "sentence"),
    [
        ("package", {"package": PackageFacts(True, 6, "altered")}, "fail", "altered"),
        ("package", {"package": PackageFacts(False, 0, "gone")}, "missing", "gone"),
        ("validation", {"report": None}, "missing", "no validation report on snapshot s; run `backbeat validate run`"),
        ("validation", {"report": REPORT.model_copy(update={"success": False})}, "fail", "report r1 .* failed$"),
        ("validation", {"report": REPORT.model_copy(update={"snapshot": "t"})}, "fail", "is on snapshot t, not s"),
        ("validation", {"report": OLD}, "stale", "passed 31 days ago; run `backbeat validate run --force`"),
        (
            "validation",
            {"report": REPORT.model_copy(update={"success": False, "override": OVERRIDE})},
            "pass",
            "report r1 on snapshot s failed, overridden by ann: looked at it$",
        ),
        (
            "validation",
            {"report": REPORT.model_copy(update={"declined": "s0"})},
            "fail",
            "passed, its comparison with accepted snapshot s0 was declined$",
        ),
        ("offline-quality", without(METRIC), "missing", "has no validation_recall_at_20; run `backbeat train light"),
        ("offline-quality", having(**{METRIC: -0.1}), "fail", "is -0.1, not a number between 0 and 1"),
        *(("offline-quality", having(**{METRIC: value}), "fail", "not a number between") for value in UNSOUND),
        ("offline-quality", {**having(**{METRIC: math.nan}), "champion": None}, "fail", "is nan"),
        ("offline-quality", {"champion": None}, "pass", "there is no champion yet$"),
        ("offline-quality", {"champion": None, "users": None}, "pass", "there is no champion yet"),
        ("offline-quality", rival(metrics={}), "missing", "champion 1 has no sound"),
        ("offline-quality", rival(metrics={METRIC: math.nan}), "missing", "champion 1 has no sound"),
        ("offline-quality", {"protocol": "q"}, "missing", r"another protocol \(p, not q\); run `backbeat train light"),
        ("offline-quality", rival(fault="gone"), "missing", "could not be measured on snapshot s: gone"),
        ("offline-quality", rival(users=None), "missing", "champion 1 has no figures of users; run `backbeat train mf"),
        ("offline-quality", {"users": None}, "missing", "version 2 has no figures of users; run `backbeat train light"),
        ("offline-quality", {"users": users(EASE, "x")}, "missing", "not measured on the same users; run"),
        ("offline-quality", having(**{METRIC: 0.5}), "fail", "is 0.500000 by its run and 0.0.* by its users"),
        ("offline-quality", {"users": users(EASE * math.nan)}, "fail", "nan by its users"),
        ("offline-quality", rival(users=users(EASE * math.nan)), "fail", "of champion 1 is .* nan by its users"),
        ("offline-quality", rival(measured_on="s"), "pass", "when measured on snapshot s: difference .*; better$"),
        ("guardrails", {}, "pass", "4 of 4 hold"),
        ("guardrails", {"champion": None}, "pass", "no champion yet"),
        (
            "guardrails",
            having(**{COVERAGE: 0.19}),
            "fail",
            "coverage: .* is 0.19, champion 1 has 0.4, which allows 0.2",
        ),
        ("guardrails", {**having(**{COVERAGE: 0.001}), "champion": None}, "fail", "below its floor 0.002"),
        ("guardrails", having(**{LIFT: 4.1}), "fail", "popularity-lift: .* is 4.1, .* allows 4"),
        ("guardrails", {**having(**{LIFT: 101.0}), "champion": None}, "fail", "above its ceiling 100"),
        ("guardrails", having(**{COLD: 0.02}), "fail", "cold-items: .* is 0.02"),
        ("guardrails", having(**{COLD: 0.02, COLD_EVENTS: 99.0}), "pass", "99 events are too few to judge"),
        ("guardrails", having(**{VISUAL: 0.01}), "fail", "missing-modality: validation_missing_visual_recall"),
        ("guardrails", {"metrics": {k: v for k, v in METRICS.items() if "visual" not in k}}, "pass", "3 of 3 hold"),
        ("guardrails", without(VISUAL), "missing", f"there is no {VISUAL}"),
        ("guardrails", without(COVERAGE), "missing", f"there is no {COVERAGE}; run `backbeat train lightgcn --force`"),
        ("guardrails", without(COLD_EVENTS), "missing", f"there is no {COLD_EVENTS}"),
        ("guardrails", rival(metrics={METRIC: 0.1}), "missing", "champion 1 has no sound"),
        ("guardrails", rival(fault="gone"), "missing", "champion 1 could not be measured: gone"),
        ("guardrails", {"protocol": "q"}, "missing", "measured by another protocol"),
        *(
            ("guardrails", having(**{name: value}), "fail", "no sound")
            for name in METRICS
            for value in UNSOUND
            if name in (COVERAGE, LIFT, COLD, COLD_EVENTS, VISUAL)
        ),
        ("index-recall", without(INDEX), "missing", "index_recall_at_20 was not measured; run `backbeat train"),
        ("index-recall", having(**{INDEX: 0.94}), "fail", "is 0.9400"),
        ("index-recall", having(**{INDEX: 0.95}), "pass", "is 0.9500"),
        ("index-recall", having(**{INDEX: 1.01}), "fail", "is 1.01"),
        *(("index-recall", having(**{INDEX: value}), "fail", "is") for value in UNSOUND),
        (
            "index-recall",
            {**without(INDEX), "package": PackageFacts(True, 6, None, "scorer")},
            "pass",
            "is a scorer: it ranks every item and has no index",
        ),
        (
            "index-recall",
            {**having(**{INDEX: 0.94}), "package": PackageFacts(True, 6, None, "scorer", candidates=2_000)},
            "fail",
            "is 0.9400",
        ),
        (
            "index-recall",
            {**without(INDEX), "package": PackageFacts(True, 6, None, "scorer", candidates=2_000)},
            "missing",
            "index_recall_at_20 was not measured",
        ),
        ("latency", without(LATENCY), "missing", "was not measured"),
        ("latency", having(**{LATENCY: 250.0}), "pass", "is 250.0 ms"),
        ("latency", having(**{LATENCY: 250.1}), "fail", "is 250.1 ms"),
        ("latency", having(**{LATENCY: -1.0}), "fail", "is -1.0 ms"),
        *(("latency", having(**{LATENCY: value}), "fail", "is") for value in UNSOUND),
        ("shadow", {"shadow": None, "champion": None}, "pass", "no champion yet"),
        ("shadow", {"shadow": None}, "missing", "never compared as shadow; run `backbeat models promote 2 --to shadow"),
        ("shadow", shadow(champion="0"), "stale", "compared with version 0, and 1 is champion now"),
        ("shadow", shadow(at=NOW - timedelta(days=15)), "stale", "compared 15 days ago"),
        ("shadow", shadow(requests=999, errors=0), "fail", "refused for 999 requests$"),
        ("shadow", shadow(requests=0, errors=0), "fail", "refused for 0 requests, 0 errors$"),
        ("shadow", shadow(errors=6), "fail", "refused for 6 errors$"),
        ("shadow", shadow(errors=-1), "fail", "refused for -1 errors$"),
        ("shadow", shadow(p99_ms=251), "fail", "refused for p99 251.0 ms$"),
        ("shadow", shadow(overlap=0.05), "fail", "refused for overlap 0.050$"),
        ("shadow", shadow(overlap=1.5), "fail", "refused for overlap 1.500$"),
        *(
            ("shadow", shadow(**{name: value}), "missing", f"no sound {name}")
            for name in ("requests", "errors", "p99_ms", "overlap")
            for value in (None, math.nan, math.inf)
        ),
        ("shadow", shadow(live_verdict=live("reject")), "fail", "refused for live verdict reject$"),
        ("shadow", shadow(live_verdict=live("hold")), "pass", "live verdict hold$"),
        ("shadow", shadow(live_verdict=live("promote")), "pass", "live verdict promote$"),
        ("shadow", shadow(live_fault="rule: Field required"), "missing", r"cannot be read \(rule: Field required\)"),
        ("shadow", shadow(live_fault="rule: Field required", overlap=0.05), "fail", "refused for overlap 0.050$"),
        ("approval", {"approvers": ()}, "missing", "nobody has approved it; 1 needed"),
        ("approval", {"approvers": ("ann",)}, "missing", "only its author ann has approved it; 1 needed"),
        ("approval", {"approvers": ("bob", "ann")}, "pass", "approved by bob$"),
    ],
)
def test_one_gate(gate: str, change: dict[str, Any], outcome: str, sentence: str) -> None:
    verdict = asked(gate, replace(SOUND, **change))
    assert verdict.outcome == outcome, verdict
    assert verdict.passed == (outcome == "pass")
    assert verdict.rule
    assert re.search(sentence, verdict.sentence), verdict.sentence
    json.dumps(asdict(verdict), allow_nan=False)


def test_no_champion_yet_is_a_rule_of_its_own() -> None:
    alone = replace(SOUND, champion=None)
    for gate in ("offline-quality", "shadow"):
        assert "there is no champion yet" in asked(gate, alone).rule
        assert "there is no champion yet" not in asked(gate, SOUND).rule


def quality(difference: Any, **rule: Any) -> Verdict:
    """Of a version whose users differ so from those of a champion with 0.2."""
    theirs = np.full(np.shape(difference), 0.2)
    own = theirs + difference
    evidence = replace(
        SOUND,
        metrics={**METRICS, METRIC: float(own.mean())},
        users=users(own),
        champion=replace(CHAMPION, metrics={METRIC: 0.2}, users=users(theirs)),
    )
    rules = {"margin": 0.05, "superiority": False, "least_users": 30, **rule}
    return asked("offline-quality", evidence, changed(offline=OfflineRule(**rules)))


def test_non_inferiority_looks_at_the_interval_and_not_at_the_mean() -> None:
    # The margin is 0.01. Of 400 users half gain what the other half loses, on average nothing.
    spread = np.where(np.arange(400) % 2, 0.05, -0.05)
    steady = quality(spread)
    assert steady.outcome == "pass"
    assert steady.sentence.endswith("not shown to be better, and no worse")
    assert steady.detail["low"] < 0 < steady.detail["high"]
    assert steady.detail["low"] >= steady.detail["allowed"] == pytest.approx(-0.01)
    unsure = quality(spread[:40])
    assert unsure.outcome == "fail"
    assert unsure.sentence.endswith("undecided: it may be worse than the margin")
    assert abs(unsure.detail["difference"]) < 1e-9


@pytest.mark.parametrize(
    ("difference", "superiority", "outcome", "said"),
    [
        (0.0, False, "pass", "not shown to be better, and no worse"),
        (0.0, True, "fail", "not shown to be better, and no worse"),
        (0.001, True, "pass", "better"),
        (-0.009, False, "pass", "worse, but by no more than the margin"),
        (-0.011, False, "fail", "worse"),
    ],
)
def test_margin_and_superiority(difference: float, superiority: bool, outcome: str, said: str) -> None:
    verdict = quality(np.full(50, difference), superiority=superiority)
    assert (verdict.outcome, verdict.sentence.rpartition("; ")[2]) == (outcome, said)
    assert verdict.detail["superior"] == (difference > 0)
    assert ("above 0" in verdict.rule) == superiority


def test_few_users_tell_no_two_versions_apart() -> None:
    verdict = quality(np.full(29, 0.1))
    assert verdict.outcome == "missing"
    assert verdict.sentence == "29 users tell no two versions apart; measure on data with more"
    assert quality(np.full(30, 0.1)).passed


def test_a_champion_with_nothing_leaves_no_margin() -> None:
    evidence = replace(SOUND, champion=replace(CHAMPION, metrics={METRIC: 0.0}, users=users(np.zeros(200))))
    assert asked("offline-quality", evidence).passed


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_whatever_is_measured_a_verdict_can_be_kept(value: float) -> None:
    evidence = replace(SOUND, metrics=dict.fromkeys(METRICS, value))
    for verdict in judge(POLICY, "champion", evidence):
        json.dumps(asdict(verdict), allow_nan=False)
        if not math.isfinite(value) and verdict.gate in ("offline-quality", "guardrails", "index-recall", "latency"):
            assert not verdict.passed


def test_a_required_live_verdict() -> None:
    strict = changed(shadow=POLICY.shadow.model_copy(update={"live_verdict": "required"}))
    assert asked("shadow", SOUND, strict).outcome == "missing"
    outcomes: dict[Decision, str] = {"promote": "pass", "hold": "missing", "reject": "fail"}
    for decision, outcome in outcomes.items():
        found = asked("shadow", replace(SOUND, **shadow(live_verdict=live(decision))), strict)
        assert found.outcome == outcome
        assert found.detail["live_verdict"]["decision"] == decision
    few = replace(SOUND, **shadow(live_verdict=live("hold"), requests=999, errors=0))
    assert asked("shadow", few, strict).outcome == "fail", "what is surely refused is not only missing"


def test_several_approvals_and_an_author_who_may() -> None:
    move = MovePolicy(gates=("package",), approvals=2, author_may_approve=True)
    policy = changed(moves={**POLICY.moves, "champion": move})
    assert asked("approval", replace(SOUND, approvers=("ann",)), policy).outcome == "missing"
    assert asked("approval", replace(SOUND, approvers=("ann", "ann")), policy).outcome == "missing"
    verdict = asked("approval", replace(SOUND, approvers=("ann", "bob")), policy)
    assert verdict.outcome == "pass"
    assert verdict.rule == "2 people approved it, the author counts"


def test_a_lone_guardrail_without_any_rule_holds() -> None:
    assert asked("guardrails", SOUND, changed(guardrails={})).sentence == "0 of 0 hold"
    figures = {"negative": Guardrail(metric="x", floor=-10, change=0.5)}
    worse = replace(SOUND, metrics={"x": -4.0}, champion=replace(CHAMPION, metrics={"x": -2.0}))
    verdict = asked("guardrails", worse, changed(guardrails=figures))
    assert verdict.outcome == "fail"
    assert "which allows -3" in verdict.sentence, "a share of what is negative goes the same way"


def test_all_gates_are_asked_whatever_the_first_says() -> None:
    evidence = replace(
        SOUND, package=PackageFacts(False, 0, "gone"), report=None, metrics={}, users=None, shadow=None, approvers=()
    )
    assert [v.outcome for v in judge(POLICY, "champion", evidence)] == ["missing"] * len(GATE_NAMES)


def waiver(gate: str, days: float = 1) -> Waiver:
    return Waiver(gate, "carol", "a pilot of ten users", NOW + timedelta(days=days))


def test_waivers_count_where_the_policy_lets_them() -> None:
    evidence = replace(SOUND, metrics={**METRICS, LATENCY: 900.0}, package=PackageFacts(True, 6, "altered"))
    found = {v.gate: v for v in judge(POLICY, "champion", evidence, [waiver("latency"), waiver("package")])}
    late = found["latency"]
    assert late.outcome == "waived"
    assert late.passed
    assert re.search(r"is 900.0 ms \(waived until .* by carol: a pilot of ten users\)$", late.sentence)
    assert late.detail["waived"] == {"was": "fail", "approver": "carol", "reason": "a pilot of ten users"}
    assert found["package"].outcome == "fail"


@pytest.mark.parametrize(("change", "was"), [({"report": OLD}, "stale"), ({"report": None}, "missing")])
def test_what_is_stale_or_missing_can_be_waived(change: dict[str, Any], was: str) -> None:
    found = {v.gate: v for v in judge(POLICY, "champion", replace(SOUND, **change), [waiver("validation")])}
    assert found["validation"].detail["waived"]["was"] == was


def test_a_waiver_that_is_over_or_not_needed_changes_nothing() -> None:
    late = replace(SOUND, metrics={**METRICS, LATENCY: 900.0})
    found = {v.gate: v for v in judge(POLICY, "champion", late, [waiver("latency", days=-1)])}
    assert found["latency"].outcome == "fail"
    assert judge(POLICY, "champion", SOUND, [waiver("latency")]) == judge(POLICY, "champion", SOUND)
