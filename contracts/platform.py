"""The platform's own tables."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Float, Index, Integer, String, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = [
    "AuditRow",
    "JobLockRow",
    "JobRow",
    "OnlineViewRow",
    "PlatformBase",
    "ResponseRow",
    "ShadowReportRow",
    "ShadowRow",
    "ValidationOverrideRow",
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
    """A piece of long work: who does what, how far it is, how it ended. See :mod:`contracts.jobs`."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    snapshot: Mapped[str] = mapped_column(String(64))
    subjects: Mapped[list[Any]]
    """What only one job of a kind may work on at a time, e.g. names of feature views."""
    parameters: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    """A :class:`contracts.jobs.JobState`."""
    requested: Mapped[str | None] = mapped_column(String(16))
    """``pause`` or ``cancel``: what the worker shall do at its next checkpoint."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    done: Mapped[int] = mapped_column(BigInteger)
    """Units of work that are finished."""
    total: Mapped[int | None] = mapped_column(BigInteger)
    """Units of work in all; None before they are counted."""
    rows: Mapped[int] = mapped_column(BigInteger)
    rows_per_second: Mapped[float | None] = mapped_column(Float)
    """Of the newest attempt."""
    peak_memory: Mapped[int | None] = mapped_column(BigInteger)
    """Bytes, the most of all attempts."""
    error: Mapped[dict[str, Any] | None]
    """JSON form of the error that ended it."""
    checkpoint: Mapped[dict[str, Any]]
    """Where the next attempt goes on."""
    detail: Mapped[dict[str, Any]]
    """Facts for people and for later jobs."""
    attempts: Mapped[int]
    """How often it was started or resumed."""
    token: Mapped[str | None] = mapped_column(String(32))
    """The present attempt; whoever has another one has lost the job."""
    host: Mapped[str | None] = mapped_column(String(256))
    pid: Mapped[int | None]
    born: Mapped[str | None] = mapped_column(String(128))
    """With ``host`` and ``pid``: the process at work, a :class:`contracts.liveness.Holder`."""
    heartbeat_at: Mapped[datetime | None]

    __table_args__ = (
        Index("jobs_by_kind", "kind", "snapshot", "created_at"),
        Index("jobs_by_state", "state", "created_at"),
    )


class JobLockRow(PlatformBase):
    """One subject of one running job; that the row is unique is the lock."""

    __tablename__ = "job_locks"

    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    snapshot: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str] = mapped_column(String(128), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(32))
    token: Mapped[str] = mapped_column(String(32))
    """The attempt that holds it."""


class OnlineViewRow(PlatformBase):
    """How far a feature view of a snapshot is in the online store."""

    __tablename__ = "online_views"

    snapshot: Mapped[str] = mapped_column(String(64), primary_key=True)
    view: Mapped[str] = mapped_column(String(128), primary_key=True)
    definitions: Mapped[str] = mapped_column(String(64))
    """Digest of the definitions that the rows follow."""
    watermark: Mapped[datetime | None]
    """Everything known up to this instant is online; None while it is written for the first time or anew."""
    rows: Mapped[int] = mapped_column(BigInteger)
    """Keys with a row, as of the watermark."""
    job_id: Mapped[str] = mapped_column(String(32))
    """The job that wrote it last."""
    updated_at: Mapped[datetime]


class ValidationRow(PlatformBase):
    """One validation report."""

    __tablename__ = "validation_reports"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    snapshot: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    success: Mapped[bool]
    dataset: Mapped[str | None] = mapped_column(String(256))
    """None, as the next two, in reports that schema 0003 found here."""
    baseline: Mapped[str | None] = mapped_column(String(64))
    """Id of the snapshot it was compared with."""
    failed: Mapped[list[Any] | None]
    """The failed suites, so that a history needs no bodies."""
    declined: Mapped[str | None] = mapped_column(String(64))
    """Id of the accepted snapshot that it should have been compared with and was not, at somebody's wish."""
    number: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Counts the reports as they are written: which is the newest must not hang on a clock."""
    body: Mapped[dict[str, Any]]

    __table_args__ = (
        Index("validation_by_snapshot", "snapshot", "number"),
        Index("validation_by_dataset", "dataset", "number"),
        Index("validation_by_number", "number"),
    )


class ValidationOverrideRow(PlatformBase):
    """A person's decision to accept a failed report; a report is accepted once."""

    __tablename__ = "validation_overrides"

    report_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str]


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
    arm: Mapped[str | None] = mapped_column(String(64))
    """Of the experiment that the user was in; None outside of one."""
    propensities: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    """Chance with which each item was shown in its place, in the order of the items; None where it is not known."""
    experiment: Mapped[str | None] = mapped_column(String(64))
    """Its name; None outside of one."""
    teams: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    """Whose each item of an interleaved list is: 0 the champion's, 1 the challenger's, -1 nobody's; else None."""
    video_id: Mapped[str | None] = mapped_column(String(256))
    """The video that was to get its music; None on other surfaces."""

    __table_args__ = (
        Index("responses_by_time", "surface", "at"),
        Index("responses_by_user", "user_id"),
        Index("responses_by_experiment", "experiment", "at"),
        Index("responses_by_moment", "at"),
    )


class ShadowRow(PlatformBase):
    """What a shadow version would have shown for a served response."""

    __tablename__ = "shadow_lists"

    response_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    version: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime]
    items: Mapped[list[Any]]
    latency_ms: Mapped[float] = mapped_column(Float)
    error: Mapped[str | None]

    __table_args__ = (Index("shadow_lists_by_time", "at"),)


class ShadowReportRow(PlatformBase):
    """A stored comparison of a champion and a shadow."""

    __tablename__ = "shadow_reports"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime]
    surface: Mapped[str] = mapped_column(String(64))
    champion: Mapped[str] = mapped_column(String(32))
    shadow: Mapped[str] = mapped_column(String(32))
    body: Mapped[dict[str, Any]]
