"""Verdicts on snapshots, as a validation would have left them."""

from contracts.clock import utc_now
from contracts.database import Database
from contracts.home import Home
from contracts.reports import ValidationReport, store_report
from contracts.settings import Settings

__all__ = ["judge"]


def judge(settings: Settings, home: Home, snapshot: str, *, success: bool) -> None:
    """Store a verdict on a snapshot, without the stamps of files."""
    now, name = utc_now(), f"report-{success}"
    report = ValidationReport(id=name, snapshot=snapshot, created_at=now, success=success, suites=[], data_docs="docs")
    database = Database(settings, home)
    store_report(database, report)
    database.close()
