"""Reports as text: the verdict, the worst, what to do, never more than a screen."""

from datetime import UTC, datetime

import pytest

from contracts.reports import Finding, Override, PastReport, Quarantine, SuiteVerdict, ValidationReport
from validation.texts import differences_text, history_text, impact_text, report_text, worst_findings, worst_sentences

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
IMPACT = {
    "surface": "video-feed",
    "champion": "3",
    "model": "vbpr",
    "reads_content": True,
    "users": 5000,
    "churn": {"10": 0.31, "20": 0.28},
    "first_changed": 0.4,
    "coverage": {"before": 0.53, "after": 0.44, "change": -0.09},
    "items": {"entering": 12, "leaving": 9, "new": 140, "new_listed": 17, "new_share": 0.02},
    "metrics": {"recall_at_20": {"before": 0.1, "after": 0.08, "change": -0.02, "low": -0.025, "high": -0.015}},
    "notes": ["12 items have no finite vector"],
}


def _finding(rule: str, severity: float, advice: str = "", examples: tuple[str, ...] = ()) -> Finding:
    return Finding(
        expectation="expect_it",
        column="c",
        observed="7 of 9 rows",
        rule=rule,
        severity=severity,
        advice=advice,
        examples=list(examples),
    )


def _verdict(suite: str, *findings: Finding, table: str | None = None) -> SuiteVerdict:
    return SuiteVerdict(
        suite=suite, table=table or suite, success=not findings, evaluated=10, findings=list(findings), version=2
    )


def _report(*suites: SuiteVerdict, **others: object) -> ValidationReport:
    facts = {"id": "r1", "snapshot": "s1", "created_at": NOON, "data_docs": "/home/r1/index.html"} | others
    return ValidationReport(success=all(suite.success for suite in suites), suites=list(suites), **facts)


def test_a_passed_first_report_says_that_only_absolute_rules_judged() -> None:
    text = report_text(_report(_verdict("users"), _verdict("splits", table="interactions")))
    first, *others = text.splitlines()
    assert first.startswith("Snapshot s1: passed, report r1 (no accepted snapshot of this data set before: absolute")
    assert others[-1] == "Data docs: /home/r1/index.html"
    assert [line.split() for line in others[:-1]] == [
        ["ok", "users", "users", "10", "of", "10", "expectations", "hold"],
        ["ok", "splits", "interactions", "10", "of", "10", "expectations", "hold"],
    ]


@pytest.mark.parametrize(("learned", "words"), [(0, ""), (1, "; bands learned from 1 accepted snapshot)"), (7, "7 ")])
def test_what_it_was_compared_with(learned: int, words: str) -> None:
    text = report_text(_report(_verdict("users"), baseline="s0", learned_from=learned))
    assert "(compared with accepted snapshot s0" in text
    assert words in text
    assert ("bands learned" in text) == (learned > 0)


def test_a_declined_comparison_is_told() -> None:
    absolute = _report(_verdict("users"), declined="s9")
    text = "comparison with accepted snapshot s9 was declined: "
    assert report_text(absolute).startswith(
        f"Snapshot s1: NOT ACCEPTED, though it passes, report r1 ({text}absolute rules only)"
    )
    older = _report(_verdict("users"), declined="s9", baseline="s0", learned_from=2)
    assert f"({text}compared with s0 instead)" in report_text(older)
    override = Override(actor="mira", at=NOON, reason="known")
    accepted = report_text(absolute.model_copy(update={"override": override}))
    assert accepted.startswith("Snapshot s1: passed, accepted without the comparison")


def test_the_three_gravest_findings_of_all_suites_come_first_with_what_to_do() -> None:
    report = _report(
        _verdict("visual", _finding("a", 1.0, "encode again", ("v1", "v2", "v3")), _finding("b", 0.01)),
        _verdict("users", _finding("c", 0.5), _finding("d", 0.4)),
    )
    assert [finding.rule for _, finding in worst_findings(report)] == ["a", "c", "d", "b"]
    equal = _report(_verdict("visual", _finding("a", 1.0), _finding("b", 1.0, examples=("v1",))))
    assert [finding.rule for _, finding in worst_findings(equal)] == ["b", "a"], "a named item helps more"
    assert worst_sentences(report, 1) == ["visual: a: 7 of 9 rows (for example v1, v2)"]
    lines = report_text(report).splitlines()
    assert lines[0].startswith("Snapshot s1: FAILED")
    assert lines[1:3] == ["  1. visual: a: 7 of 9 rows (for example v1, v2)", "     Do: encode again"]
    assert lines[3].startswith("  2. users: c")
    assert lines[4].startswith("  3. users: d")
    assert "visual  8 of 10 expectations hold" in lines[5]


def test_a_long_report_stays_on_a_screen_and_names_every_failed_suite_it_has_room_for() -> None:
    failed = [_verdict(f"bad{n}", _finding("x", 1.0, "mend it")) for n in range(9)]
    held = [_verdict(f"good{n}") for n in range(40)]
    quarantine = [
        Quarantine(table=f"t{n}", whole=n == 0, rows=n, file=f"{n}.parquet", reason="zero", remedy="drop")
        for n in range(9)
    ]
    text = report_text(_report(*failed, *held, quarantine=quarantine, impact=IMPACT, parent="r0", baseline="s0"))
    assert len(text.splitlines()) <= 30
    assert "NO   bad0" in text
    assert "40 more suites, all 400 expectations hold: good0, good1" in text
    assert "Quarantine: t0: the whole table (zero); can be left out with --quarantine; rows in 0.parquet" in text
    assert "Quarantine: and 6 more" in text
    assert "Mended after report r0" in text
    every = report_text(_report(*failed, *failed, *failed, *failed, impact=IMPACT))
    assert len(every.splitlines()) <= 30
    assert "more" in every


def test_what_was_not_judged_is_said_once_for_all_tables() -> None:
    suites = [_verdict(f"t{n}").model_copy(update={"notes": ["too few items"]}) for n in range(5)]
    assert "Not judged: t0, t1, t2, and 2 more: too few items\n" in report_text(_report(*suites, baseline="s0"))


def test_an_override_is_told_and_the_verdict_stays_failed() -> None:
    override = Override(actor="mira", at=NOON, reason="known")
    text = report_text(_report(_verdict("users", _finding("c", 0.5)), override=override))
    assert text.startswith("Snapshot s1: FAILED, accepted all the same")
    assert "Accepted by mira at 2026-01-02 12:00 UTC: known" in text


def test_an_id_cannot_command_the_terminal() -> None:
    report = _report(_verdict("users", _finding("c", 1.0, examples=("\x1b[2Jgone\nnext",))))
    assert "\x1b" not in report_text(report)
    assert "\ufffd[2Jgone\ufffdnext" in report_text(report)
    assert worst_sentences(report) == ["users: c: 7 of 9 rows (for example \ufffd[2Jgone\ufffdnext)"]


def test_the_impact_is_priced_in_lists_and_metrics() -> None:
    lines = impact_text(IMPACT).splitlines()
    assert lines[0] == "Impact: champion 3 vbpr on video-feed, 5,000 users' lists compared"
    assert "31.0% of the top-10 places and 28.0% of the top-20 places would change" in lines[1]
    assert lines[2].strip() == ("recall_at_20: 0.1000 -> 0.0800, change -0.0200 (95 % interval -0.0250 to -0.0150)")
    assert lines[-1].strip() == "12 items have no finite vector"
    assert impact_text({"missing": "there is no champion"}) == "Impact: there is no champion"
    unread = IMPACT | {"reads_content": False, "metrics": {}, "items": IMPACT["items"] | {"new_listed": None}}
    assert "reads no embeddings" in impact_text(unread)
    assert "of them listed" not in impact_text(unread)


def test_the_history_is_a_table() -> None:
    rows = [
        PastReport("r2", "s2", "tiktok", NOON, False, ("visual/embedding_visual", "a", "b", "c"), "s1", "mira"),
        PastReport("r1", "s1", "", NOON, True, (), None, None),
    ]
    head, first, second = history_text(rows).splitlines()
    assert head.split("  ")[0] == "TIME (UTC)"
    assert first.split()[2:6] == ["r2", "tiktok", "s2", "overridden"]
    assert first.endswith("visual/embedding_visual, a, b, and 1 more")
    assert second.split()[2:] == ["r1", "-", "s1", "passed"]
    assert "validate run" in history_text([])


def test_differences_name_the_items_and_leave_out_what_could_not_be_measured() -> None:
    paired = {
        "common": 5000,
        "lost": 1,
        "new": 300,
        "changed_share": 0.02,
        "noise_share": 0.0,
        "moved_share": 0.01,
        "neighbour_overlap": None,
        "shift": 0.5,
        "sampled": 5000,
        "changed": [("v1", 12.34)],
        "moved": [("v2", "v\x1b3")],
    }
    drift = {
        "p_values": {"norm": 0.5, "mean": 0.0002},
        "effects": {"norm": 0.0, "mean": 1.5},
        "reference": 4000,
        "new": 300,
        "share": 0.06,
        "items": [("v9", 4.0)],
    }
    document = {
        "snapshot": "s1",
        "against": "s0",
        "views": [
            {"table": "embedding_visual", "view": "video_visual_1a2b3c4d", "paired": paired, "drift": drift},
            {"table": "embedding_acoustic", "view": "w", "paired": paired | {"changed_share": None}, "drift": None},
        ],
        "not_compared": {"embedding_textual": "snapshot s0 has no vectors of its spec"},
    }
    text = differences_text(document)
    assert text.startswith("Snapshot s1 against s0")
    assert "5,000 items in both, 300 new, 1 gone" in text
    assert "changed most: v1 (12.3 sd)" in text
    assert "v2 (has v\ufffd3's)" in text
    assert "300 new items against 4,000: mean p 0.0002, effect 1.5; norm p 0.5, effect 0" in text
    assert "v9 (4 times the usual distance)" in text
    assert "nearest neighbours" not in text
    assert text.count("of those in both changed") == 1
    assert "too few to tell" in text
    assert text.endswith("embedding_textual: not compared: snapshot s0 has no vectors of its spec")
    empty = differences_text({"snapshot": "s1", "against": "s0", "views": [], "not_compared": {}})
    assert "no table of vectors" in empty
