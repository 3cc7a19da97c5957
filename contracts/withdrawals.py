"""Items that nobody is to be served any more: withdrawn by somebody's word, until somebody admits them again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import String, func, select
from sqlalchemy.orm import Mapped, mapped_column

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, NotFound
from contracts.platform import AuditRow, PlatformBase
from contracts.surfaces import DATA_SURFACE, VIDEO_FEED, Surface

__all__ = [
    "Kind",
    "Withdrawal",
    "WithdrawnItemRow",
    "admit_items",
    "kind_of_surface",
    "withdraw_items",
    "withdrawals",
    "withdrawals_as_of",
]

Kind = Literal["video", "music"]

_AT_ONCE = 500
"""Ids in one statement: SQLite takes a limited number of parameters."""


class WithdrawnItemRow(PlatformBase):
    """An item that nobody is served."""

    __tablename__ = "withdrawn_items"

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    """A :data:`Kind`."""
    item_id: Mapped[str] = mapped_column(String(256), primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str]


@dataclass(frozen=True)
class Withdrawal:
    """Who withdrew an item, when and why."""

    item_id: str
    at: datetime
    actor: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"item_id": self.item_id, "at": self.at.isoformat(), "actor": self.actor, "reason": self.reason}


def kind_of_surface(surface: Surface) -> Kind:
    """What a surface recommends."""
    return "video" if surface == VIDEO_FEED else "music"


def withdraw_items(database: Database, kind: Kind, item_ids: Sequence[str], actor: str, reason: str) -> int:
    """Withdraw items, known to a model or not; how many were not withdrawn before. Those that were keep their reason.

    Raises:
        BadInput: There is no reason.
    """
    _require_reason(reason)
    now = utc_now()
    with database.session() as session:
        known: set[str] = set()
        for start in range(0, len(item_ids), _AT_ONCE):
            some = WithdrawnItemRow.item_id.in_(item_ids[start : start + _AT_ONCE])
            known |= set(session.scalars(select(WithdrawnItemRow.item_id).where(WithdrawnItemRow.kind == kind, some)))
        new = [item for item in dict.fromkeys(item_ids) if item not in known]
        session.add_all(WithdrawnItemRow(kind=kind, item_id=item, at=now, actor=actor, reason=reason) for item in new)
        if new:
            session.add(_audited(now, "withdraw", kind, new, actor, reason))
    return len(new)


def admit_items(database: Database, kind: Kind, item_ids: Sequence[str], actor: str, reason: str) -> None:
    """Take withdrawals back.

    Raises:
        BadInput: There is no reason.
        NotFound: An item is not withdrawn; nothing is changed then.
    """
    _require_reason(reason)
    wanted = list(dict.fromkeys(item_ids))
    with database.session() as session:
        for item in wanted:
            row = session.get(WithdrawnItemRow, (kind, item))
            if row is None:
                raise NotFound(
                    f"withdrawn {kind} {item!r}",
                    found="an item that is not withdrawn",
                    expected="one of `backbeat videos withdrawn`",
                    next_step="correct the id, or leave it out",
                )
            session.delete(row)
        session.add(_audited(utc_now(), "admit", kind, wanted, actor, reason))


def withdrawals(database: Database, kind: Kind) -> list[Withdrawal]:
    """All that are withdrawn, the newest first."""
    with database.session() as session:
        rows = session.scalars(
            select(WithdrawnItemRow)
            .where(WithdrawnItemRow.kind == kind)
            .order_by(WithdrawnItemRow.at.desc(), WithdrawnItemRow.item_id)
        )
        return [Withdrawal(row.item_id, row.at, row.actor, row.reason) for row in rows]


def withdrawals_as_of(database: Database, kind: Kind) -> tuple[int, datetime | None]:
    """What is another value whenever other items are withdrawn, and quicker to read than these."""
    with database.session() as session:
        count, newest = session.execute(
            select(func.count(), func.max(WithdrawnItemRow.at)).where(WithdrawnItemRow.kind == kind)
        ).one()
        return count, newest


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise BadInput(
            "reason of a withdrawal", found="nothing", expected="why, in words", next_step="give it with --reason"
        )


def _audited(now: datetime, action: str, kind: Kind, items: Sequence[str], actor: str, reason: str) -> AuditRow:
    return AuditRow(
        at=now,
        actor=actor,
        surface=DATA_SURFACE,
        version=kind,
        action=action,
        before="",
        after="",
        displaced=None,
        verdicts=[{"gate": kind, "outcome": action, "sentence": item} for item in items],
        reason=reason,
    )
