"""The verdict on a data snapshot, as every room but ``validation`` sees it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, NewType

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict
from sqlalchemy import func
from sqlalchemy.orm import Session

from contracts.database import Database
from contracts.errors import NotFound, ValidationFailed
from contracts.files import file_state
from contracts.home import Home
from contracts.platform import ValidationOverrideRow, ValidationRow
from contracts.snapshot import table_path

__all__ = [
    "AcceptedReport",
    "Finding",
    "Override",
    "PastReport",
    "Quarantine",
    "SuiteVerdict",
    "ValidationReport",
    "changed_since",
    "find_report",
    "latest_report",
    "past_reports",
    "require_passed",
    "store_report",
    "table_stamps",
]


def _without_nan(value: Any) -> Any:
    """JSON has neither NaN nor infinity, and Postgres refuses them: such a number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return value


def _measured(statistics: Any) -> Any:
    if not isinstance(statistics, dict):
        return statistics
    return {
        table: {name: number for name, number in of_table.items() if _without_nan(number) is not None}
        for table, of_table in statistics.items()
    }


class Finding(BaseModel):
    """One expectation that did not hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expectation: str
    column: str | None
    observed: Annotated[Any, BeforeValidator(_without_nan)]
    rule: str
    """What was expected, in words."""
    examples: list[str] = []
    """Ids of some offending rows."""
    severity: float = 1.0
    """In (0, 1], by which findings are sorted: over 0.5 for what is at fault, below for what follows from it; within
    each, the share of the rows or how far a statistic is beyond its limit."""
    advice: str = ""
    """What to do, in one sentence."""


class SuiteVerdict(BaseModel):
    """Outcome of one suite on one table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str
    table: str
    success: bool
    evaluated: int
    findings: list[Finding]
    version: int = 1
    """Of the suite."""
    notes: list[str] = []
    """What a reader should know of how it was judged, such as what could not be measured."""


class Quarantine(BaseModel):
    """What a failed report keeps apart of one table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    whole: bool
    """Whether the table as a whole is at fault, or only some of its rows."""
    rows: int
    """How many rows offend; all of the table's where it is whole."""
    file: str | None
    """Parquet file in the report's directory with the offending rows and the rule each breaks; None where whole."""
    reason: str
    remedy: Literal["drop", "replace", "none"] = "none"
    """What ``backbeat validate run --quarantine`` does: leave the rows out, take the last accepted snapshot's rows of
    the same embedding spec, or nothing, as it can do neither."""
    otherwise: Literal["replace", "none"] | None = None
    """What it does where the table does not hold without the rows either; None where nothing but rows is at fault."""


class Override(BaseModel):
    """A person's decision to accept a failed report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actor: str
    at: AwareDatetime
    reason: str


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
    dataset: str = ""
    baseline: str | None = None
    """The accepted snapshot it was compared with; None where only absolute rules judged."""
    declined: str | None = None
    """The accepted snapshot that it should have been compared with and was not, at somebody's wish. A report that
    passes by less than is known accepts nothing by itself."""
    probed: bool = True
    """False where encoding some items again was left out on request."""
    expected: str = ""
    """Digest of the embedding specs that the versions in use expected."""
    notes: list[str] = []
    """What a reader should know of how the snapshot was judged."""
    remarks: list[str] = []
    """What had been done to the snapshot, or decided about it, before it was judged."""
    learned_from: int = 0
    """Accepted snapshots whose statistics the bands were learned from."""
    statistics: Annotated[dict[str, dict[str, float]], BeforeValidator(_measured)] = {}
    """Table → its batch statistics, as far as they could be measured."""
    pictures: dict[str, str] = {}
    """Table → file in the report's directory."""
    stamps: dict[str, str] = {}
    """Table → stamp of its file when it was judged."""
    quarantine: list[Quarantine] = []
    parent: str | None = None
    """Report on the snapshot that this one was mended from."""
    replaced: list[str] = []
    """Tables of vectors that are not the delivery's: accepted ones stand in, and what came after them has none."""
    override: Override | None = None
    """Filled when it is read; the stored report stays as it was written."""
    impact: Annotated[dict[str, Any] | None, BeforeValidator(_without_nan)] = None
    """What the champion's lists would lose with this snapshot, where that was asked for."""

    @property
    def accepted(self) -> bool:
        """Whether anything may be built on the snapshot: it passed all that is known, or a person has said so."""
        return self.verdict in _ACCEPTED

    @property
    def verdict(self) -> str:
        """``passed``, ``failed``, ``uncompared`` (passed, but a comparison was declined) or ``overridden``."""
        return _verdict(self.success, self.declined, self.override is not None)

    @property
    def failed(self) -> list[str]:
        """The failed suites, each as ``suite/table``, worst first."""
        return [f"{verdict.suite}/{verdict.table}" for verdict in self.suites if not verdict.success]

    @property
    def ways_on(self) -> str:
        """What can be done where it was not accepted."""
        ways = [f"read {self.data_docs}, mend the data, then ingest and run `backbeat validate run` again"]
        if self.declined is not None:
            ways = [f"run `backbeat validate run`, which compares it with accepted snapshot {self.declined}"]
        elif self.quarantine and all(part.remedy != "none" for part in self.quarantine):
            ways.append("set what is broken aside with `backbeat validate run --quarantine`")
        ways.append(f'accept it as it is with `backbeat validate override {self.id} --reason "…"`')
        return "; or ".join(ways)


AcceptedReport = NewType("AcceptedReport", ValidationReport)
"""A report that :func:`require_passed` has let through. What training and materialization take: never a bare table."""


@dataclass(frozen=True)
class PastReport:
    """One line of the history: what is known of a report without reading its body."""

    id: str
    snapshot: str
    dataset: str
    created_at: datetime
    success: bool
    failed: tuple[str, ...]
    """The failed suites, each as ``suite/table``."""
    baseline: str | None
    overridden_by: str | None
    declined: str | None = None
    """The accepted snapshot that it was not compared with, at somebody's wish."""

    @property
    def overridden(self) -> bool:
        """Whether a person has accepted it."""
        return self.overridden_by is not None

    @property
    def accepted(self) -> bool:
        """Whether it passed all that is known, or was overridden."""
        return self.verdict in _ACCEPTED

    @property
    def verdict(self) -> str:
        """``passed``, ``failed``, ``uncompared`` (passed, but a comparison was declined) or ``overridden``."""
        return _verdict(self.success, self.declined, self.overridden)


_ACCEPTED = frozenset({"passed", "overridden"})


def _verdict(success: bool, declined: str | None, overridden: bool) -> str:
    if overridden:
        return "overridden"
    if not success:
        return "failed"
    return "passed" if declined is None else "uncompared"


def store_report(database: Database, report: ValidationReport) -> None:
    """Add a report to the platform's tables, where it is the newest from then on, whatever the clock says."""
    with database.session() as session:
        last = session.query(func.max(ValidationRow.number)).scalar()
        session.add(
            ValidationRow(
                id=report.id,
                snapshot=report.snapshot,
                created_at=report.created_at,
                success=report.success,
                dataset=report.dataset,
                baseline=report.baseline,
                failed=report.failed,
                declined=report.declined,
                number=1 + (last or 0),
                body=report.model_dump(mode="json", exclude={"override"}),
            )
        )


def latest_report(database: Database, snapshot: str) -> ValidationReport | None:
    """The newest report on a snapshot, with the override where there is one, or None."""
    with database.session() as session:
        row = session.query(ValidationRow).filter_by(snapshot=snapshot).order_by(ValidationRow.number.desc()).first()
        return None if row is None else _read(session, row)


def find_report(database: Database, report_id: str) -> ValidationReport:
    """One report, with the override where there is one.

    Raises:
        NotFound: There is none of that id.
    """
    with database.session() as session:
        row = session.get(ValidationRow, report_id)
        if row is None:
            raise NotFound(
                f"validation report {report_id!r}",
                found="none of that id",
                expected="the id of a report that was written here",
                next_step="run `backbeat validate list`",
            )
        return _read(session, row)


def _read(session: Session, row: ValidationRow) -> ValidationReport:
    report = ValidationReport.model_validate(row.body)
    accepted = session.get(ValidationOverrideRow, row.id)
    if accepted is None:
        return report
    override = Override(actor=accepted.actor, at=accepted.at, reason=accepted.reason)
    return report.model_copy(update={"override": override})


def past_reports(
    database: Database, limit: int | None = None, dataset: str | None = None, snapshot: str | None = None
) -> list[PastReport]:
    """The history, newest first; no report's body is read.

    Args:
        database: The platform's tables.
        limit: How many; all if None.
        dataset: Only of this data set.
        snapshot: Only on this snapshot.
    """
    with database.session() as session:
        query = session.query(
            ValidationRow.id,
            ValidationRow.snapshot,
            ValidationRow.dataset,
            ValidationRow.created_at,
            ValidationRow.success,
            ValidationRow.failed,
            ValidationRow.baseline,
            ValidationOverrideRow.actor,
            ValidationRow.declined,
        ).outerjoin(ValidationOverrideRow, ValidationOverrideRow.report_id == ValidationRow.id)
        if dataset is not None:
            query = query.filter(ValidationRow.dataset == dataset)
        if snapshot is not None:
            query = query.filter(ValidationRow.snapshot == snapshot)
        rows = query.order_by(ValidationRow.number.desc())
        return [
            PastReport(row[0], row[1], row[2] or "", row[3], row[4], tuple(row[5] or ()), row[6], row[7], row[8])
            for row in (rows if limit is None else rows.limit(limit))
        ]


def table_stamps(home: Home, snapshot: str, tables: Iterable[str]) -> dict[str, str]:
    """Table → stamp of its file; ``absent`` where the file is gone. Costs no more than a look at the directory."""
    return {table: _stamp(home, snapshot, table) for table in tables}


def changed_since(home: Home, report: ValidationReport) -> list[str]:
    """The tables whose files are no more what a report judged, or are gone."""
    now = table_stamps(home, report.snapshot, report.stamps)
    return [table for table, stamp in report.stamps.items() if now[table] != stamp]


def _stamp(home: Home, snapshot: str, table: str) -> str:
    try:
        return file_state(table_path(home, snapshot, table))
    except FileNotFoundError:
        return "absent"


def require_passed(database: Database, home: Home, snapshot: str) -> AcceptedReport:
    """The gate between data and everything downstream.

    Args:
        database: The platform's tables.
        home: Holds the snapshot's files, which must be those that were judged.
        snapshot: Id of the data.

    Raises:
        ValidationFailed: The snapshot was never judged, its newest report failed or declined a comparison and nobody
            has accepted it, or a file has changed since.
    """
    report = latest_report(database, snapshot)
    if report is None:
        raise ValidationFailed(
            f"snapshot {snapshot}",
            found="no validation report",
            expected="a passed one",
            next_step="run `backbeat validate run`",
        )
    if not report.accepted:
        held = f", whose comparison with accepted snapshot {report.declined} was declined"
        raise ValidationFailed(
            f"snapshot {snapshot}",
            found=f"report {report.id}"
            + (held if report.success else f" with failed suites {', '.join(report.failed)}"),
            expected="a report that passed, or that somebody has accepted",
            next_step=report.ways_on,
        )
    changed = changed_since(home, report)
    if changed:
        raise ValidationFailed(
            f"snapshot {snapshot}",
            found=f"changed files since report {report.id} judged them: "
            + ", ".join(str(table_path(home, snapshot, table)) for table in changed),
            expected="the files that were judged",
            next_step="run `backbeat validate run`, which checks their content and judges them again",
        )
    return AcceptedReport(report)
