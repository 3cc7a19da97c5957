"""What the data that a version was trained on were judged to be."""

from typing import Any

from contracts.database import Database
from contracts.errors import NotFound
from contracts.home import Home
from contracts.reports import find_report
from contracts.settings import Settings
from contracts.surfaces import Tag
from registry.store import ModelVersion

__all__ = ["validation_of"]


def validation_of(settings: Settings, home: Home, version: ModelVersion) -> dict[str, Any] | None:
    """The validation report that training was let through with, which need not be the snapshot's newest any more.

    Args:
        settings: Name the database.
        home: Holds it in the local profile.
        version: Whose data.

    Returns:
        ``report`` (its id), ``verdict`` (``passed``, ``failed``, ``uncompared``, ``overridden`` or ``gone``),
        ``override`` (``actor``, ``at``, ``reason``) and ``data_docs``, each None where there is none; None where the
        tags name no report.
    """
    report_id = version.tags.get(Tag.VALIDATION_REPORT)
    if report_id is None:
        return None
    database = Database(settings, home)
    try:
        report = find_report(database, report_id)
    except NotFound:
        return {"report": report_id, "verdict": "gone", "override": None, "data_docs": None}
    finally:
        database.close()
    override = None if report.override is None else report.override.model_dump(mode="json")
    return {"report": report.id, "verdict": report.verdict, "override": override, "data_docs": report.data_docs}
