"""The platform's own tables."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, Float, Index, Integer, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "AuditRow",
    "JobRow",
    "PlatformBase",
    "ResponseRow",
    "ShadowReportRow",
    "ShadowRow",
    "ValidationRow",
]


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes on every database; SQLite forgets the zone, this restores it."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"naive datetime {value} bound to a UTC column")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class PlatformBase(DeclarativeBase):
    """Metadata of all tables below."""

    type_annotation_map = {datetime: UtcDateTime(), dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class JobRow(PlatformBase):
    """A piece of long work: who does what, how far it is, how it ended."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    snapshot: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    """``running``, ``done``, ``failed`` or ``interrupted``."""
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    detail: Mapped[dict[str, Any]]

    __table_args__ = (Index("jobs_by_kind", "kind", "snapshot", "started_at"),)


class ValidationRow(PlatformBase):
    """One validation report."""

    __tablename__ = "validation_reports"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    snapshot: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    success: Mapped[bool]
    body: Mapped[dict[str, Any]]

    __table_args__ = (Index("validation_by_snapshot", "snapshot", "created_at"),)


class AuditRow(PlatformBase):
    """One lifecycle move, or one refused attempt at it."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(128))
    surface: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(32))
    action: Mapped[str] = mapped_column(String(32))
    before: Mapped[str] = mapped_column(String(32))
    after: Mapped[str] = mapped_column(String(32))
    displaced: Mapped[str | None] = mapped_column(String(32))
    """Version that held the alias before, where there was one."""
    verdicts: Mapped[list[Any]]
    reason: Mapped[str]

    __table_args__ = (Index("audit_by_surface", "surface", "at"),)


class ResponseRow(PlatformBase):
    """One served list: what was shown to whom by which version."""

    __tablename__ = "responses"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime]
    surface: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(32))
    user_id: Mapped[str] = mapped_column(String(256))
    items: Mapped[list[Any]]
    latency_ms: Mapped[float] = mapped_column(Float)

    __table_args__ = (Index("responses_by_time", "surface", "at"),)


class ShadowRow(PlatformBase):
    """What a shadow version would have shown for a served response."""

    __tablename__ = "shadow_lists"

    response_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    version: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime]
    items: Mapped[list[Any]]
    latency_ms: Mapped[float] = mapped_column(Float)
    error: Mapped[str | None]


class ShadowReportRow(PlatformBase):
    """A stored comparison of a champion and a shadow."""

    __tablename__ = "shadow_reports"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime]
    surface: Mapped[str] = mapped_column(String(64))
    champion: Mapped[str] = mapped_column(String(32))
    shadow: Mapped[str] = mapped_column(String(32))
    body: Mapped[dict[str, Any]]
