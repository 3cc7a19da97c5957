"""Tables of the people who use the registry: accounts, browser sessions, API tokens and attempts to sign in."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from contracts.platform import PlatformBase

__all__ = ["LoginAttemptRow", "SessionRow", "TokenRow", "UserRow"]


class UserRow(PlatformBase):
    """One account."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    password: Mapped[str | None] = mapped_column(String(256))
    """Argon2 hash; None for an account that signs in through an identity provider."""
    subject: Mapped[str | None] = mapped_column(String(512), unique=True)
    """Issuer and subject of the identity provider; None for an account with a password."""
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(128))


class SessionRow(PlatformBase):
    """One browser that has signed in. The cookie's value is nowhere stored."""

    __tablename__ = "sessions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the cookie's value."""
    name: Mapped[str] = mapped_column(String(128))
    owner: Mapped[bool]
    """Opened by the link that the home's owner was given, not by an account."""
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    """Written once a minute at most."""
    expires_at: Mapped[datetime]

    __table_args__ = (Index("sessions_by_name", "name"),)


class TokenRow(PlatformBase):
    """One API token. Its text is shown once and nowhere stored."""

    __tablename__ = "api_tokens"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the token."""
    name: Mapped[str] = mapped_column(String(128))
    """The account it acts for."""
    label: Mapped[str] = mapped_column(String(128))
    permissions: Mapped[list[Any]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    __table_args__ = (Index("api_tokens_by_name", "name"),)


class LoginAttemptRow(PlatformBase):
    """One failed attempt to sign in; those older than the limit's window are removed by the next."""

    __tablename__ = "login_attempts"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    name: Mapped[str] = mapped_column(String(128))
    address: Mapped[str] = mapped_column(String(64))

    __table_args__ = (
        Index("login_attempts_by_name", "name", "at"),
        Index("login_attempts_by_address", "address", "at"),
    )
