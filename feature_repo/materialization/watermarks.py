"""How far each view of a snapshot is online, in the platform's tables."""

from collections.abc import Mapping
from datetime import datetime

from contracts.clock import utc_now
from contracts.database import Database
from contracts.platform import JobRow, OnlineViewRow

__all__ = ["files_written", "online_views", "set_watermark"]


def online_views(database: Database, snapshot: str) -> dict[str, OnlineViewRow]:
    """What is online of a snapshot, by name of the view; rows are detached from their session."""
    with database.session() as session:
        rows = session.query(OnlineViewRow).filter_by(snapshot=snapshot).all()
        session.expunge_all()
        return {row.view: row for row in rows}


def files_written(database: Database, views: Mapping[str, OnlineViewRow]) -> dict[str, str]:
    """The stamps of the files that views were written from, as far as the jobs that wrote them have kept them.

    Args:
        database: The platform's tables.
        views: As :func:`online_views` gives them.
    """
    with database.session() as session:
        jobs = session.query(JobRow.id, JobRow.checkpoint).filter(JobRow.id.in_({row.job_id for row in views.values()}))
        kept = {job: checkpoint.get("views", {}) for job, checkpoint in jobs}
    return {name: kept.get(row.job_id, {}).get(name, {}).get("file", "") for name, row in views.items()}


def set_watermark(
    database: Database,
    snapshot: str,
    view: str,
    *,
    definitions: str,
    watermark: datetime | None,
    rows: int,
    job_id: str,
) -> None:
    """Record how far a view is.

    Args:
        database: The platform's tables.
        snapshot: Whose view.
        view: Its name.
        definitions: Digest of the definitions that its rows follow.
        watermark: Everything known up to here is online; None where it is about to be written from the beginning.
        rows: Keys that have a row.
        job_id: The job at work.
    """
    with database.session() as session:
        session.merge(
            OnlineViewRow(
                snapshot=snapshot,
                view=view,
                definitions=definitions,
                watermark=watermark,
                rows=rows,
                job_id=job_id,
                updated_at=utc_now(),
            )
        )
