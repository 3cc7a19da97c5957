"""The audit log: who moved what, when and why, and who held which alias at any moment."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from contracts.database import Database
from contracts.errors import NotFound, unknown_name
from contracts.home import Home
from contracts.platform import AuditRow
from contracts.settings import Settings
from contracts.surfaces import ALIASES, DATA_SURFACE, SURFACES

__all__ = ["aliases_at", "audit_log", "champion_at", "champion_before"]

_MOVES = ("promote", "rollback", "retire", "drift accepted")


def audit_log(
    settings: Settings,
    home: Home,
    surface: str,
    limit: int | None = None,
    *,
    actor: str | None = None,
    action: str | None = None,
    version: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[dict[str, Any]]:
    """The audit log of a surface, newest first; each row as a dict of the columns of :class:`AuditRow`.

    Args:
        settings: Name the database.
        home: Holds it in the local profile.
        surface: Registered model, or ``data`` for decisions about data.
        limit: At most so many rows; all if None.
        actor: Only what this person did.
        action: Only this, e.g. ``promote`` or ``promote refused``.
        version: Only what was done to this version.
        since: Nothing before this moment.
        until: Nothing after this moment.

    Raises:
        NotFound: There is no surface of that name.
    """
    if surface not in (*SURFACES, DATA_SURFACE):
        raise unknown_name("surface", surface, (*SURFACES, DATA_SURFACE), next_step="choose one of these")
    wanted = {"actor": actor, "action": action, "version": version}
    database = Database(settings, home)
    try:
        with database.session() as session:
            query = session.query(AuditRow).filter_by(
                surface=surface, **{name: value for name, value in wanted.items() if value is not None}
            )
            if since is not None:
                query = query.filter(AuditRow.at >= since)
            if until is not None:
                query = query.filter(AuditRow.at <= until)
            rows = query.order_by(AuditRow.id.desc()).limit(limit).all()
            columns = AuditRow.__table__.columns.keys()
            return [{name: getattr(row, name) for name in columns} for row in rows]
    finally:
        database.close()


def aliases_at(database: Database, surface: str, at: datetime) -> dict[str, str]:
    """Alias → the version that Backbeat had given it to, at a moment.

    What was moved in MLflow itself is known from when it was accepted: MLflow does not say when it happened.

    Args:
        database: The platform's tables.
        surface: Registered model.
        at: The moment.
    """
    held: dict[str, str] = {}
    with database.session() as session:
        for action, version, before, after in _moves(session, surface, at):
            if action != "drift accepted":
                held = {alias: holder for alias, holder in held.items() if holder != version}
            elif after not in ALIASES:
                held.pop(before, None)
            if after in ALIASES:
                held[after] = version
    return held


def champion_at(database: Database, surface: str, at: datetime) -> str | None:
    """The version that was champion at a moment, as :func:`aliases_at` knows it; None where there was none."""
    return aliases_at(database, surface, at).get("champion")


def champion_before(database: Database, surface: str, champion: str) -> str:
    """The version a rollback returns to: promotions pile champions up, rollbacks take them off again.

    Args:
        database: The platform's tables.
        surface: Registered model.
        champion: Its champion.

    Raises:
        NotFound: There was none before.
    """
    pile: list[str] = []
    with database.session() as session:
        for action, version, _, after in _moves(session, surface, None):
            if after == "champion" and action != "rollback":
                pile.append(version)
            elif after == "champion" and pile:
                pile.pop()
    while pile and pile[-1] == champion:
        pile.pop()
    if not pile:
        raise NotFound(
            f"champion of {surface} before version {champion}",
            found="none in the audit log",
            expected="an earlier champion to return to",
            next_step="promote another version with `backbeat models promote VERSION --to champion --reason ...`",
        )
    return pile[-1]


def _moves(session: Session, surface: str, until: datetime | None) -> list[tuple[str, str, str, str]]:
    """Action, version, state before and after of what was moved, oldest first."""
    query = session.query(AuditRow.action, AuditRow.version, AuditRow.before, AuditRow.after)
    query = query.filter(AuditRow.surface == surface, AuditRow.action.in_(_MOVES))
    if until is not None:
        query = query.filter(AuditRow.at <= until)
    return [(action, version, before, after) for action, version, before, after in query.order_by(AuditRow.id)]
