"""The verdict on a data snapshot, as every room but ``validation`` sees it."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from contracts.database import Database
from contracts.errors import ValidationFailed
from contracts.platform import ValidationRow

__all__ = ["Finding", "SuiteVerdict", "ValidationReport", "latest_report", "require_passed", "store_report"]


class Finding(BaseModel):
    """One expectation that did not hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expectation: str
    column: str | None
    observed: Any
    rule: str
    """What was expected, in words."""
    examples: list[str] = []
    """Ids of some offending rows."""


class SuiteVerdict(BaseModel):
    """Outcome of one suite on one table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str
    table: str
    success: bool
    evaluated: int
    findings: list[Finding]


class ValidationReport(BaseModel):
    """Outcome of all suites on one snapshot."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    snapshot: str
    created_at: AwareDatetime
    success: bool
    suites: list[SuiteVerdict]
    rules: str = ""
    """Digest of the rules that judged it; a report by other rules is not reused."""
    data_docs: str
    """Path of the human-readable pages."""

    def worst(self, limit: int = 3) -> list[tuple[str, Finding]]:
        """The first findings of the failed suites, as ``(suite, finding)``."""
        found = [(verdict.suite, finding) for verdict in self.suites for finding in verdict.findings]
        return found[:limit]


def store_report(database: Database, report: ValidationReport) -> None:
    """Add a report to the platform's tables."""
    with database.session() as session:
        session.add(
            ValidationRow(
                id=report.id,
                snapshot=report.snapshot,
                created_at=report.created_at,
                success=report.success,
                body=report.model_dump(mode="json"),
            )
        )


def latest_report(database: Database, snapshot: str) -> ValidationReport | None:
    """The newest report on a snapshot, or None."""
    with database.session() as session:
        row = (
            session.query(ValidationRow).filter_by(snapshot=snapshot).order_by(ValidationRow.created_at.desc()).first()
        )
        return ValidationReport.model_validate(row.body) if row else None


def require_passed(database: Database, snapshot: str) -> ValidationReport:
    """The gate between data and everything downstream.

    Raises:
        ValidationFailed: The snapshot was never judged, or its newest report failed.
    """
    report = latest_report(database, snapshot)
    if report is None:
        raise ValidationFailed(
            f"snapshot {snapshot}",
            found="no validation report",
            expected="a passed one",
            next_step="run `backbeat validate run`",
        )
    if not report.success:
        failed = ", ".join(v.suite for v in report.suites if not v.success)
        raise ValidationFailed(
            f"snapshot {snapshot}",
            found=f"report {report.id} with failed suites {failed}",
            expected="a passed report",
            next_step=f"read {report.data_docs}, mend the data, then ingest and run `backbeat validate run` again",
        )
    return report
