"""Accounts: made, changed, removed, and recognised by name and password."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, Conflict, unknown_name
from contracts.people_rows import LoginAttemptRow, SessionRow, TokenRow, UserRow
from contracts.platform import AuditRow
from registry.web.access import ROLES
from registry.web.passwords import hash_password, password_matches, require_good_password

__all__ = [
    "PEOPLE_SURFACE",
    "User",
    "add_user",
    "any_users",
    "change_role",
    "known_by_password",
    "list_users",
    "remove_user",
    "require_role",
    "set_password",
    "user_of_provider",
]

PEOPLE_SURFACE: Final = "people"
"""What the audit log has as the surface of changes to accounts; their version is the account's name."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,31}")


@dataclass(frozen=True)
class User:
    """An account without its password."""

    name: str
    role: str
    signs_in: str
    """``password`` or ``provider``."""
    created_at: datetime
    created_by: str


def any_users(database: Database) -> bool:
    """Whether there is an account."""
    with database.session() as session:
        return session.query(UserRow.name).first() is not None


def list_users(database: Database) -> list[User]:
    """All accounts by name."""
    with database.session() as session:
        return [_user(row) for row in session.query(UserRow).order_by(UserRow.name)]


def add_user(database: Database, name: str, role: str, password: str, actor: str) -> User:
    """Make an account that signs in with a password.

    Raises:
        BadInput: The name or the password cannot be used.
        NotFound: There is no such role.
        Conflict: There is such an account.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"user {name!r:.80}",
            found="a name that cannot be used",
            expected="1 to 32 letters, digits or . _ @ + -, with a letter or digit first",
            next_step="choose another name",
        )
    require_role(role)
    require_good_password(password, name)
    hashed = hash_password(password)
    with database.session() as session:
        if session.get(UserRow, name) is not None:
            raise Conflict(
                f"user {name!r}",
                found="an account of that name",
                expected="a name that is free",
                next_step="run `backbeat users list`",
            )
        row = UserRow(name=name, role=role, password=hashed, subject=None, created_at=utc_now(), created_by=actor)
        session.add(row)
        _audit(session, actor, name, "add user", "", role)
        return _user(row)


def change_role(database: Database, name: str, role: str, actor: str) -> User:
    """Give an account another role; it holds from the next request on.

    Raises:
        NotFound: There is no such account or role.
        Conflict: It is the last admin's.
    """
    require_role(role)
    with database.session() as session:
        row = _get(session, name)
        if role != "admin":
            _require_other_admin(session, row)
        before, row.role = row.role, role
        _audit(session, actor, name, "change role", before, role)
        return _user(row)


def set_password(database: Database, name: str, password: str, actor: str) -> None:
    """Give an account another password and sign it out everywhere.

    Raises:
        NotFound: There is no such account.
        BadInput: The password cannot be used, or the account signs in through the identity provider.
    """
    require_good_password(password, name)
    hashed = hash_password(password)
    with database.session() as session:
        row = _get(session, name)
        if row.subject is not None:
            raise BadInput(
                f"password of {name}",
                found="an account that signs in through the identity provider",
                expected="one with a password",
                next_step="change it at the identity provider",
            )
        row.password = hashed
        session.execute(delete(SessionRow).where(SessionRow.name == name, SessionRow.owner.is_(False)))
        session.execute(delete(LoginAttemptRow).where(LoginAttemptRow.name == name))
        _audit(session, actor, name, "change password", row.role, row.role)


def remove_user(database: Database, name: str, actor: str) -> None:
    """Remove an account with its sessions and tokens; what it did stays in the audit log.

    Raises:
        NotFound: There is no such account.
        Conflict: It is the last admin's.
    """
    with database.session() as session:
        row = _get(session, name)
        _require_other_admin(session, row)
        session.execute(delete(SessionRow).where(SessionRow.name == name, SessionRow.owner.is_(False)))
        session.execute(delete(TokenRow).where(TokenRow.name == name))
        session.delete(row)
        _audit(session, actor, name, "remove user", row.role, "")


def known_by_password(database: Database, name: str, password: str) -> bool:
    """Whether this is the account's password. An unknown name takes as long."""
    with database.session() as session:
        row = session.get(UserRow, name)
        stored = None if row is None else row.password
    return password_matches(stored, password)


def user_of_provider(database: Database, subject: str, wanted: str, role: str) -> User:
    """The account of somebody whom the identity provider has recognised, made or brought up to date.

    Args:
        database: The platform's tables.
        subject: Issuer and subject: who it is, whatever the name.
        wanted: The name it should have; another account's is not taken over.
        role: What the provider says now.

    Raises:
        Conflict: Another account has the name.
    """
    with database.session() as session:
        row = session.query(UserRow).filter_by(subject=subject).one_or_none()
        if row is None:
            name = _usable(wanted)
            if session.get(UserRow, name) is not None:
                raise Conflict(
                    f"user {name!r}",
                    found="an account of that name that is somebody else's",
                    expected="a name that is free",
                    next_step="ask an admin to run `backbeat users remove`, or to be renamed at the provider",
                )
            row = UserRow(
                name=name, role=role, password=None, subject=subject, created_at=utc_now(), created_by="provider"
            )
            session.add(row)
            _audit(session, "provider", name, "add user", "", role)
        elif row.role != role:
            _audit(session, "provider", row.name, "change role", row.role, role)
            row.role = role
        return _user(row)


def _usable(wanted: str) -> str:
    kept = re.sub(r"[^A-Za-z0-9._@+-]", "-", wanted)[:32].lstrip("._@+-")
    if not kept:
        raise BadInput(
            f"user {wanted!r:.80}",
            found="a name without a letter or digit",
            expected="the claim preferred_username or email with one",
            next_step="correct the account at the identity provider",
        )
    return kept


def require_role(role: str) -> None:
    """Refuse a role that there is not.

    Raises:
        NotFound: There is no such role.
    """
    if role not in ROLES:
        raise unknown_name("role", role, ROLES, next_step="choose one of these")


def _get(session: Session, name: str) -> UserRow:
    row = session.get(UserRow, name)
    if row is None:
        known: Iterable[str] = [known for (known,) in session.query(UserRow.name)]
        raise unknown_name("user", name, known, next_step="run `backbeat users list`")
    return row


def _require_other_admin(session: Session, row: UserRow) -> None:
    others = session.query(UserRow.name).filter(UserRow.role == "admin", UserRow.name != row.name).first()
    if row.role == "admin" and others is None:
        raise Conflict(
            f"user {row.name!r}",
            found="the last admin",
            expected="another one who can manage accounts",
            next_step="run `backbeat users add NAME --role admin` first",
        )


def _audit(session: Session, actor: str, name: str, action: str, before: str, after: str) -> None:
    session.add(
        AuditRow(
            at=utc_now(),
            actor=actor,
            surface=PEOPLE_SURFACE,
            version=name,
            action=action,
            before=before,
            after=after,
            displaced=None,
            verdicts=[],
            reason="",
        )
    )


def _user(row: UserRow) -> User:
    return User(row.name, row.role, "provider" if row.subject else "password", row.created_at, row.created_by)
