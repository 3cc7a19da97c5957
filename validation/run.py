"""Judging the current snapshot, and remembering the verdict."""

import shutil
import uuid
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from contracts.clock import utc_now
from contracts.database import Database
from contracts.files import directory_written_whole
from contracts.home import Home
from contracts.reports import ValidationReport, latest_report, store_report
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from feature_repo.offline import current_snapshot, read_table
from validation.rules import rules_digest

__all__ = ["validate_snapshot"]


def validate_snapshot(settings: Settings, home: Home, force: bool = False) -> ValidationReport:
    """Judge the current snapshot, unless the same rules have judged it already.

    The report is stored in the platform's tables; its data docs and ``report.json`` are in the home's quality
    directory. The caller holds the home's writer lock.

    Args:
        settings: The process's settings.
        home: Whose snapshot.
        force: Judge again in any case.

    Returns:
        The report, passed or not; suites and their findings are in order of severity.

    Raises:
        NotFound: Nothing was ingested yet, or a table's file is gone.
        StorageFull: The disk ran out of space.
    """
    snapshot = current_snapshot(home)
    database = Database(settings, home)
    try:
        known = latest_report(database, snapshot.id)
        if known is not None and known.rules == rules_digest() and not force:
            return known
        report = _judge(home, snapshot)
        try:
            store_report(database, report)
        except SQLAlchemyError:
            shutil.rmtree(Path(report.data_docs).parent)
            raise
        return report
    finally:
        database.close()


def _judge(home: Home, snapshot: Snapshot) -> ValidationReport:
    # Great Expectations takes seconds to import: only when there is something to judge.
    from validation.judge import judge
    from validation.pages import INDEX, write_pages
    from validation.suites.suite import Material

    tables = {name: read_table(home, snapshot, name) for name in snapshot.tables}
    now = utc_now()
    judgements = sorted(judge(Material(snapshot, tables, now)), key=lambda j: j.severity, reverse=True)
    report_id = uuid.uuid4().hex[:12]
    directory = home.quality / report_id
    report = ValidationReport(
        id=report_id,
        snapshot=snapshot.id,
        created_at=now,
        success=all(judgement.verdict.success for judgement in judgements),
        suites=[judgement.verdict for judgement in judgements],
        rules=rules_digest(),
        data_docs=str(directory / INDEX),
    )
    with directory_written_whole(directory) as scratch:
        write_pages(scratch, snapshot, report, judgements)
        (scratch / "report.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
    return report
