"""``models promote``, ``retire``, ``rollback`` and ``resume``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.actor import current_actor
from contracts.console import emit, note
from contracts.options import HomeOption, JsonOption
from contracts.surfaces import VIDEO_FEED
from registry.commands.options import ReasonOption, SurfaceOption, TargetOption, VersionArgument

if TYPE_CHECKING:
    from contracts.home import Home
    from contracts.settings import Settings
    from registry.moves import Promotion

__all__ = ["moved", "promote", "resume", "retire", "rollback"]


def promote(
    version: VersionArgument,
    to: TargetOption,
    reason: ReasonOption,
    surface: SurfaceOption = VIDEO_FEED,
    wait: Annotated[
        bool, typer.Option("--wait", help="Where only an approval is missing, ask for it and wait for the decision.")
    ] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait at most.")] = 3600,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Give a version a state and its alias, if every gate says yes.

    Exit code 4 when a gate refuses; with `--wait` 8 when the request is rejected, 9 when nobody decides in time.
    Example: `backbeat models promote best --to champion --reason "highest validation recall"`
    """
    from contracts.errors import ApprovalMissing
    from contracts.opening import open_home
    from registry import promotion

    settings, place = open_home(home)
    try:
        done = promotion.promote(settings, place, surface, version, to, reason, current_actor())
    except ApprovalMissing:
        if not wait:
            raise
        return _await_approval(settings, place, surface, version, to, reason, timeout, as_json)
    return _said(done, as_json)


def _await_approval(
    settings: "Settings", place: "Home", surface: str, version: str, to: str, reason: str, timeout: float, as_json: bool
) -> dict[str, Any]:
    from registry import requests
    from registry.opening import open_registry
    from registry.request_book import request_of

    with open_registry(settings, place) as registry:
        number = registry.store.get(surface, version).version
        asked = request_of(registry.database, surface, number, to)
    if asked is None:
        asked = requests.request_promotion(settings, place, surface, number, to, reason, current_actor())
    note(f"request {asked.id} waits for an approval: `backbeat models approve {asked.id} --reason ...`")
    decided = requests.wait_for_decision(settings, place, asked.id, timeout)
    text = f"{surface} version {number}: {to}, approved and made by {decided.decided_by}."
    document = {"request": decided.as_dict()}
    emit(document, as_json=as_json, text=text)
    return document


def retire(
    version: VersionArgument,
    reason: ReasonOption,
    surface: SurfaceOption = VIDEO_FEED,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Take a version out of service; no gate is asked, and an alias it held is free.

    Example: `backbeat models retire champion --reason "its package is lost"`
    """
    from contracts.opening import open_home
    from registry import promotion

    settings, place = open_home(home)
    return _said(promotion.retire(settings, place, surface, version, reason, current_actor()), as_json)


def rollback(
    reason: ReasonOption, surface: SurfaceOption = VIDEO_FEED, home: HomeOption = None, as_json: JsonOption = False
) -> dict[str, Any]:
    """Make the champion before this one the champion again.

    Example: `backbeat models rollback --reason "complaints since Tuesday"`
    """
    from contracts.opening import open_home
    from registry import promotion

    settings, place = open_home(home)
    return _said(promotion.rollback(settings, place, surface, reason, current_actor()), as_json)


def resume(home: HomeOption = None, as_json: JsonOption = False) -> dict[str, Any]:
    """Finish or undo moves whose process died between the two databases; every command that moves something does so
    first.

    Example: `backbeat models resume`
    """
    from dataclasses import asdict

    from contracts.opening import open_home
    from registry.opening import open_registry
    from registry.outbox import resume_moves
    from registry.webhook import start_sending

    settings, place = open_home(home)
    with open_registry(settings, place) as registry:
        ended = resume_moves(registry)
        start_sending(settings, registry.database)
    lines = [f"{e.surface} version {e.version}: {e.action} of {e.actor} {e.outcome}." for e in ended]
    document = {"resumed": [asdict(e) for e in ended]}
    emit(document, as_json=as_json, text="\n".join(lines) or "No move was left unfinished.")
    return document


def moved(done: "Promotion") -> str:
    """What a move did, and what every gate said, as text."""
    name = f"{done.surface} version {done.version} ({done.model})"
    if done.outcome == "unchanged":
        lines = [f"{name} is {done.after} already; nothing changed."]
    else:
        displaced = f", displacing version {done.displaced}" if done.displaced else ""
        lines = [f"{name}: {done.before} → {done.after}{displaced}."]
    lines += [f"  {verdict.gate}: {verdict.outcome}, {verdict.sentence}" for verdict in done.verdicts]
    return "\n".join(lines)


def _said(done: "Promotion", as_json: bool) -> dict[str, Any]:
    document = done.as_dict()
    emit(document, as_json=as_json, text=moved(done))
    return document
