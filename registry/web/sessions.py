"""Browsers that have signed in: opened, recognised, ended. Only digests of their secrets are stored."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, update

from contracts.clock import utc_now
from contracts.database import Database
from contracts.people_rows import SessionRow, UserRow
from contracts.settings import Settings

__all__ = ["OpenSession", "digest_of", "end_session", "end_sessions_of", "find_session", "open_session"]

_OWNER_ROLE = "admin"
_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class OpenSession:
    """Whose session it is."""

    digest: str
    name: str
    role: str
    owner: bool
    """Opened by the link, without an account."""


def digest_of(secret: str) -> str:
    """What is stored of a secret: it is random and long, so a plain hash cannot be guessed back."""
    return hashlib.sha256(secret.encode()).hexdigest()


def open_session(database: Database, settings: Settings, name: str, *, owner: bool = False) -> str:
    """Begin a session and forget those that have expired.

    Args:
        database: The platform's tables.
        settings: How long it lasts.
        name: The account; or the home's owner, who needs none.
        owner: Whether it is the home's owner, who may do everything.

    Returns:
        The secret for the cookie.
    """
    secret, now = secrets.token_urlsafe(32), utc_now()
    ends = now + timedelta(hours=settings.ui_session_hours)
    with database.session() as session:
        session.execute(delete(SessionRow).where(SessionRow.expires_at < now))
        row = SessionRow(digest=digest_of(secret), name=name, owner=owner, created_at=now, seen_at=now, expires_at=ends)
        session.add(row)
    return secret


def find_session(database: Database, settings: Settings, secret: str) -> OpenSession | None:
    """The session of a cookie, or None where it has ended, has been idle too long or its account is gone.

    The role is the account's role now, so that a change of it holds from the next request on.
    """
    digest, now = digest_of(secret), utc_now()
    with database.session() as session:
        found = (
            session.query(SessionRow, UserRow.role)
            .outerjoin(UserRow, UserRow.name == SessionRow.name)
            .filter(SessionRow.digest == digest)
            .one_or_none()
        )
        if found is None:
            return None
        row, role = found
        ended = now >= row.expires_at or now - row.seen_at >= timedelta(minutes=settings.ui_idle_minutes)
        if ended or (role is None and not row.owner):
            return None
        name, seen, owner = row.name, row.seen_at, row.owner
    if now - seen >= _NOTED_EVERY:
        _note(database, digest, now)
    return OpenSession(digest, name, _OWNER_ROLE if owner else role, owner)


def end_session(database: Database, digest: str) -> None:
    """Sign one browser out."""
    with database.session() as session:
        session.execute(delete(SessionRow).where(SessionRow.digest == digest))


def end_sessions_of(database: Database, name: str) -> int:
    """Sign an account out everywhere; returns of how many browsers."""
    with database.session() as session:
        ended = session.execute(delete(SessionRow).where(SessionRow.name == name, SessionRow.owner.is_(False)))
        return int(ended.rowcount)  # type: ignore[attr-defined]


def _note(database: Database, digest: str, now: datetime) -> None:
    with database.session() as session:
        session.execute(update(SessionRow).where(SessionRow.digest == digest).values(seen_at=now))
