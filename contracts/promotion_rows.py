"""Tables of promotions: judgements, requests, approvals, waivers, moves and what is told of them."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from contracts.platform import PlatformBase

__all__ = ["ApprovalRow", "DeliveryRow", "JudgementRow", "MoveRow", "RequestRow", "StandingRow", "WaiverRow"]


class JudgementRow(PlatformBase):
    """What all gates of a move said of a version at one time."""

    __tablename__ = "judgements"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime]
    surface: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(32))
    target: Mapped[str] = mapped_column(String(32))
    """State that the version would take, or ``rollback``."""
    champion: Mapped[str | None] = mapped_column(String(32))
    """Version that was champion then."""
    package_sha256: Mapped[str] = mapped_column(String(64))
    """Of the package as it was registered; empty where the version has no such tag."""
    policy_digest: Mapped[str] = mapped_column(String(64))
    verdicts: Mapped[list[Any]]
    evidence: Mapped[dict[str, Any]]
    """What the gates looked at, as far as a reader can use it."""
    actor: Mapped[str] = mapped_column(String(128))

    __table_args__ = (Index("judgements_by_version", "surface", "version", "target", "at"),)


class RequestRow(PlatformBase):
    """Somebody's wish that a version be promoted."""

    __tablename__ = "promotion_requests"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime]
    surface: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(32))
    target: Mapped[str] = mapped_column(String(32))
    author: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str]
    state: Mapped[str] = mapped_column(String(16))
    """``open``, ``approved``, ``rejected``, ``withdrawn`` or ``performed``."""
    wish: Mapped[str | None] = mapped_column(String(160), unique=True)
    """``SURFACE/VERSION/TARGET`` while it is open or approved, so that the same is not asked for twice; then None."""
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None] = mapped_column(String(128))
    decision_reason: Mapped[str | None]
    judgement_id: Mapped[str | None] = mapped_column(String(32))
    """What the gates said when it was filed."""

    __table_args__ = (Index("promotion_requests_by_surface", "surface", "at"),)


class ApprovalRow(PlatformBase):
    """One person's yes to a request; nobody says it twice."""

    __tablename__ = "promotion_approvals"

    request_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    actor: Mapped[str] = mapped_column(String(128), primary_key=True)
    at: Mapped[datetime]
    reason: Mapped[str]


class WaiverRow(PlatformBase):
    """Leave for a version to pass a gate that refuses it, for some time."""

    __tablename__ = "gate_waivers"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    surface: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(32))
    gate: Mapped[str] = mapped_column(String(32))
    approver: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str]
    at: Mapped[datetime]
    until: Mapped[datetime]

    __table_args__ = (Index("gate_waivers_by_version", "surface", "version"),)


class MoveRow(PlatformBase):
    """A move between states, from before MLflow is written until the audit log is: what a crash leaves to be ended."""

    __tablename__ = "moves"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    surface: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(32))
    action: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(128))
    before: Mapped[dict[str, Any]]
    """Standing (:class:`registry.lifecycle.Standing`) of all that it changes, as it was judged."""
    after: Mapped[dict[str, Any]]
    """The same as it shall be."""
    audit: Mapped[dict[str, Any]]
    """Columns of the audit row to come."""
    request_id: Mapped[str | None] = mapped_column(String(32))
    """The request that it performs."""
    state: Mapped[str] = mapped_column(String(16))
    """``pending``, ``done`` or ``undone``."""
    pending_on: Mapped[str | None] = mapped_column(String(64), unique=True)
    """The surface while it is pending, which is the lock: a surface makes one move at a time. None afterwards."""
    token: Mapped[str] = mapped_column(String(32))
    """Who works on it at present, the mover or one who takes it up; whoever has another one has lost it."""
    host: Mapped[str | None] = mapped_column(String(256))
    pid: Mapped[int | None]
    born: Mapped[str | None] = mapped_column(String(128))
    """With ``host`` and ``pid``: its process, a :class:`contracts.liveness.Holder`; None where it has given up."""
    heartbeat_at: Mapped[datetime]
    """When it last wrote."""

    __table_args__ = (Index("moves_by_surface", "surface", "id"),)


class StandingRow(PlatformBase):
    """Who holds an alias by our own last word; MLflow saying otherwise is drift."""

    __tablename__ = "standings"

    surface: Mapped[str] = mapped_column(String(64), primary_key=True)
    alias: Mapped[str] = mapped_column(String(32), primary_key=True)
    version: Mapped[str | None] = mapped_column(String(32))
    at: Mapped[datetime]


class DeliveryRow(PlatformBase):
    """One event to be told to the webhook, and how that went."""

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime]
    event: Mapped[str] = mapped_column(String(32))
    surface: Mapped[str] = mapped_column(String(64))
    body: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    """``waiting``, ``delivered`` or ``failed`` for good."""
    attempts: Mapped[int]
    next_at: Mapped[datetime]
    """Not tried before; moved on by whoever tries, so that nobody else does."""
    ended_at: Mapped[datetime | None]
    status: Mapped[int | None]
    """HTTP status of the last answer."""
    error: Mapped[str | None]
    """What the last attempt met."""

    __table_args__ = (Index("deliveries_by_state", "state", "next_at"),)
