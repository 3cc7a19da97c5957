"""Each gate by hand-made evidence: what passes, what fails, what is missing."""

import json
import math
import re
from dataclasses import asdict, replace

import pytest

from contracts.clock import utc_now
from contracts.reports import Override, ValidationReport
from registry.gates import GATES, GATES_OF, Evidence, PackageFacts, Rival, judge

REPORT = ValidationReport(id="r1", snapshot="s", created_at=utc_now(), success=True, suites=[], data_docs="index.html")
OVERRIDE = Override(actor="ann", at=utc_now(), reason="looked at it")
CHAMPION = Rival(version="1", model="mf", metric=0.08, protocol="p")
SOUND = Evidence(
    surface="video-feed",
    version="2",
    model="lightgcn",
    package=PackageFacts(present=True, files=6, fault=None),
    snapshot="s",
    report=REPORT,
    metric=0.09,
    protocol="p",
    champion=CHAMPION,
)


def test_sound_evidence_passes_every_gate() -> None:
    verdicts = judge(GATES, SOUND)
    assert [(v.gate, v.outcome) for v in verdicts] == [(name, "pass") for name in GATES]
    assert [v.figure for v in verdicts] == [6, "r1", 0.09]


def test_every_move_names_known_gates() -> None:
    assert set().union(*GATES_OF.values()) <= set(GATES)
    assert set(GATES_OF["champion"]) == set(GATES)


@pytest.mark.parametrize(
    ("gate", "change", "outcome", "sentence"),
    [
        ("package", {"package": PackageFacts(True, 6, "altered")}, "fail", "altered"),
        ("package", {"package": PackageFacts(False, 0, "gone")}, "missing", "gone"),
        ("validation", {"report": None}, "missing", "no validation report on snapshot s"),
        ("validation", {"report": REPORT.model_copy(update={"success": False})}, "fail", "report r1 .* failed$"),
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
            "report r1 on snapshot s passed, its comparison with accepted snapshot s0 was declined$",
        ),
        (
            "validation",
            {"report": REPORT.model_copy(update={"declined": "s0", "override": OVERRIDE})},
            "pass",
            "s0 was declined, overridden by ann: looked at it$",
        ),
        ("primary-metric", {"metric": None}, "missing", "version 2 has no validation_recall_at_20"),
        ("primary-metric", {"metric": math.nan}, "fail", "is nan, not a number between 0 and 1"),
        ("primary-metric", {"metric": math.inf}, "fail", "is inf, not"),
        ("primary-metric", {"metric": 1.7976931348623157e308}, "fail", "not a number between 0 and 1"),
        ("primary-metric", {"metric": -0.1}, "fail", "is -0.1, not"),
        ("primary-metric", {"metric": math.nan, "champion": None}, "fail", "is nan"),
        ("primary-metric", {"metric": 0.0799}, "fail", "is 0.0799, champion 1 has 0.0800"),
        ("primary-metric", {"metric": 0.08}, "pass", "champion 1 has 0.0800"),
        ("primary-metric", {"champion": None}, "pass", "there is no champion to match"),
        ("primary-metric", {"metric": 0.0, "champion": None}, "pass", "there is no champion"),
        ("primary-metric", {"champion": replace(CHAMPION, metric=None)}, "missing", "champion 1 has no sound"),
        ("primary-metric", {"champion": replace(CHAMPION, metric=math.nan)}, "missing", "champion 1 has no sound"),
        (
            "primary-metric",
            {"protocol": "q"},
            "missing",
            r"another protocol \(p, not q\); run `backbeat train lightgcn",
        ),
        (
            "primary-metric",
            {"champion": replace(CHAMPION, measured_on="s", metric=0.2)},
            "fail",
            "is 0.0900, champion 1 has 0.2000 when measured on snapshot s",
        ),
        (
            "primary-metric",
            {"champion": replace(CHAMPION, measured_on="s", metric=0.0031)},
            "pass",
            "is 0.0900, champion 1 has 0.0031 when measured on snapshot s",
        ),
        (
            "primary-metric",
            {"champion": replace(CHAMPION, measured_on="s", metric=None, protocol="o", fault="gone")},
            "missing",
            "champion 1 could not be measured on snapshot s: gone",
        ),
        (
            "primary-metric",
            {"champion": replace(CHAMPION, measured_on="s", protocol="o")},
            "missing",
            r"another protocol \(o, not p\) when measured on snapshot s",
        ),
        (
            "primary-metric",
            {"champion": replace(CHAMPION, measured_on="s", metric=math.nan)},
            "missing",
            "no sound validation_recall_at_20 to compare with when measured on snapshot s",
        ),
    ],
)
def test_one_gate(gate: str, change: dict[str, object], outcome: str, sentence: str) -> None:
    evidence = replace(SOUND, **change)
    verdict = GATES[gate](evidence)
    assert verdict.gate == gate
    assert verdict.outcome == outcome
    assert verdict.passed == (outcome == "pass")
    assert verdict.rule
    assert re.search(sentence, verdict.sentence)
    json.dumps(asdict(verdict), allow_nan=False)


def test_all_gates_are_asked_whatever_the_first_says() -> None:
    evidence = replace(SOUND, package=PackageFacts(False, 0, "gone"), report=None, metric=None)
    assert [v.outcome for v in judge(GATES, evidence)] == ["missing"] * 3
