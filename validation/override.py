"""A person accepts what the suites have refused: said once, with a reason, and written to the audit log."""

from typing import Final

from sqlalchemy.exc import IntegrityError

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, Conflict
from contracts.platform import AuditRow, ValidationOverrideRow
from contracts.reports import ValidationReport, find_report, past_reports
from contracts.surfaces import DATA_SURFACE

__all__ = ["AUDIT_ACTION", "accept_report"]

AUDIT_ACTION: Final = "validation-override"

_LEAST_REASON = 10
_LONGEST_NAME = 128


def accept_report(database: Database, report_id: str, reason: str, actor: str) -> ValidationReport:
    """Open the gate for a snapshot whose newest report failed or declined a comparison.

    The caller holds the home's writer lock.

    The override and its row in the audit log are written in one transaction.

    Args:
        database: The platform's tables.
        report_id: The report that was not accepted by itself.
        reason: Why; at least ten characters. Runs of white space become one space.
        actor: Who.

    Returns:
        The report with its override.

    Raises:
        NotFound: There is no such report.
        BadInput: The reason is too short, the name is empty or longer than 128 characters.
        Conflict: The report passed, is not the newest of its snapshot, or was accepted before.
    """
    reason, actor = " ".join(reason.split()), " ".join(actor.split())
    if len(reason) < _LEAST_REASON:
        raise BadInput(
            f"reason for accepting report {report_id}",
            found=repr(reason) if reason else "nothing",
            expected=f"at least {_LEAST_REASON} characters that tell others why, for the audit log",
            next_step="say why with --reason",
        )
    if not 0 < len(actor) <= _LONGEST_NAME:
        raise BadInput(
            f"name of who accepts report {report_id}",
            found=f"{len(actor)} characters",
            expected=f"1 to {_LONGEST_NAME}",
            next_step="give a name with --by, or leave it out",
        )
    report = find_report(database, report_id)
    if report.override is not None:
        raise _accepted_before(report)
    if report.accepted:
        raise Conflict(
            f"validation report {report_id}",
            found="passed",
            expected="a failed report",
            next_step="nothing is to be done: training and materialization take it as it is",
        )
    (newest,) = past_reports(database, limit=1, snapshot=report.snapshot)
    if newest.id != report_id:
        raise Conflict(
            f"validation report {report_id}",
            found=f"not the newest on snapshot {report.snapshot}",
            expected=f"{newest.id}, which {'passed' if newest.success else 'failed'}",
            next_step=f"run `backbeat validate report {newest.id}`, and decide about that one",
        )
    _write(database, report, reason, actor)
    return find_report(database, report_id)


def _write(database: Database, report: ValidationReport, reason: str, actor: str) -> None:
    now = utc_now()
    failed = [{"gate": name, "outcome": "fail", "sentence": f"report {report.id}"} for name in report.failed]
    declined = [
        {"gate": "comparison", "outcome": "missing", "sentence": f"report {report.id} is not compared with {snapshot}"}
        for snapshot in [report.declined]
        if snapshot is not None
    ]
    try:
        with database.session() as session:
            session.add(ValidationOverrideRow(report_id=report.id, at=now, actor=actor, reason=reason))
            session.add(
                AuditRow(
                    at=now,
                    actor=actor,
                    surface=DATA_SURFACE,
                    version=report.snapshot,
                    action=AUDIT_ACTION,
                    before=report.verdict,
                    after="accepted",
                    displaced=None,
                    verdicts=[*declined, *failed],
                    reason=reason,
                )
            )
    except IntegrityError:  # somebody else was quicker
        raise _accepted_before(find_report(database, report.id)) from None


def _accepted_before(report: ValidationReport) -> Conflict:
    told = report.override
    return Conflict(
        f"validation report {report.id}",
        found="accepted already" + ("" if told is None else f", by {told.actor} at {told.at:%Y-%m-%d %H:%M} UTC"),
        expected="a failed report that nobody has accepted",
        next_step=f"run `backbeat validate report {report.id}`, which shows the reason",
    )
