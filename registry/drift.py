"""Aliases that somebody moved in MLflow itself: found beside our own last word, then accepted or reverted."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func

from contracts.database import Database
from contracts.errors import Conflict, NotFound
from contracts.home import Home
from contracts.promotion_rows import MoveRow, StandingRow
from contracts.settings import Settings
from contracts.surfaces import ALIASES, Tag
from registry.lifecycle import DISPLACED_TO, Standing
from registry.opening import Registry, open_registry
from registry.outbox import Move, Watch, carry_out, unwatched, watermark
from registry.webhook import tell
from registry.writing import given_reason, writing_registry

__all__ = ["Drift", "accept_drift", "drift", "find_drift", "require_no_drift", "revert_drift"]

_LOOKS = 20
_BETWEEN_LOOKS_S = 0.05


@dataclass(frozen=True)
class Drift:
    """One alias that is not where Backbeat put it."""

    surface: str
    alias: str
    ours: str | None
    """Version that holds it by our own last word; None where nobody should."""
    theirs: str | None
    """Version that holds it in MLflow, which is what is served."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def find_drift(registry: Registry, surface: str) -> list[Drift]:
    """The aliases of a surface that were moved behind our back; those of a move under way are not looked at.

    Raises:
        NotFound: There is no surface of that name.
        ServiceUnavailable: MLflow does not answer.
    """
    for _ in range(_LOOKS):
        ours = _our_word(registry.database, surface)
        found = registry.store.holders(surface)
        if _our_word(registry.database, surface) == ours:
            break
        time.sleep(_BETWEEN_LOOKS_S)  # A move ended between the two looks: what was read belongs to neither side of it.
    _, moving, words = ours
    return [
        Drift(surface, alias, words.get(alias), found.get(alias))
        for alias in ALIASES
        if alias not in moving and words.get(alias) != found.get(alias)
    ]


def require_no_drift(registry: Registry, surface: str) -> None:
    """Refuse to move anything on ground that somebody else has moved.

    Raises:
        Conflict: An alias is not where Backbeat put it.
    """
    found = find_drift(registry, surface)
    if not found:
        return
    with registry.database.session() as session:
        tell(session, registry.settings, "drift", surface, {"outcome": "found", "drift": [d.as_dict() for d in found]})
    raise Conflict(
        f"aliases of {surface} in MLflow",
        found="; ".join(f"{d.alias} is {_named(d.theirs)}" for d in found) + ", which nobody did through Backbeat",
        expected="; ".join(f"{d.alias} is {_named(d.ours)}" for d in found),
        next_step=f"run `backbeat models drift --surface {surface} --revert REASON`, or with --accept REASON",
    )


def drift(settings: Settings, home: Home, surface: str) -> list[Drift]:
    """The aliases of a surface that were moved behind our back; nothing is written.

    Raises:
        NotFound: There is no surface of that name.
        ServiceUnavailable: MLflow does not answer.
    """
    with open_registry(settings, home) as registry:
        return find_drift(registry, surface)


def accept_drift(
    settings: Settings, home: Home, surface: str, reason: str, actor: str, watch: Watch = unwatched
) -> list[Drift]:
    """Make MLflow's aliases our own word. No gate is asked: it states what is so. Each alias has its audit row.

    Args:
        settings: The process's settings.
        home: Whose registry.
        surface: Registered model.
        reason: Why, for the audit log.
        actor: Who, for the audit log.
        watch: Told of every step.

    Returns:
        What there was.

    Raises:
        NotFound: Nothing has drifted.
        BadInput: No reason is given.
        Conflict: Somebody else moves this surface.
    """
    return _end(settings, home, surface, "accepted", reason, actor, watch)


def revert_drift(
    settings: Settings, home: Home, surface: str, reason: str, actor: str, watch: Watch = unwatched
) -> list[Drift]:
    """Write our own word into MLflow again. No gate is asked. Each alias has its audit row.

    Args:
        settings: The process's settings.
        home: Whose registry.
        surface: Registered model.
        reason: Why, for the audit log.
        actor: Who, for the audit log.
        watch: Told of every step.

    Returns:
        What there was.

    Raises:
        NotFound: Nothing has drifted, or a version is gone from MLflow.
        BadInput: No reason is given.
        Conflict: Somebody else moves this surface.
    """
    return _end(settings, home, surface, "reverted", reason, actor, watch)


def _end(settings: Settings, home: Home, surface: str, how: str, reason: str, actor: str, watch: Watch) -> list[Drift]:
    reason = given_reason(reason)
    with writing_registry(settings, home) as registry:
        seen = watermark(registry.database, surface)
        found = find_drift(registry, surface)
        if not found:
            raise NotFound(
                f"drift of {surface}",
                found="every alias where Backbeat put it",
                expected="one that was moved in MLflow itself",
                next_step=f"`backbeat models list --surface {surface}` shows who holds what",
            )
        for one in found:
            carry_out(registry, _ending(registry, one, how, reason, actor), seen, watch)
            seen = watermark(registry.database, surface)
        return found


def _ending(registry: Registry, one: Drift, how: str, reason: str, actor: str) -> Move:
    wins, loses = (one.theirs, one.ours) if how == "accepted" else (one.ours, one.theirs)
    after = Standing({one.alias: wins}, _states(registry, one, wins, loses))
    if wins is not None and wins not in after.states:
        raise NotFound(
            f"{one.surface} version {wins}",
            found="none of that number in MLflow any more",
            expected=f"the version that is to be {one.alias} again",
            next_step=f"run `backbeat models drift --surface {one.surface} --accept REASON`",
        )
    before = registry.store.standing(one.surface, after)
    version = wins or loses or ""
    audit: dict[str, Any] = {
        # The alias that drifted, whatever else its holder holds: it is what the log is asked for later.
        "before": before.states.get(version, "gone") if wins is not None else one.alias,
        "after": after.states.get(version, "gone"),
        "displaced": loses if wins is not None else None,
        "verdicts": [],
        "reason": reason,
    }
    return Move(one.surface, version, f"drift {how}", actor, before, after, audit)


def _states(registry: Registry, one: Drift, wins: str | None, loses: str | None) -> Mapping[str, str]:
    """State tags that agree with the alias; versions that are gone from MLflow have none.

    Who loses an alias that its tag never spoke of stays what it was.
    """
    wanted = {} if wins is None else {wins: one.alias}
    if loses is not None:
        others = [a for a, v in registry.store.holders(one.surface).items() if v == loses and a != one.alias]
        wanted[loses] = next((alias for alias in ALIASES if alias in others), DISPLACED_TO[one.alias])
    present = registry.store.standing(one.surface, Standing({}, wanted)).states
    if loses is not None and not others and present[loses] != "gone":
        tagged = registry.store.get(one.surface, loses).tags.get(Tag.STATE, "registered")
        wanted[loses] = wanted[loses] if tagged == one.alias else tagged
    return {version: state for version, state in wanted.items() if present[version] != "gone"}


def _our_word(database: Database, surface: str) -> tuple[int, frozenset[str], dict[str, str | None]]:
    """Number of the newest move, aliases of one under way, and alias → version as we wrote it last."""
    with database.session() as session:
        newest = session.query(func.max(MoveRow.id)).filter_by(surface=surface).scalar() or 0
        pending = session.query(MoveRow).filter_by(pending_on=surface).one_or_none()
        rows = session.query(StandingRow).filter_by(surface=surface).all()
        moving = frozenset(pending.after["aliases"]) if pending is not None else frozenset()
        return newest, moving, {row.alias: row.version for row in rows}


def _named(version: str | None) -> str:
    return "nobody" if version is None else f"version {version}"
