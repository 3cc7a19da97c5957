"""Stopped jobs whose work another job has done since, so that nothing is left to resume."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from contracts.database import Database
from contracts.jobs import RESUMABLE, JobState, describe_job, list_jobs, state_of
from contracts.platform import JobRow

__all__ = ["done_by", "tell_jobs"]

_ENDLESS = "stream"
"""A consumer never goes on with an earlier one's job: the next one begins with what is waiting."""


def tell_jobs(database: Database, rows: Sequence[JobRow]) -> list[dict[str, Any]]:
    """Jobs in their JSON form, with ``done_by``: the id of the job that has done a stopped one's work; else None."""
    kinds = sorted({row.kind for row in rows if state_of(row) in RESUMABLE})
    others = [row for kind in kinds for row in list_jobs(database, kind)]
    return [describe_job(row) | {"done_by": done_by(row, others)} for row in rows]


def done_by(row: JobRow, others: Sequence[JobRow]) -> str | None:
    """The newest job that has done all that a stopped job was to do, after that one had stopped.

    Args:
        row: Any job.
        others: Jobs, the newest first.

    Returns:
        Its id; None where there is none, and for a job that is not stopped.
    """
    if state_of(row) not in RESUMABLE:
        return None
    return next((other.id for other in others if _covers(other, row)), None)


def _covers(other: JobRow, row: JobRow) -> bool:
    if other.id == row.id or other.kind != row.kind or not set(other.subjects) >= set(row.subjects):
        return False
    stopped = row.ended_at or row.heartbeat_at or row.created_at
    if row.kind == _ENDLESS:
        return other.snapshot == row.snapshot and other.started_at is not None and other.started_at >= stopped
    if other.state != JobState.DONE or other.ended_at is None or other.ended_at < stopped:
        return False
    if row.kind == "encode":  # resuming encodes whichever snapshot is current by then
        return True
    forced = bool(other.parameters.get("force")) or not row.parameters.get("force")
    return other.snapshot == row.snapshot and forced and _reaches(other, row)


def _reaches(other: JobRow, row: JobRow) -> bool:
    theirs, ours = other.parameters.get("until"), row.parameters.get("until")
    return theirs is None or (ours is not None and datetime.fromisoformat(theirs) >= datetime.fromisoformat(ours))
