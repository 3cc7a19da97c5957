"""Long work as rows of the jobs table, so that others can watch it and the next run knows how the last one ended."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from contracts.clock import utc_now
from contracts.database import Database
from contracts.platform import JobRow

__all__ = ["job", "latest_job", "snapshots_done"]


@contextmanager
def job(database: Database, kind: str, snapshot: str) -> Iterator[dict[str, Any]]:
    """Record a piece of work from start to end, however it ends.

    A process that was killed leaves its job ``running``. The next job of that kind closes it as ``interrupted``:
    the caller holds the home's writer lock, so nobody else can be at work. Its ``ended_at`` is then the time of
    that discovery.

    Args:
        database: The platform's tables.
        kind: What is done, e.g. ``"materialize"``.
        snapshot: The data it works on.

    Yields:
        A dict of facts about the job; what stands in it at the end is stored.
    """
    job_id, detail, now = uuid.uuid4().hex, dict[str, Any](), utc_now()
    with database.session() as session:
        stale = session.query(JobRow).filter_by(kind=kind, state="running")
        stale.update({"state": "interrupted", "ended_at": now})
        session.add(JobRow(id=job_id, kind=kind, snapshot=snapshot, state="running", started_at=now, detail=detail))
    state = "failed"
    try:
        yield detail
        state = "done"
    except KeyboardInterrupt:
        state = "interrupted"
        raise
    finally:
        with database.session() as session:
            row = session.get_one(JobRow, job_id)
            row.state, row.ended_at, row.detail = state, utc_now(), detail


def latest_job(database: Database, kind: str, snapshot: str | None = None, state: str | None = None) -> JobRow | None:
    """The newest job of a kind, detached from its session; of one snapshot or state only, where they are given."""
    wanted = {"kind": kind, "snapshot": snapshot, "state": state}
    with database.session() as session:
        query = session.query(JobRow).filter_by(**{name: value for name, value in wanted.items() if value is not None})
        row = query.order_by(JobRow.started_at.desc()).first()
        if row is not None:
            session.expunge(row)
        return row


def snapshots_done(database: Database, kind: str) -> list[str]:
    """Snapshots on which a job of a kind was done, each once, the most recently done first."""
    with database.session() as session:
        rows = session.query(JobRow.snapshot).filter_by(kind=kind, state="done").order_by(JobRow.started_at.desc())
        return list(dict.fromkeys(snapshot for (snapshot,) in rows))
