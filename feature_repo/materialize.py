"""Copying the newest feature values to the online store."""

from datetime import datetime
from typing import Any

import pyarrow.compute as pc

from contracts.clock import to_utc
from contracts.console import progress
from contracts.database import Database
from contracts.home import Home
from contracts.jobs import job, latest_job
from contracts.reports import require_passed
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from feature_repo.definitions import definitions_digest, views_of
from feature_repo.offline import current_snapshot, read_table
from feature_repo.quiet import quietly
from feature_repo.store import require_applied, servers_answer

__all__ = ["JOB_KIND", "materialize", "materialized_snapshot"]

JOB_KIND = "materialize"


def materialize(settings: Settings, home: Home, force: bool = False) -> dict[str, Any]:
    """Write the newest values of all views of the current snapshot to the online store.

    Safe to repeat and to interrupt: a row is never replaced by an older one, and a run that did not end is
    recorded as such and run again.

    Args:
        settings: Name the profile.
        home: Which home; the caller holds its writer lock.
        force: Write again even where it was done before.

    Returns:
        ``snapshot``, ``outcome`` (``materialized`` or ``unchanged``), ``views`` and the digest of their
        ``definitions``.

    Raises:
        ValidationFailed: The snapshot has no passed validation report.
        NotFound: Its features are not applied.
        ServiceUnavailable: A server of the production profile does not answer.
    """
    snapshot = current_snapshot(home)
    database = Database(settings, home)
    try:
        require_passed(database, snapshot.id)
        done = None if force else latest_job(database, JOB_KIND, snapshot.id, "done")
        if done is not None and done.detail["definitions"] == definitions_digest(home, snapshot):
            return {"snapshot": snapshot.id, "outcome": "unchanged", **done.detail}
        store = require_applied(settings, home, snapshot)
        start, end = _period(home, snapshot)
        views = views_of(snapshot)
        with (
            job(database, JOB_KIND, snapshot.id) as detail,
            progress("materializing feature views", len(views)) as advance,
        ):
            detail |= {"views": views, "definitions": definitions_digest(home, snapshot)}
            for view in views:
                with servers_answer(), quietly():
                    store.materialize(start, end, feature_views=[view])
                advance(note=view)
        return {"snapshot": snapshot.id, "outcome": "materialized", **detail}
    finally:
        database.close()


def materialized_snapshot(database: Database, home: Home) -> str | None:
    """Id of the snapshot whose features are to be served: the current one, else the last one materialized."""
    current = current_snapshot(home).id
    newest = latest_job(database, JOB_KIND, current, "done") or latest_job(database, JOB_KIND, state="done")
    return newest.snapshot if newest else None


def _period(home: Home, snapshot: Snapshot) -> tuple[datetime, datetime]:
    """First and last event time over all tables."""
    bounds = [
        pc.min_max(read_table(home, snapshot, name, ["event_time"])["event_time"]).as_py() for name in snapshot.tables
    ]
    return to_utc(min(b["min"] for b in bounds)), to_utc(max(b["max"] for b in bounds))
