"""Accepting a failed report: once, with a reason, in one transaction with the audit log."""

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, Conflict, NotFound, ValidationFailed
from contracts.home import Home
from contracts.platform import AuditRow, ValidationOverrideRow
from contracts.reports import (
    Finding,
    SuiteVerdict,
    ValidationReport,
    latest_report,
    past_reports,
    require_passed,
    store_report,
)
from contracts.settings import Settings
from registry.audit import audit_log
from validation.override import accept_report

REASON = "re-uploads repeat vectors this week"


def _store(
    database: Database, name: str, success: bool = False, snapshot: str = "s1", hours: int = 0, **facts: str
) -> None:
    finding = Finding(expectation="e", column="c", observed=1, rule="r")
    verdict = SuiteVerdict(
        suite="visual", table="t", success=success, evaluated=1, findings=[] if success else [finding]
    )
    store_report(
        database,
        ValidationReport(
            id=name,
            snapshot=snapshot,
            created_at=utc_now() + timedelta(hours=hours),
            success=success,
            suites=[verdict],
            data_docs="index.html",
            dataset="d",
            **facts,
        ),
    )


def test_it_opens_the_gate_and_stands_in_the_audit_log(settings: Settings, home: Home, database: Database) -> None:
    _store(database, "r1")
    with pytest.raises(ValidationFailed, match="backbeat validate override r1"):
        require_passed(database, home, "s1")
    accepted = accept_report(database, "r1", f"  {REASON}\nand more ", "ann")
    assert accepted.override is not None
    assert (accepted.override.actor, accepted.override.reason) == ("ann", f"{REASON} and more")
    assert (accepted.success, accepted.accepted, accepted.verdict) == (False, True, "overridden")
    assert require_passed(database, home, "s1") == accepted == latest_report(database, "s1")
    (row,) = audit_log(settings, home, "data")
    assert row["at"] == accepted.override.at
    assert (row["actor"], row["version"], row["action"]) == ("ann", "s1", "validation-override")
    assert (row["before"], row["after"], row["reason"]) == ("failed", "accepted", f"{REASON} and more")
    assert row["verdicts"][0]["gate"] == "visual/t"
    (line,) = past_reports(database)
    assert (line.verdict, line.overridden_by, line.accepted) == ("overridden", "ann", True)


@pytest.mark.parametrize("reason", ["", "   ", "too short", "a" + " " * 30 + "b"])
def test_a_reason_has_to_say_something(database: Database, reason: str) -> None:
    _store(database, "r1")
    with pytest.raises(BadInput, match=r"reason for accepting report r1: .*at least 10 characters.*--reason"):
        accept_report(database, "r1", reason, "ann")
    assert past_reports(database)[0].overridden_by is None


@pytest.mark.parametrize("actor", ["", " ", "n" * 129])
def test_somebody_has_to_say_it(database: Database, actor: str) -> None:
    _store(database, "r1")
    with pytest.raises(BadInput, match=r"expected 1 to 128.*--by"):
        accept_report(database, "r1", REASON, actor)


def test_what_cannot_be_accepted(database: Database) -> None:
    with pytest.raises(NotFound, match=r"'r0'.*backbeat validate list"):
        accept_report(database, "r0", REASON, "ann")
    _store(database, "good", success=True, snapshot="s2")
    with pytest.raises(Conflict, match="report good: found passed"):
        accept_report(database, "good", REASON, "ann")
    _store(database, "old")
    _store(database, "new", hours=1)
    with pytest.raises(Conflict, match="old: found not the newest on snapshot s1; expected new, which failed"):
        accept_report(database, "old", REASON, "ann")


def test_a_declined_comparison_is_accepted_like_a_failure(settings: Settings, home: Home, database: Database) -> None:
    _store(database, "r1", success=True, declined="s0")
    accepted = accept_report(database, "r1", REASON, "ann")
    assert (accepted.success, accepted.accepted, accepted.verdict) == (True, True, "overridden")
    (row,) = audit_log(settings, home, "data")
    assert (row["before"], row["after"]) == ("uncompared", "accepted")
    assert row["verdicts"] == [
        {"gate": "comparison", "outcome": "missing", "sentence": "report r1 is not compared with s0"}
    ]
    _store(database, "r2", declined="s0")
    accept_report(database, "r2", REASON, "ann")
    assert [verdict["gate"] for verdict in audit_log(settings, home, "data")[0]["verdicts"]] == [
        "comparison",
        "visual/t",
    ]


def test_the_second_one_learns_who_was_first(settings: Settings, home: Home, database: Database) -> None:
    _store(database, "r1")
    accept_report(database, "r1", REASON, "ann")
    with pytest.raises(Conflict, match="accepted already, by ann at"):
        accept_report(database, "r1", "another good reason", "bob")
    assert len(audit_log(settings, home, "data")) == 1


def test_two_at_once_leave_one_override_and_one_audit_row(
    each_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second has looked before the first one wrote."""
    _store(each_database, "r1")
    add = Session.add

    def second_thoughts(self: Session, row: object, **options: object) -> None:
        if isinstance(row, ValidationOverrideRow):
            monkeypatch.undo()
            accept_report(each_database, "r1", REASON, "ann")
        add(self, row)

    monkeypatch.setattr(Session, "add", second_thoughts)
    with pytest.raises(Conflict, match="accepted already, by ann"):
        accept_report(each_database, "r1", "another good reason", "bob")
    with each_database.session() as session:
        assert [row.actor for row in session.query(AuditRow)] == ["ann"]
        assert [row.actor for row in session.query(ValidationOverrideRow)] == ["ann"]


def test_a_full_audit_log_leaves_the_report_failed(each_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    _store(each_database, "r1")
    flush = Session.flush

    def full(self: Session, *arguments: object) -> None:
        audited = any(isinstance(row, AuditRow) for row in self.new)
        flush(self, *arguments)
        if audited:
            raise OSError("No space left on device")

    monkeypatch.setattr(Session, "flush", full)
    with pytest.raises(OSError, match="No space"):
        accept_report(each_database, "r1", REASON, "ann")
    monkeypatch.undo()
    with each_database.session() as session:
        assert session.query(ValidationOverrideRow).count() == session.query(AuditRow).count() == 0
    assert past_reports(each_database)[0].verdict == "failed"
