"""Copying the newest feature values to the online store."""

import sqlite3
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from contracts.console import progress
from contracts.current import current_snapshot_id
from contracts.database import Database
from contracts.errors import NotFound
from contracts.home import Home
from contracts.job_run import new_job
from contracts.jobs import latest_job, snapshots_done
from contracts.reports import require_passed
from contracts.settings import Settings
from feature_repo.definitions import ENTITIES, definitions_digest
from feature_repo.offline import current_snapshot, event_period, read_snapshot
from feature_repo.quiet import quietly
from feature_repo.store import require_applied, servers_answer

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["JOB_KIND", "materialize", "materialized_snapshot"]

JOB_KIND = "materialize"


def materialize(settings: Settings, home: Home, force: bool = False) -> dict[str, Any]:
    """Write the newest values of all views of the current snapshot to the online store.

    Safe to repeat and to interrupt: a row is never replaced by an older one, and a run that did not end is
    recorded as such and run again. A run is left out only where the last one ended well and the store still has
    what it wrote.

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
        store = require_applied(settings, home, snapshot)
        start, end = event_period(home, snapshot)
        views = [view.name for view in store.list_feature_views()]
        done = None if force else latest_job(database, JOB_KIND, snapshot.id, "done")
        if (
            done is not None
            and done.detail["definitions"] == definitions_digest(home, snapshot)
            and all(_is_online(store, view, end) for view in views)
        ):
            return {"snapshot": snapshot.id, "outcome": "unchanged", **done.detail}
        with (
            new_job(database, JOB_KIND, snapshot.id, views) as run,
            progress("materializing feature views", len(views)) as advance,
        ):
            run.detail |= {"views": views, "definitions": definitions_digest(home, snapshot)}
            for view in views:
                with servers_answer(), quietly():
                    store.materialize(start, end, feature_views=[view])
                advance(note=view)
        return {"snapshot": snapshot.id, "outcome": "materialized", **run.detail}
    finally:
        database.close()


def materialized_snapshot(database: Database, home: Home, trained: str) -> str | None:
    """Id of the snapshot whose online features a model may be served with; None where none was materialized.

    Ids mean the same users and videos only within one data set. So it is the current snapshot where that is of the
    data set the model was trained on, else the one of that data set that was materialized last.

    Args:
        database: The platform's tables.
        home: Where the snapshots are.
        trained: Id of the snapshot the model was trained on.
    """
    done = snapshots_done(database, JOB_KIND)
    current = current_snapshot_id(home)
    dataset = _dataset(home, trained)
    for snapshot_id in sorted(done, key=lambda each: each != current):
        if snapshot_id == trained or (dataset is not None and _dataset(home, snapshot_id) == dataset):
            return snapshot_id
    return None


def _dataset(home: Home, snapshot_id: str) -> str | None:
    try:
        return read_snapshot(home, snapshot_id).dataset
    except NotFound:  # its tables were removed; its online features may still be there
        return None


def _is_online(store: "FeatureStore", name: str, end: datetime) -> bool:
    """Whether a view was materialized up to an instant and the online store knows the first entity of its source."""
    view = store.get_feature_view(name)
    if view.most_recent_end_time is None or view.most_recent_end_time < end:
        return False
    key = ENTITIES[view.entities[0]]
    first = next(pq.ParquetFile(view.batch_source.path).iter_batches(batch_size=1, columns=[key]), None)
    if first is None:
        return True
    feature = view.features[0].name
    try:
        with servers_answer():
            answer = store.get_online_features([f"{name}:{feature}"], [{key: first[key][0].as_py()}])
    except sqlite3.OperationalError:  # the file of the online store is gone, and its tables with it
        return False
    return answer.to_dict()[feature][0] is not None
