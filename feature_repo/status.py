"""How far the current snapshot has come on its way to the online store."""

from typing import Any

from contracts.database import Database
from contracts.home import Home
from contracts.jobs import latest_job
from contracts.reports import latest_report
from contracts.settings import Settings
from feature_repo.materialize import JOB_KIND, materialized_snapshot
from feature_repo.offline import current_snapshot
from feature_repo.store import is_applied

__all__ = ["feature_status"]


def feature_status(settings: Settings, home: Home) -> dict[str, Any]:
    """Facts about the current snapshot.

    Returns:
        ``snapshot``, ``dataset``, ``source``, rows per table, whether its features are ``applied``, the verdict
        of its newest validation report, the state of its newest materialization, and the snapshot whose features
        are ``served`` to models of its data set.

    Raises:
        NotFound: Nothing was ingested.
    """
    snapshot = current_snapshot(home)
    database = Database(settings, home)
    try:
        report = latest_report(database, snapshot.id)
        newest = latest_job(database, JOB_KIND, snapshot.id)
        served = materialized_snapshot(database, home, snapshot.id)
    finally:
        database.close()
    return {
        "snapshot": snapshot.id,
        "dataset": snapshot.dataset,
        "source": snapshot.source,
        "tables": {name: info.rows for name, info in snapshot.tables.items()},
        "applied": is_applied(settings, home, snapshot.id),
        "validated": None if report is None else "passed" if report.success else "failed",
        "materialized": None if newest is None else newest.state,
        "served": served,
    }
