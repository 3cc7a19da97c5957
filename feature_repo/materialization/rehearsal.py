"""Counting what a materialization would write, and writing nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from contracts.console import progress
from contracts.database import Database
from contracts.home import Home
from contracts.job_run import JobRun
from contracts.reports import require_passed
from contracts.settings import Settings
from feature_repo.materialization.check import changed_rows
from feature_repo.materialization.memory import chunk_bytes_below
from feature_repo.materialization.online import OnlineView
from feature_repo.materialization.run import spans_of, whole_spans
from feature_repo.materialization.sources import largest
from feature_repo.offline import read_snapshot
from feature_repo.store import require_applied, servers_answer
from feature_repo.stores.plan import plan, read_chunks

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["count_changes", "run_rehearsal"]


def count_changes(
    database: Database,
    store: "FeatureStore",
    snapshot: str,
    views: Sequence[str],
    force: bool,
    until: datetime | None,
    memory: int | None,
) -> dict[str, dict[str, int]]:
    """View → ``rows`` that would be written and how many of them would ``change`` what is online."""
    with servers_answer():
        spans = whole_spans(store, views, until) if force else spans_of(database, store, snapshot, views, until)
        size = chunk_bytes_below(memory, *largest(span.source for span in spans))
        would = {name: {"rows": 0, "change": 0} for name in views}
        with progress("comparing feature views", len(spans)) as advance:
            for span in spans:
                source, online = span.source, OnlineView(store, span.source)
                planned = plan(source.path, source.key, span.start, span.end, size)
                change = sum(changed_rows(source, online, rows, span.end) for _, rows in read_chunks(planned))
                would[source.name] = {"rows": len(planned.rows), "change": change}
                advance(note=source.name)
    return would


def run_rehearsal(settings: Settings, home: Home, database: Database, run: JobRun) -> None:
    """Do a job of the kind ``rehearse`` that has been entered; its detail has ``would`` afterwards.

    Raises:
        ValidationFailed: The snapshot has no passed report.
        NotFound: Its features are not applied, or a view is unknown.
        BadInput: The memory cap is too small.
        ServiceUnavailable: A server does not answer.
    """
    require_passed(database, home, run.snapshot)
    store = require_applied(settings, home, read_snapshot(home, run.snapshot))
    told = run.parameters
    until = None if told["until"] is None else datetime.fromisoformat(told["until"])
    run.detail["would"] = count_changes(
        database, store, run.snapshot, run.subjects, bool(told["force"]), until, told["memory"]
    )
    rows = sum(view["rows"] for view in run.detail["would"].values())
    run.save({}, done=len(run.subjects), total=len(run.subjects), rows=rows)
