"""The book of requests: what is asked for, who said yes, how it was decided."""

import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import Conflict, NotFound
from contracts.platform import AuditRow
from contracts.promotion_rows import ApprovalRow, RequestRow
from contracts.settings import Settings
from registry.opening import Registry
from registry.store import ModelVersion
from registry.webhook import tell

__all__ = [
    "STATES",
    "Approval",
    "Request",
    "add_approval",
    "end_request",
    "file_request",
    "find_request",
    "list_requests",
    "request_of",
]

STATES = ("open", "approved", "rejected", "withdrawn", "performed")
"""A request is approved when enough people have said yes, and performed when the version has moved."""

_UNDECIDED = ("open", "approved")


@dataclass(frozen=True)
class Approval:
    """One person's yes."""

    actor: str
    at: datetime
    reason: str


@dataclass(frozen=True)
class Request:
    """A wish that a version be promoted, and what became of it."""

    id: str
    at: datetime
    surface: str
    version: str
    target: str
    author: str
    reason: str
    state: str
    approvals: tuple[Approval, ...]
    decided_at: datetime | None
    decided_by: str | None
    decision_reason: str | None
    judgement_id: str | None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def file_request(
    registry: Registry, version: ModelVersion, to: str, reason: str, author: str, judgement_id: str | None
) -> Request:
    """Record a wish.

    Raises:
        Conflict: The same is asked for already; the message has the request's id.
    """
    request_id, now = uuid.uuid4().hex[:12], utc_now()
    row = RequestRow(
        id=request_id,
        at=now,
        surface=version.surface,
        version=version.version,
        target=to,
        author=author,
        reason=reason,
        state="open",
        wish=_wish(version.surface, version.version, to),
        judgement_id=judgement_id,
    )
    try:
        with registry.database.session() as session:
            session.add(row)
            session.flush()
            _record(session, registry.settings, row, "requested", author, reason)
    except IntegrityError:
        there = request_of(registry.database, version.surface, version.version, to)
        raise Conflict(
            f"request for {version.surface} version {version.version} → {to}",
            found=f"request {there.id} of {there.author} for the same" if there else "one that was decided just now",
            expected="one request for a move at a time",
            next_step="run `backbeat models requests`",
        ) from None
    return find_request(registry.database, request_id)


def add_approval(
    registry: Registry, request_id: str, actor: str, reason: str, needed: int, *, alone: bool = False
) -> Request:
    """Say yes to a request.

    Args:
        registry: Both databases.
        request_id: Which.
        actor: Who says so.
        reason: Why, for the audit log.
        needed: So many yeses approve it.
        alone: Its author may say so too.

    Raises:
        NotFound: There is no such request.
        Conflict: It is decided already; or its author says yes to it.
    """

    def change(session: Session, row: RequestRow) -> None:
        if actor == row.author and not alone:
            raise Conflict(
                f"request {request_id}",
                found=f"its author {actor} approving it",
                expected="somebody else's approval",
                next_step=f"ask somebody else to run `backbeat models approve {request_id} --reason ...`",
            )
        if session.get(ApprovalRow, (request_id, actor)) is None:
            session.add(ApprovalRow(request_id=request_id, actor=actor, at=utc_now(), reason=reason))
            session.flush()
            _record(session, registry.settings, row, "approved", actor, reason)
        given = session.query(ApprovalRow).filter_by(request_id=request_id).count()
        if given >= needed and row.state == "open":
            row.state = "approved"

    return _change(registry, request_id, change)


def end_request(registry: Registry, request_id: str, state: str, actor: str, reason: str) -> Request:
    """End a request that has not led to a move.

    Args:
        registry: Both databases.
        request_id: Which.
        state: ``rejected``, ``withdrawn`` by its author, or ``performed`` where nothing is left to do.
        actor: Who does so.
        reason: Why, for the audit log.

    Raises:
        NotFound: There is no such request.
        Conflict: It is decided already; or it is not the actor's to withdraw.
    """

    def change(session: Session, row: RequestRow) -> None:
        if state == "withdrawn" and actor != row.author:
            raise Conflict(
                f"request {request_id}",
                found=f"{actor} withdrawing a request of {row.author}",
                expected="its author",
                next_step=f"run `backbeat models reject {request_id} --reason ...`",
            )
        row.state, row.wish = state, None
        row.decided_at, row.decided_by, row.decision_reason = utc_now(), actor, reason
        if state != "performed":
            _record(session, registry.settings, row, state, actor, reason)

    return _change(registry, request_id, change)


def find_request(database: Database, request_id: str) -> Request:
    """One request.

    Raises:
        NotFound: There is none of that id.
    """
    with database.session() as session:
        row = session.get(RequestRow, request_id)
        if row is None:
            raise _no_such(request_id)
        return _read(session, row)


def list_requests(
    database: Database, surface: str | None = None, state: str | None = None, limit: int | None = None
) -> list[Request]:
    """Requests, newest first.

    Args:
        database: The platform's tables.
        surface: Only of this registered model.
        state: Only in this one of :data:`STATES`.
        limit: At most so many.
    """
    wanted = {name: value for name, value in (("surface", surface), ("state", state)) if value is not None}
    with database.session() as session:
        rows = session.query(RequestRow).filter_by(**wanted).order_by(RequestRow.at.desc()).limit(limit)
        return [_read(session, row) for row in rows.all()]


def request_of(database: Database, surface: str, version: str, target: str) -> Request | None:
    """The undecided request for a move, or None."""
    with database.session() as session:
        row = session.query(RequestRow).filter_by(wish=_wish(surface, version, target)).one_or_none()
        return None if row is None else _read(session, row)


def _wish(surface: str, version: str, target: str) -> str:
    return f"{surface}/{version}/{target}"


def _change(registry: Registry, request_id: str, change: Callable[[Session, RequestRow], None]) -> Request:
    with registry.database.session() as session:
        # Taking the row's lock first: two people who decide at once decide one after the other.
        session.execute(update(RequestRow).where(RequestRow.id == request_id).values(id=request_id))
        row = session.get(RequestRow, request_id)
        if row is None:
            raise _no_such(request_id)
        if row.state not in _UNDECIDED:
            by = f" by {row.decided_by}" if row.decided_by else ""
            raise Conflict(
                f"request {request_id}",
                found=f"a request that is {row.state}{by}",
                expected="one that is open",
                next_step="run `backbeat models requests`",
            )
        change(session, row)
        session.flush()
        return _read(session, row)


def _record(session: Session, settings: Settings, row: RequestRow, event: str, actor: str, reason: str) -> None:
    """The audit row of a decision, and what the webhook is told."""
    action = {"requested": "request", "approved": "approve", "rejected": "reject", "withdrawn": "withdraw"}[event]
    session.add(
        AuditRow(
            at=utc_now(),
            actor=actor,
            surface=row.surface,
            version=row.version,
            action=action,
            before=row.target,
            after=row.target,
            displaced=None,
            verdicts=[],
            reason=reason,
        )
    )
    facts = {"request": row.id, "version": row.version, "target": row.target, "author": row.author}
    tell(session, settings, event, row.surface, {**facts, "actor": actor, "reason": reason})


def _read(session: Session, row: RequestRow) -> Request:
    given = session.query(ApprovalRow).filter_by(request_id=row.id).order_by(ApprovalRow.at).all()
    approvals = tuple(Approval(a.actor, a.at, a.reason) for a in given)
    columns = {name: getattr(row, name) for name in Request.__dataclass_fields__ if name != "approvals"}
    return Request(approvals=approvals, **columns)


def _no_such(request_id: str) -> NotFound:
    return NotFound(
        f"request {request_id!r}",
        found="none of that id",
        expected="the id of a request that was filed here",
        next_step="run `backbeat models requests`",
    )
