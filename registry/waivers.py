"""Waivers: an approver's leave for a version to pass a gate that refuses it, with a reason and an end."""

from datetime import datetime, timedelta

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, unknown_name
from contracts.home import Home
from contracts.platform import AuditRow
from contracts.promotion_rows import WaiverRow
from contracts.settings import Settings
from registry.facts import Waiver
from registry.policy import load_policy
from registry.webhook import tell
from registry.writing import given_reason, writing_registry

__all__ = ["waive", "waivers"]

_LONGEST_DAYS = 90


def waive(
    settings: Settings,
    home: Home,
    surface: str,
    selector: str,
    gate: str,
    approver: str,
    reason: str,
    days: float,
) -> Waiver:
    """Let a version pass a gate for some time, whatever the gate says.

    Args:
        settings: The process's settings.
        home: Whose registry.
        surface: Registered model.
        selector: Version number, alias, ``best`` or ``runner-up``.
        gate: Name of a gate that the surface's policy allows to be waived.
        approver: Who answers for it.
        reason: Why, for the audit log and for every verdict that is waived.
        days: How long.

    Raises:
        NotFound: No such surface or version, or no gate of that name that may be waived.
        BadInput: No reason is given, or another number of days than from 0 to 90.
    """
    reason = given_reason(reason)
    if not 0 < days <= _LONGEST_DAYS:
        raise BadInput(
            f"days of a waiver for {gate}",
            found=days,
            expected=f"more than 0 and at most {_LONGEST_DAYS}",
            next_step="repeat the command with --days 7",
        )
    allowed = load_policy(settings, home).of(surface).waivable
    if gate not in allowed:
        raise unknown_name(
            f"gate of {surface} that may be waived",
            gate,
            allowed,
            next_step="mend what the gate names, or change `waivable` in the policy file",
        )
    with writing_registry(settings, home) as registry:
        version = registry.store.get(surface, selector)
        now = utc_now()
        until = now + timedelta(days=days)
        with registry.database.session() as session:
            session.add(
                WaiverRow(
                    surface=surface,
                    version=version.version,
                    gate=gate,
                    approver=approver,
                    reason=reason,
                    at=now,
                    until=until,
                )
            )
            session.add(
                AuditRow(
                    at=now,
                    actor=approver,
                    surface=surface,
                    version=version.version,
                    action="waive",
                    before=gate,
                    after=gate,
                    displaced=None,
                    verdicts=[],
                    reason=f"until {until:%Y-%m-%d %H:%M} UTC: {reason}",
                )
            )
            facts = {"version": version.version, "gate": gate, "actor": approver, "reason": reason}
            tell(session, settings, "waived", surface, {**facts, "until": until.isoformat()})
        return Waiver(gate, approver, reason, until)


def waivers(database: Database, surface: str, version: str, at: datetime | None = None) -> tuple[Waiver, ...]:
    """The waivers of a version that are in force, oldest first.

    Args:
        database: The platform's tables.
        surface: Registered model.
        version: Its number.
        at: The moment; now if None.
    """
    moment = at or utc_now()
    with database.session() as session:
        rows = session.query(WaiverRow).filter_by(surface=surface, version=version)
        rows = rows.filter(WaiverRow.at <= moment, WaiverRow.until > moment).order_by(WaiverRow.id)
        return tuple(Waiver(row.gate, row.approver, row.reason, row.until) for row in rows)
