"""The records of the database as Parquet, from where the files end to what has settled."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from contracts.clock import utc_now
from contracts.database import Database
from contracts.platform import ResponseRow
from contracts.surfaces import SURFACES
from serving.log_files import LOG_TABLES, LogFiles, LogTable, Segment
from serving.writers import nobody_writes

__all__ = ["Exported", "Reach", "export_logs", "export_settled", "reach_of"]

_ROWS_AT_A_TIME = 5_000

_LAG = timedelta(seconds=60)
"""How old rows are that nobody is still about to write."""


@dataclass(frozen=True)
class Exported:
    """What was written now."""

    until: str
    """UTC, ISO 8601: what was recorded from then on is left for the next time."""
    files: int
    rows: dict[str, int]
    """Table → rows."""

    def as_dict(self) -> dict[str, Any]:
        """The outcome as one JSON document."""
        return asdict(self)


def export_logs(database: Database, files: LogFiles, until: datetime, since: datetime | None = None) -> Exported:
    """Write what is in no file yet. Running it again writes nothing twice, whenever it was interrupted.

    Args:
        database: The platform's tables.
        files: Where to.
        until: Exclusive; early enough that no row of an earlier time is still to be written to the database.
        since: Fill every interval from then on that no file has; what follows the newest file if None.

    Raises:
        Conflict: Somebody else changes the files.
        StorageFull: The disk ran out of space.
    """
    count, rows = 0, dict.fromkeys(LOG_TABLES, 0)
    with files.locked(), database.session() as session:
        for name, table in LOG_TABLES.items():
            start = since or _start(session, table, files.segments(name))
            for gap_since, gap_until in _uncovered(files.segments(name), start, until):
                for day_since, day_until in _days(gap_since, gap_until):
                    written = _write(session, files, name, day_since, day_until)
                    rows[name] += written
                    count += written > 0
    return Exported(until.isoformat(), count, rows)


def export_settled(
    database: Database, files: LogFiles, lag: timedelta | None = None, since: datetime | None = None
) -> Exported:
    """:func:`export_logs` of all that is old enough: no row of that age is still on its way to the database.

    Args:
        database: The platform's tables.
        files: Where to.
        lag: The age; if None a minute while a process writes, and nothing where none does.
        since: As there.

    Raises:
        Conflict: Somebody else changes the files.
        StorageFull: The disk ran out of space.
    """
    now = utc_now()  # before the look: who begins to write afterwards writes what is younger
    if lag is None:
        lag = timedelta() if nobody_writes(database) else _LAG
    return export_logs(database, files, now - lag, since)


@dataclass(frozen=True)
class Reach:
    """How far the files have come."""

    until: datetime | None
    """Up to when they have the served lists; None where they have none."""
    waiting: int
    """Lists of the database that were served since."""

    def as_dict(self) -> dict[str, Any]:
        """The reach as one JSON document."""
        return {"until": self.until and self.until.isoformat(), "waiting": self.waiting}

    def sentence(self) -> str:
        """The reach in words."""
        has = "no lists yet" if self.until is None else f"lists up to {self.until:%Y-%m-%d %H:%M:%S} UTC"
        return f"Parquet has {has}; {self.waiting:,} served since wait for the next export"


def reach_of(database: Database, files: LogFiles) -> Reach:
    """How far the files have come with the served lists."""
    until = max((segment.until for segment in files.segments("responses")), default=None)
    # The index of the times is one of each surface.
    young = select(func.count()).where(ResponseRow.surface.in_(SURFACES))
    if until is not None:
        young = young.where(ResponseRow.at >= until)
    with database.session() as session:
        return Reach(until, session.scalar(young) or 0)


def _start(session: Session, table: LogTable, segments: Sequence[Segment]) -> datetime | None:
    """The end of the newest file, or the first row's time; None where there is neither."""
    if segments:
        return max(segment.until for segment in segments)
    return session.scalar(select(func.min(getattr(table.rows, table.time))))


def _uncovered(
    segments: Sequence[Segment], start: datetime | None, until: datetime
) -> Iterator[tuple[datetime, datetime]]:
    if start is None:
        return
    for segment in segments:
        if segment.until <= start:
            continue
        if segment.since > start:
            yield start, min(segment.since, until)
        start = segment.until
        if start >= until:
            return
    if start < until:
        yield start, until


def _days(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    while since < until:
        midnight = datetime.combine(since.date() + timedelta(days=1), time(), UTC)
        yield since, min(midnight, until)
        since = midnight


def _write(session: Session, files: LogFiles, name: str, since: datetime, until: datetime) -> int:
    table = LOG_TABLES[name]
    moment = getattr(table.rows, table.time)
    columns = [getattr(table.rows, column) for column in table.schema.names]
    within = (moment >= since, moment < until)
    if session.scalar(select(moment).where(*within).limit(1)) is None:
        return 0
    found = session.execute(
        select(*columns).where(*within).order_by(moment), execution_options={"yield_per": _ROWS_AT_A_TIME}
    )
    count = 0
    with files.written(name, since, until) as writer:
        for rows in found.partitions():
            writer.write_table(table.table(rows))
            count += len(rows)
    return count
