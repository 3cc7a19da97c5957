"""API tokens: made once, stored as digests, limited to permissions and in time."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, NotFound, unknown_name
from contracts.people_rows import TokenRow, UserRow
from registry.web.access import PERMISSIONS
from registry.web.sessions import digest_of

__all__ = ["PREFIX", "Token", "find_token", "list_tokens", "new_token", "revoke_token"]

PREFIX = "bbt_"
"""Tokens begin with it, so that scanners of repositories find those that leak."""

MOST_DAYS = 366


@dataclass(frozen=True)
class Token:
    """A token without its text."""

    id: str
    name: str
    """The account it acts for."""
    role: str
    """That account's role now."""
    label: str
    permissions: frozenset[str]
    created_at: datetime
    expires_at: datetime


def new_token(
    database: Database, name: str, label: str, permissions: Collection[str], days: float
) -> tuple[str, Token]:
    """Make a token for an account.

    Args:
        database: The platform's tables.
        name: The account it acts for.
        label: What it is for.
        permissions: What it may do, as far as the account's role allows it.
        days: How long it is valid.

    Returns:
        The text, which is never shown again, and the rest.

    Raises:
        NotFound: There is no such account or permission.
        BadInput: It would never, or hardly ever, expire.
    """
    for permission in permissions:
        if permission not in PERMISSIONS:
            raise unknown_name("permission", permission, PERMISSIONS, next_step="choose one of these")
    if not 0 < days <= MOST_DAYS:
        raise BadInput(
            "days of a token",
            found=f"{days:g}",
            expected=f"more than 0 and at most {MOST_DAYS}",
            next_step="give --days in that range",
        )
    secret, now = PREFIX + secrets.token_urlsafe(32), utc_now()
    with database.session() as session:
        user = session.get(UserRow, name)
        if user is None:
            raise unknown_name("user", name, [], next_step="run `backbeat users list`")
        row = TokenRow(
            id=secrets.token_hex(4),
            digest=digest_of(secret),
            name=name,
            label=label.strip()[:128],
            permissions=sorted(permissions),
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
        session.add(row)
        return secret, _token(row, user.role)


def find_token(database: Database, secret: str) -> Token | None:
    """The token with this text; None where there is none, or it has expired."""
    if not secret.startswith(PREFIX):
        return None
    with database.session() as session:
        found = (
            session.query(TokenRow, UserRow.role)
            .join(UserRow, UserRow.name == TokenRow.name)
            .filter(TokenRow.digest == digest_of(secret), TokenRow.expires_at > utc_now())
            .one_or_none()
        )
        return None if found is None else _token(*found)


def list_tokens(database: Database, name: str | None = None) -> list[Token]:
    """Tokens of an account, or of all, the newest first; expired ones too."""
    with database.session() as session:
        query = session.query(TokenRow, UserRow.role).join(UserRow, UserRow.name == TokenRow.name)
        if name is not None:
            query = query.filter(TokenRow.name == name)
        return [_token(*found) for found in query.order_by(TokenRow.created_at.desc(), TokenRow.id)]


def revoke_token(database: Database, token_id: str, name: str | None = None) -> None:
    """End a token at once.

    Args:
        database: The platform's tables.
        token_id: Its id, not its text.
        name: Only where it is this account's.

    Raises:
        NotFound: There is no such token.
    """
    with database.session() as session:
        row = session.get(TokenRow, token_id)
        if row is None or name not in (None, row.name):
            raise NotFound(
                f"token {token_id!r}",
                found="no token of that id",
                expected="the id of a token, not its text",
                next_step="run `backbeat users list` to see them",
            )
        session.delete(row)


def _token(row: TokenRow, role: str) -> Token:
    return Token(row.id, row.name, role, row.label, frozenset(row.permissions), row.created_at, row.expires_at)
