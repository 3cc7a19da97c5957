"""Tables beside the served lists: what they were made from, and who wrote them down."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from contracts.platform import PlatformBase

__all__ = ["FeatureSnapshotRow", "LogWriterRow"]


class FeatureSnapshotRow(PlatformBase):
    """What the online store gave for one sampled request, and what was asked: enough to make the list again."""

    __tablename__ = "feature_snapshots"

    response_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime]
    """When the features had been read."""
    surface: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[str] = mapped_column(String(256))
    query: Mapped[dict[str, Any]]
    """A :class:`serving.recommend.Query`, with what was read for it."""
    missing: Mapped[list[Any]]
    """What the online store did not give, as the response says it."""
    computed_on: Mapped[dict[str, Any]]
    """What a list hangs on beside version and query: device, processor, library, index, items left out and new ones."""

    __table_args__ = (
        Index("feature_snapshots_by_time", "surface", "at"),
        Index("feature_snapshots_by_user", "user_id"),
    )


class LogWriterRow(PlatformBase):
    """A process that writes down what it serves. See :mod:`serving.writers`."""

    __tablename__ = "log_writers"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    host: Mapped[str] = mapped_column(String(256))
    pid: Mapped[int] = mapped_column(Integer)
    born: Mapped[str] = mapped_column(String(128))
    """With ``host`` and ``pid``: the process, a :class:`contracts.liveness.Holder`."""
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]
    """When it last wrote, lists or this row."""
    lists: Mapped[int] = mapped_column(BigInteger)
    """Served lists that it has written."""
    lost: Mapped[int] = mapped_column(BigInteger)
    """Served lists that it gave up, since its queue was full or the database refused them."""
    lost_from: Mapped[datetime | None]
    """When the first of them was given up; None where none was."""
    lost_until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    """When it ended or was found to have ended; None while it is at work."""
    missing: Mapped[int | None] = mapped_column(BigInteger)
    """Served lists that it had not written when it ended: 0 after a clean stop, None where nobody can tell."""
    missing_from: Mapped[datetime | None]
    """Since when; None where none are missing, as the next."""
    missing_until: Mapped[datetime | None]

    __table_args__ = (Index("log_writers_by_end", "ended_at"),)
