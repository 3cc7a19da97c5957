"""Moves across two databases: recorded, written to MLflow, ended; taken up again where a process died between.

A move is first a pending row of our own tables, which locks its surface; then it is written to MLflow; then one
transaction writes the audit log and ends it. Whoever finds a pending row whose process is dead finishes the move where
readers have seen it already, and undoes it where they have not.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from sqlalchemy import func, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import Conflict
from contracts.liveness import Holder, is_alive, myself
from contracts.platform import AuditRow
from contracts.promotion_rows import MoveRow, RequestRow, StandingRow
from registry.first_comers import busy, overtaken
from registry.lifecycle import Standing
from registry.opening import Registry
from registry.store import ModelStore
from registry.webhook import tell

__all__ = ["Move", "Resumed", "Watch", "carry_out", "resume_moves", "unwatched", "watermark"]

Watch = Callable[[str], None]
"""Told of every step of a move once it is done."""

_CLAIMS = 5
"""Attempts at a surface that seems to be free each time one looks."""

_EVENTS = {"rollback": "rolled_back", "drift accepted": "drift", "drift reverted": "drift"}


@dataclass(frozen=True)
class Move:
    """What shall change, and what the audit log will say of it."""

    surface: str
    version: str
    action: str
    actor: str
    before: Standing
    after: Standing
    audit: Mapping[str, Any]
    """``before``, ``after``, ``displaced``, ``verdicts`` and ``reason``."""
    request_id: str | None = None


@dataclass(frozen=True)
class Resumed:
    """How a move ended whose process had died."""

    surface: str
    version: str
    action: str
    actor: str
    outcome: Literal["finished", "undone"]


def unwatched(_step: str) -> None:
    """Nobody is told."""


def watermark(database: Database, surface: str) -> int:
    """Number of the surface's newest move, to be read before anything is judged.

    Raises:
        Conflict: A move is under way; the message names who makes it.
    """
    with database.session() as session:
        pending = session.query(MoveRow).filter_by(pending_on=surface).one_or_none()
        if pending is not None:
            raise busy(pending)
        return session.query(func.max(MoveRow.id)).filter_by(surface=surface).scalar() or 0


def carry_out(registry: Registry, move: Move, seen: int, watch: Watch = unwatched) -> None:
    """Make a move, wholly or not at all.

    Args:
        registry: Both databases.
        move: What shall change.
        seen: The surface's watermark when the move was judged.
        watch: Told of every step.

    Raises:
        Conflict: Somebody else moved, or moves, what this move is about; the message names them. Or somebody changed
            MLflow itself.
    """
    hold = _claim(registry.database, move, seen)
    written = False
    try:
        watch("claimed")
        _require_as_judged(registry.store, move)
        written = True
        for name, write in _writes(registry.store, move):
            hold.beat()
            write()
            watch(name)
        with registry.database.session() as session:
            _finish(session, registry, hold, move, watch)
    except BaseException:
        _give_up(registry.store, hold, move, written)
        raise
    watch("finished")


def resume_moves(registry: Registry) -> list[Resumed]:
    """Finish or undo every move whose process is dead.

    A move that readers have seen is finished, with the audit row it was to have; any other is undone, and the audit log
    says so.

    Returns:
        What was ended, in the order of the moves.
    """
    with registry.database.session() as session:
        rows = session.query(MoveRow).filter(MoveRow.pending_on.is_not(None)).order_by(MoveRow.id).all()
        session.expunge_all()
    ended = []
    for row in rows:
        hold = _take_over(registry.database, row)
        if hold is not None:
            try:
                ended.append(_end(registry, hold, _move_of(row)))
            except BaseException:
                hold.let_go()
                raise
    return ended


@dataclass(frozen=True)
class _Hold:
    """A pending row, as long as its token is ours."""

    database: Database
    move_id: int
    token: str

    def beat(self) -> None:
        """Say that the work goes on, before each write to MLflow."""
        with self.database.session() as session:
            self.change(session, heartbeat_at=utc_now())

    def change(self, session: Session, **values: Any) -> None:
        """Write to the row; refused where another process has taken it."""
        mine = update(MoveRow).where(MoveRow.id == self.move_id, MoveRow.token == self.token)
        done: Any = session.execute(mine.where(MoveRow.pending_on.is_not(None)).values(**values))
        if done.rowcount != 1:
            raise _Lost(
                f"move {self.move_id}",
                found="another process that has taken it up, as this one seemed to be dead",
                expected="a move that is this process's own until it ends",
                next_step="`backbeat models audit` shows how it ended",
            )

    def let_go(self) -> None:
        """Leave the move to whoever writes next; where that cannot be said, the heartbeat will tell."""
        with suppress(Exception), self.database.session() as session:
            self.change(session, host=None, pid=None, born=None)

    def release(self, session: Session, state: str) -> None:
        """End the move, and with it the lock."""
        self.change(session, state=state, pending_on=None, host=None, pid=None, born=None, heartbeat_at=utc_now())


class _Lost(Conflict):
    """The row is somebody else's now."""


def _claim(database: Database, move: Move, seen: int) -> _Hold:
    now, token = utc_now(), uuid.uuid4().hex
    row = MoveRow(
        at=now,
        surface=move.surface,
        version=move.version,
        action=move.action,
        actor=move.actor,
        before=move.before.as_dict(),
        after=move.after.as_dict(),
        audit=dict(move.audit),
        request_id=move.request_id,
        state="pending",
        pending_on=move.surface,
        token=token,
        **vars(myself()),
        heartbeat_at=now,
    )
    attempts = 0
    while True:
        try:
            with database.session() as session:
                session.add(row)
                session.flush()  # From here on nobody else moves this surface, and what others moved is to be seen.
                later = session.query(MoveRow).filter_by(surface=move.surface, state="done")
                for done in later.filter(MoveRow.id > seen).order_by(MoveRow.id.desc()):
                    if move.after.meets(Standing.from_dict(done.after)):
                        raise overtaken(move.surface, move.version, move.audit["after"], done)
                _require_undecided(session, move)
                return _Hold(database, row.id, token)
        except IntegrityError:
            watermark(database, move.surface)  # Says who; or else that one has just ended.
            attempts += 1
            if attempts == _CLAIMS:
                raise


def _require_undecided(session: Session, move: Move) -> None:
    request = session.get(RequestRow, move.request_id) if move.request_id is not None else None
    if request is not None and request.state not in ("open", "approved"):
        raise Conflict(
            f"request {request.id}",
            found=f"{request.state} by {request.decided_by} while the gates were asked: {request.decision_reason}",
            expected="a request that still stands",
            next_step="run `backbeat models requests`",
        )


def _require_as_judged(store: ModelStore, move: Move) -> None:
    found = store.standing(move.surface, move.before)
    if found != move.before:
        held = ", ".join(f"{alias} is {version or 'nobody'}" for alias, version in found.aliases.items())
        raise Conflict(
            f"{move.surface} version {move.version}",
            found=f"a change in MLflow that was not made here: {held or found.states}",
            expected="what was judged",
            next_step=f"run `backbeat models drift --surface {move.surface}`",
        )


def _writes(store: ModelStore, move: Move) -> Iterator[tuple[str, Callable[[], None]]]:
    for alias, version in move.after.aliases.items():
        yield f"alias {alias}", partial(store.point, move.surface, alias, version)
    for number, state in move.after.states.items():
        yield f"tag {number}", partial(store.mark, move.surface, number, state)


def _finish(session: Session, registry: Registry, hold: _Hold, move: Move, watch: Watch = unwatched) -> None:
    now = utc_now()
    hold.release(session, "done")
    session.add(_audit_row(move, move.action, move.audit["after"]))
    for alias, version in move.after.aliases.items():
        session.merge(StandingRow(surface=move.surface, alias=alias, version=version, at=now))
    if move.request_id is not None:
        performed = {"state": "performed", "wish": None, "decided_at": now, "decided_by": move.actor}
        session.execute(update(RequestRow).where(RequestRow.id == move.request_id).values(**performed))
    facts = {"version": move.version, "action": move.action, "actor": move.actor, **move.audit}
    tell(session, registry.settings, _EVENTS.get(move.action, "moved"), move.surface, facts)
    session.flush()
    watch("audited")


def _audit_row(move: Move, action: str, after: str) -> AuditRow:
    return AuditRow(
        at=utc_now(),
        actor=move.actor,
        surface=move.surface,
        version=move.version,
        action=action,
        before=move.audit["before"],
        after=after,
        displaced=move.audit["displaced"] if action == move.action else None,
        verdicts=list(move.audit["verdicts"]),
        reason=move.audit["reason"],
    )


def _give_up(store: ModelStore, hold: _Hold, move: Move, written: bool) -> None:
    """Put everything back; where that fails too the move is left to whoever writes next."""
    # The first error is the one to be told, so none of these may take its place.
    with suppress(Exception):
        hold.beat()  # Only a move that is certainly not ended, in a database that answers, may be undone.
        try:
            if written:
                _settle(store, move.surface, move.after, move.before)
            with hold.database.session() as session:
                hold.release(session, "undone")
        except Exception:  # noqa: BLE001 - the first error is on its way already
            hold.let_go()


def _settle(store: ModelStore, surface: str, source: Standing, goal: Standing) -> None:
    """Lead everything from one standing to the other; an alias that a third party has set stays."""
    found = store.standing(surface, goal)
    present = {version for version, state in found.states.items() if state != "gone"}
    for alias, version in goal.aliases.items():
        if found.aliases[alias] == source.aliases[alias] != version and (version is None or version in present):
            store.point(surface, alias, version)
    for version, state in goal.states.items():
        if version in present:
            store.mark(surface, version, state)


def _take_over(database: Database, row: MoveRow) -> _Hold | None:
    """Become who works on a row; None where its process lives, or another was quicker."""
    if row.host is not None and is_alive(Holder(row.host, row.pid or 0, row.born or ""), row.heartbeat_at):
        return None
    token = uuid.uuid4().hex
    try:
        with database.session() as session:
            values = {"token": token, "heartbeat_at": utc_now(), **vars(myself())}
            _Hold(database, row.id, row.token).change(session, **values)
    except _Lost:
        return None
    return _Hold(database, row.id, token)


def _end(registry: Registry, hold: _Hold, move: Move) -> Resumed:
    finishes = _was_seen(registry.store.standing(move.surface, move.after), move)
    source, goal = (move.before, move.after) if finishes else (move.after, move.before)
    _settle(registry.store, move.surface, source, goal)
    with registry.database.session() as session:
        if finishes:
            _finish(session, registry, hold, move)
        else:
            hold.release(session, "undone")
            session.add(_audit_row(move, f"{move.action} undone", move.audit["before"]))
    return Resumed(move.surface, move.version, move.action, move.actor, "finished" if finishes else "undone")


def _was_seen(found: Standing, move: Move) -> bool:
    """Whether the first write of a move has reached MLflow, which is what its readers go by."""
    for alias, version in move.after.aliases.items():
        if version != move.before.aliases[alias]:
            return found.aliases[alias] == version
    return all(found.states[number] in (state, "gone") for number, state in move.after.states.items())


def _move_of(row: MoveRow) -> Move:
    before, after = Standing.from_dict(row.before), Standing.from_dict(row.after)
    return Move(row.surface, row.version, row.action, row.actor, before, after, row.audit, row.request_id)
