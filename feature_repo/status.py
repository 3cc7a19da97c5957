"""How far the current snapshot has come on its way to the online store, and how fresh each view is there."""

from datetime import datetime
from typing import Any

from contracts.clock import utc_now
from contracts.database import Database
from contracts.files import file_stamp
from contracts.home import Home
from contracts.jobs import RESUMABLE, JobState, list_jobs, state_of
from contracts.materializing import MATERIALIZE
from contracts.platform import JobRow, OnlineViewRow
from contracts.reports import latest_report
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from feature_repo.definitions import definitions_digest
from feature_repo.materialization.repeats import tell_jobs
from feature_repo.materialization.sources import newest
from feature_repo.materialization.watermarks import files_written, online_views
from feature_repo.materialize import materialized_snapshot
from feature_repo.offline import current_snapshot
from feature_repo.store import is_applied
from feature_repo.views.catalogue import View, views_of

__all__ = ["feature_status"]

_HISTORY = 5


def feature_status(settings: Settings, home: Home) -> dict[str, Any]:
    """Facts about the current snapshot.

    Returns:
        ``snapshot``, ``dataset``, ``source``, rows per table, whether its features are ``applied``; how its newest
        validation report has it ``validated`` (``passed``, ``failed``, ``overridden`` or None); the state of its newest
        materialization; the snapshot whose features are ``served`` to models of its data set, which is an earlier one
        while this one is not materialized; ``views``, one document each (see below); ``jobs``, the newest five on
        the snapshot as `backbeat features jobs` tells them; ``next``, the commands to run.

        A view has its ``name``; ``state``: ``online``, ``behind`` (rows have become known since its watermark),
        ``writing``, ``outdated`` (its definitions have changed, or its file was computed again), ``missing`` (online
        it is not, or not whole) or ``not computed``; ``newest``, the newest event time offline; its ``watermark``:
        everything known until then is online; ``age_s``, the seconds since that; ``rows`` online as of the watermark;
        and the ``job`` that wrote it last. Instants are ISO 8601.

    Raises:
        NotFound: Nothing was ingested.
    """
    snapshot = current_snapshot(home)
    database = Database(settings, home)
    try:
        report = latest_report(database, snapshot.id)
        jobs = list_jobs(database, MATERIALIZE, snapshot.id)
        served = materialized_snapshot(database, home, snapshot.id)
        online = online_views(database, snapshot.id)
        views = _views(home, snapshot, online, files_written(database, online), jobs)
        told = tell_jobs(database, jobs[:_HISTORY])
    finally:
        database.close()
    begun = [row for row in jobs if state_of(row) is not JobState.QUEUED]
    document = {
        "snapshot": snapshot.id,
        "dataset": snapshot.dataset,
        "source": snapshot.source,
        "tables": {name: info.rows for name, info in snapshot.tables.items()},
        "applied": is_applied(settings, home, snapshot.id),
        "validated": None if report is None else report.verdict,
        "materialized": str(state_of(begun[0])) if begun else None,
        "served": served,
        "views": views,
        "jobs": told,
    }
    return document | {"next": _next_steps(document)}


def _views(
    home: Home, snapshot: Snapshot, online: dict[str, OnlineViewRow], files: dict[str, str], jobs: list[JobRow]
) -> list[dict[str, Any]]:
    definitions = definitions_digest(home, snapshot)
    writing = {view for row in jobs if state_of(row) is JobState.RUNNING for view in row.subjects}
    return [
        _view(view, online.get(name), definitions, files.get(name, ""), name in writing)
        for name, view in sorted(views_of(home, snapshot).items())
    ]


def _view(view: View, row: OnlineViewRow | None, definitions: str, file: str, writing: bool) -> dict[str, Any]:
    there = view.path.is_file()
    times = [newest(view.path, column) for column in ("event_time", "ingested_at")] if there else []
    known = max((time for time in times if time is not None), default=None)
    watermark = None if row is None else row.watermark
    if not there:
        state = "not computed"
    elif writing:
        state = "writing"
    elif row is None or watermark is None:
        state = "missing"
    elif row.definitions != definitions or file not in ("", file_stamp(view.path)):
        state = "outdated"
    else:
        state = "behind" if known is not None and watermark < known else "online"
    return {
        "name": view.name,
        "entity": view.entity,
        "state": state,
        "newest": _text(times[0]) if times else None,
        "watermark": _text(watermark),
        "age_s": None if watermark is None else round((utc_now() - watermark).total_seconds()),
        "rows": 0 if row is None else row.rows,
        "job": None if row is None else row.job_id,
    }


def _next_steps(document: dict[str, Any]) -> list[str]:
    """What has to be run until everything is online, in that order."""
    steps = []
    states = {view["state"] for view in document["views"]}
    if not document["applied"] or "not computed" in states:
        steps.append("backbeat features apply")
    if document["validated"] is None:
        steps.append("backbeat validate run")
    elif document["validated"] == "failed":  # the gate is shut: nothing of the below would go through
        return [*steps, "backbeat validate report"]
    queued = [job["id"] for job in document["jobs"] if job["state"] == JobState.QUEUED]
    stopped = next((job["id"] for job in document["jobs"] if job["state"] != JobState.QUEUED), None)
    newest_state = document["materialized"]
    if states & {"missing", "behind", "outdated"} and newest_state != JobState.RUNNING:
        if newest_state in RESUMABLE:
            steps.append(f"backbeat features resume {stopped}")
        else:
            steps.append("backbeat features materialize")
    if queued:
        steps.append("backbeat features work --once")
    return steps


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
