"""Copying the newest feature values to the online store: what a command or a page asks for."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from contracts.current import current_snapshot_id
from contracts.database import Database
from contracts.errors import NotFound
from contracts.home import Home
from contracts.job_run import JobRun, new_job
from contracts.jobs import RESUMABLE, JobState, describe_job, find_job, list_jobs, snapshots_done, state_of
from contracts.materializing import MATERIALIZE, materialization_parameters, order_materialization
from contracts.platform import JobRow
from contracts.reports import past_reports, require_passed
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from feature_repo.materialization.rehearsal import count_changes
from feature_repo.materialization.run import spans_of
from feature_repo.materialization.sources import sources_of
from feature_repo.materialization.worker import attempt
from feature_repo.offline import current_snapshot, read_snapshot
from feature_repo.store import applied_definitions, require_applied, servers_answer

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = [
    "dry_run",
    "materialize",
    "materialized_snapshot",
    "queue_materialization",
]


def materialize(
    settings: Settings,
    home: Home,
    force: bool = False,
    views: Sequence[str] | None = None,
    until: datetime | None = None,
    memory: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write what is missing online of the current snapshot's views, as a job of this process.

    Where the newest job on the same views was paused, interrupted or has failed, it goes on with that job at the
    chunk after its last checkpoint, with the memory and the seed given now. A row is never replaced by an older one,
    so repeating is harmless.

    Args:
        settings: Name the profile.
        home: Which home. Its writer lock is not needed.
        force: Write all rows even where nothing is missing.
        views: Which views; all of the snapshot if None.
        until: Rows that were known up to this instant; all if None.
        memory: Cap on this process's memory, bytes; None for 2 GiB, or 1 GiB above what it holds already.
        seed: Of the sample that is compared at the end.

    Returns:
        ``snapshot``, ``outcome`` (``materialized``, ``unchanged``, ``paused`` or ``cancelled``), ``views``, the digest
        of their ``definitions``, and, unless nothing was to be done, the ``job`` in its JSON form.

    Raises:
        ValidationFailed: The snapshot has no passed validation report, or a value online differs from offline.
        NotFound: Its features are not applied, or a view is unknown.
        BadInput: The memory cap is too small.
        Conflict: Another job is at work on one of the views.
        ServiceUnavailable: A server of the production profile does not answer.
    """
    database = Database(settings, home)
    try:
        snapshot, store, names = _ready(settings, home, database, views)
        parameters = materialization_parameters(force, until, memory, seed)
        unfinished = None if force else _unfinished(database, snapshot, names, parameters)
        if unfinished is None and not force:
            with servers_answer():
                spans = spans_of(database, store, snapshot.id, names, until)
            if not spans and _was_done(database, snapshot, names):
                facts = {"views": names, "definitions": applied_definitions(store)}
                return {"snapshot": snapshot.id, "outcome": "unchanged", **facts}
        if unfinished is not None:
            # A cap that was too small, say, is not what the work fails on for ever.
            run = JobRun(database, unfinished.id, {"memory": memory, "seed": seed})
        else:
            run = new_job(database, MATERIALIZE, snapshot.id, names, parameters)
        return _work(settings, home, database, run)
    finally:
        database.close()


def queue_materialization(
    settings: Settings,
    home: Home,
    force: bool = False,
    views: Sequence[str] | None = None,
    until: datetime | None = None,
    memory: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write a job for `backbeat features work` to do; arguments and faults as of :func:`materialize`.

    Returns:
        ``snapshot``, ``outcome`` (``queued``), ``views`` and the ``job`` in its JSON form.
    """
    database = Database(settings, home)
    try:
        snapshot, _, names = _ready(settings, home, database, views)
        job_id = order_materialization(
            database, snapshot.id, names, materialization_parameters(force, until, memory, seed)
        )
        told = describe_job(find_job(database, job_id))
        return {"snapshot": snapshot.id, "outcome": "queued", "views": names, "job": told}
    finally:
        database.close()


def dry_run(
    settings: Settings,
    home: Home,
    force: bool = False,
    views: Sequence[str] | None = None,
    until: datetime | None = None,
    memory: int | None = None,
) -> dict[str, Any]:
    """Count what :func:`materialize` would write, and write nothing: no row, no job.

    Returns:
        ``snapshot``, ``outcome`` (``dry run``), ``views`` and ``would``: view → ``rows`` that would be written and how
        many of them would ``change`` what is online.
    """
    database = Database(settings, home)
    try:
        snapshot, store, names = _ready(settings, home, database, views)
        would = count_changes(database, store, snapshot.id, names, force, until, memory)
        return {"snapshot": snapshot.id, "outcome": "dry run", "views": names, "would": would}
    finally:
        database.close()


def materialized_snapshot(database: Database, home: Home, trained: str) -> str | None:
    """Id of the snapshot whose online features a model may be served with; None where none was materialized.

    Ids mean the same users and videos only within one data set. So it is the current snapshot where that is of the
    data set the model was trained on, else the one of that data set that was materialized last. A snapshot of which
    only some views were ever materialized does not count; one whose newest validation report has failed meanwhile,
    judged by newer rules, counts only where there is no other.

    Args:
        database: The platform's tables.
        home: Where the snapshots are.
        trained: Id of the snapshot the model was trained on.
    """
    done = snapshots_done(database, MATERIALIZE)
    current = current_snapshot_id(home)
    dataset = _dataset(home, trained)
    refused = None
    for snapshot_id in sorted(done, key=lambda each: each != current):
        if snapshot_id == trained or (dataset is not None and _dataset(home, snapshot_id) == dataset):
            if all(report.accepted for report in past_reports(database, limit=1, snapshot=snapshot_id)):
                return snapshot_id
            refused = refused or snapshot_id
    return refused


def _dataset(home: Home, snapshot_id: str) -> str | None:
    try:
        return read_snapshot(home, snapshot_id).dataset
    except NotFound:  # its tables were removed; its online features may still be there
        return None


def _ready(
    settings: Settings, home: Home, database: Database, views: Sequence[str] | None
) -> tuple[Snapshot, "FeatureStore", list[str]]:
    """The gate that all the above pass: a judged snapshot whose features are applied, and known views."""
    snapshot = current_snapshot(home)
    require_passed(database, home, snapshot.id)
    store = require_applied(settings, home, snapshot)
    with servers_answer():
        return snapshot, store, [source.name for source in sources_of(store, views)]


def _unfinished(database: Database, snapshot: Snapshot, views: list[str], parameters: dict[str, Any]) -> JobRow | None:
    """The newest job that was begun on the snapshot, where it is the same work and has not ended."""
    begun = (row for row in list_jobs(database, MATERIALIZE, snapshot.id) if state_of(row) is not JobState.QUEUED)
    row = next(begun, None)
    if row is None or state_of(row) not in RESUMABLE:
        return None
    same = sorted(row.subjects) == sorted(views) and row.parameters.get("until") == parameters["until"]
    return row if same else None


def _was_done(database: Database, snapshot: Snapshot, views: list[str]) -> bool:
    """Whether some job on the snapshot says that these views are served; else an empty one has to say so."""
    done = list_jobs(database, MATERIALIZE, snapshot.id, JobState.DONE)
    return any(row.detail.get("complete", True) or set(row.subjects) >= set(views) for row in done)


def _work(settings: Settings, home: Home, database: Database, run: JobRun) -> dict[str, Any]:
    attempt(settings, home, database, run, MATERIALIZE)
    outcome = "materialized" if run.state is JobState.DONE else str(run.state)
    facts = {"views": run.subjects, "definitions": run.checkpoint.get("definitions")}
    told = describe_job(find_job(database, run.id))
    return {"snapshot": run.snapshot, "outcome": outcome, **facts, "job": told}
