"""Long work as rows of the jobs table: which states there are, who may move a job, and how to find one.

The attempt at the work itself is a :class:`contracts.job_run.JobRun`.
"""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import update
from sqlalchemy.orm import Session

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import Conflict, NotFound
from contracts.liveness import Holder, is_alive
from contracts.platform import JobLockRow, JobRow

__all__ = [
    "MOVES",
    "RESUMABLE",
    "JobState",
    "bury_dead",
    "cancel_job",
    "describe_job",
    "draft_job",
    "find_job",
    "latest_job",
    "list_jobs",
    "move_job",
    "pause_job",
    "queue_job",
    "requeue_job",
    "snapshots_done",
    "state_of",
]


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    """Stopped at a checkpoint because somebody asked for it."""
    INTERRUPTED = "interrupted"
    """Its process was stopped or killed."""
    FAILED = "failed"
    DONE = "done"
    CANCELLED = "cancelled"


_Q, _R, _P, _I = JobState.QUEUED, JobState.RUNNING, JobState.PAUSED, JobState.INTERRUPTED
_F, _D, _C = JobState.FAILED, JobState.DONE, JobState.CANCELLED

MOVES: Final[Mapping[JobState, frozenset[JobState]]] = {
    _Q: frozenset({_R, _P, _C}),
    _R: frozenset({_P, _I, _F, _D, _C}),
    _P: frozenset({_Q, _R, _C}),
    _I: frozenset({_Q, _R, _C}),
    _F: frozenset({_Q, _R, _C}),
    _D: frozenset(),
    _C: frozenset(),
}
"""State → the states that may follow. No job moves in any other way."""

RESUMABLE: Final = frozenset({_P, _I, _F})
"""States from which work goes on at the last checkpoint."""


def queue_job(
    database: Database, kind: str, snapshot: str, subjects: Iterable[str], parameters: Mapping[str, Any] | None = None
) -> str:
    """Write a job for a worker to find.

    Args:
        database: The platform's tables.
        kind: What is to be done, e.g. ``"materialize"``.
        snapshot: The data it works on.
        subjects: What no other job of the kind may work on meanwhile.
        parameters: How it is to be done; JSON.

    Returns:
        The job's id.
    """
    row = draft_job(kind, snapshot, subjects, parameters)
    with database.session() as session:
        session.add(row)
        return row.id


def draft_job(kind: str, snapshot: str, subjects: Iterable[str], parameters: Mapping[str, Any] | None = None) -> JobRow:
    """A queued job that is in no database yet."""
    return JobRow(
        id=uuid.uuid4().hex[:12],
        kind=kind,
        snapshot=snapshot,
        subjects=list(subjects),
        parameters=dict(parameters or {}),
        state=_Q,
        created_at=utc_now(),
        done=0,
        rows=0,
        checkpoint={},
        detail={},
        attempts=0,
    )


def find_job(database: Database, job_id: str) -> JobRow:
    """A job by its id or the beginning of it, detached from its session.

    Raises:
        NotFound: No job, or more than one, has an id that begins so.
    """
    with database.session() as session:
        found = session.query(JobRow).filter(JobRow.id.startswith(job_id, autoescape=True)).limit(2).all()
        exact = [row for row in found if row.id == job_id] or found
        if len(exact) == 1 and job_id:
            session.expunge(exact[0])
            return exact[0]
    raise NotFound(
        f"job {job_id!r}",
        found="more than one job whose id begins so" if found else "no job of that id",
        expected="the id of a job, or the beginning of one",
        next_step="run `backbeat features jobs` to see them",
    )


def list_jobs(
    database: Database,
    kind: str | None = None,
    snapshot: str | None = None,
    state: str | None = None,
    limit: int | None = None,
) -> list[JobRow]:
    """Jobs, the newest first, detached from their session; of one kind, snapshot or stored state where given."""
    wanted = {"kind": kind, "snapshot": snapshot, "state": state}
    with database.session() as session:
        query = session.query(JobRow).filter_by(**{name: value for name, value in wanted.items() if value is not None})
        rows = query.order_by(JobRow.created_at.desc(), JobRow.id).limit(limit).all()
        session.expunge_all()
        return rows


def latest_job(database: Database, kind: str, snapshot: str | None = None, state: str | None = None) -> JobRow | None:
    """The newest job of a kind; of one snapshot or state only, where they are given."""
    return next(iter(list_jobs(database, kind, snapshot, state, limit=1)), None)


def snapshots_done(database: Database, kind: str) -> list[str]:
    """Snapshots on which the whole of a kind of work was done, each once, the most recently done first.

    A job whose detail says ``"complete": false`` did only a part.
    """
    with database.session() as session:
        rows = session.query(JobRow.snapshot, JobRow.detail).filter_by(kind=kind, state=_D)
        done = rows.order_by(JobRow.ended_at.desc()).all()
    return list(dict.fromkeys(snapshot for snapshot, detail in done if detail.get("complete", True)))


def state_of(row: JobRow) -> JobState:
    """The state of a job, ``interrupted`` where its process is gone without having said so."""
    if row.state == _R and not _held(row):
        return _I
    return JobState(row.state)


def describe_job(row: JobRow) -> dict[str, Any]:
    """The JSON form of a job, the same in the command line and the UI. Instants are ISO 8601, memory is in bytes."""
    return {
        "id": row.id,
        "kind": row.kind,
        "snapshot": row.snapshot,
        "state": str(state_of(row)),
        "subjects": row.subjects,
        "parameters": row.parameters,
        "requested": row.requested,
        "done": row.done,
        "total": row.total,
        "rows": row.rows,
        "rows_per_second": row.rows_per_second,
        "peak_memory": row.peak_memory,
        "error": row.error,
        "attempts": row.attempts,
        "created_at": _text(row.created_at),
        "started_at": _text(row.started_at),
        "ended_at": _text(row.ended_at),
        "heartbeat_at": _text(row.heartbeat_at),
        "host": row.host,
        "pid": row.pid,
        "detail": row.detail,
    }


def move_job(session: Session, row: JobRow, after: JobState, **values: Any) -> None:
    """Move a job within a transaction, provided that nobody has moved it since ``row`` was read.

    A job that leaves ``running`` gives back its locks in the same transaction.

    Raises:
        Conflict: :data:`MOVES` has no such move, or somebody was faster.
    """
    before = JobState(row.state)
    if after not in MOVES[before]:
        raise Conflict(
            f"job {row.id}",
            found=f"a job that is {before}",
            expected=f"one that may become {after}: {', '.join(s for s in MOVES if after in MOVES[s])}",
            next_step=f"run `backbeat features jobs {row.id}`",
        )
    if before is _R:
        session.query(JobLockRow).filter_by(token=row.token).delete()
        values = {"requested": None, **values}
    known = JobRow.token.is_(None) if row.token is None else JobRow.token == row.token
    statement = update(JobRow).where(JobRow.id == row.id, JobRow.state == before, known).values(state=after, **values)
    if session.execute(statement).rowcount != 1:  # type: ignore[attr-defined]
        raise Conflict(
            f"job {row.id}",
            found=f"that it is no longer {before}",
            expected="nobody else to move it meanwhile",
            next_step=f"run `backbeat features jobs {row.id}`",
        )


def bury_dead(database: Database, row: JobRow) -> bool:
    """Record that the process of a running job is gone, so that others may have its locks.

    Returns:
        Whether it was.
    """
    if row.state != _R or _held(row):
        return False
    try:
        with database.session() as session:
            move_job(session, row, _I, ended_at=utc_now())
    except Conflict:  # somebody else has found the same, or it has ended after all
        return False
    return True


def pause_job(database: Database, job_id: str) -> JobState:
    """Ask a job to stop at its next checkpoint; a queued one waits from now on.

    Returns:
        Its state now: ``running`` until the worker has obeyed.

    Raises:
        NotFound: There is none of that id.
        Conflict: It is neither queued nor running.
    """
    return _stop(database, job_id, "pause", _P)


def cancel_job(database: Database, job_id: str) -> JobState:
    """End a job for good; a running one stops at its next checkpoint. What it wrote stays.

    Returns:
        Its state now: ``running`` until the worker has obeyed.

    Raises:
        NotFound: There is none of that id.
        Conflict: It has ended.
    """
    return _stop(database, job_id, "cancel", _C)


def requeue_job(database: Database, job_id: str) -> str:
    """Hand a job that was paused, interrupted or has failed back to the workers; returns its id.

    Raises:
        NotFound: There is none of that id.
        Conflict: Its state allows no resuming.
    """
    row = find_job(database, job_id)
    if bury_dead(database, row):
        row = find_job(database, row.id)
    with database.session() as session:
        move_job(session, row, _Q, ended_at=None, error=None)
    return row.id


def _stop(database: Database, job_id: str, what: str, after: JobState) -> JobState:
    row = find_job(database, job_id)
    if bury_dead(database, row):
        row = find_job(database, row.id)
    with database.session() as session:
        if row.state != _R:
            move_job(session, row, after, ended_at=utc_now())
            return after
        asked = update(JobRow).where(JobRow.id == row.id, JobRow.state == _R).values(requested=what)
        if session.execute(asked).rowcount == 1:  # type: ignore[attr-defined]
            return _R
    raise Conflict(
        f"job {row.id}",
        found="that it has just ended",
        expected="a running job",
        next_step=f"run `backbeat features jobs {row.id}`",
    )


def _held(row: JobRow) -> bool:
    if row.host is None or row.pid is None or row.born is None:
        return False
    return is_alive(Holder(row.host, row.pid, row.born), row.heartbeat_at)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
