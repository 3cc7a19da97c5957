"""``models waive`` and ``models waivers``."""

from typing import Annotated, Any

import typer

from contracts.actor import current_actor
from contracts.console import emit
from contracts.options import HomeOption, JsonOption
from contracts.surfaces import VIDEO_FEED
from registry.commands.options import ReasonOption, SurfaceOption, VersionArgument

__all__ = ["waive", "waivers"]


def waive(
    version: VersionArgument,
    gate: Annotated[str, typer.Option("--gate", help="Gate that the version may pass whatever it says.")],
    reason: ReasonOption,
    days: Annotated[float, typer.Option("--days", help="How long, at most 90.")] = 7,
    surface: SurfaceOption = VIDEO_FEED,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Let a version pass a gate that the policy allows to be waived, for some days.

    Example: `backbeat models waive 7 --gate latency --days 3 --reason "new machines arrive on Monday"`
    """
    from dataclasses import asdict

    from contracts.opening import open_home
    from registry import waivers as desk

    settings, place = open_home(home)
    given = desk.waive(settings, place, surface, version, gate, current_actor(), reason, days)
    text = f"{surface} version {version} may pass {gate} until {given.until:%Y-%m-%d %H:%M} UTC."
    emit(asdict(given), as_json=as_json, text=text)
    return asdict(given)


def waivers(
    version: VersionArgument, surface: SurfaceOption = VIDEO_FEED, home: HomeOption = None, as_json: JsonOption = False
) -> dict[str, Any]:
    """List the waivers of a version that are in force. Example: `backbeat models waivers 7`"""
    from dataclasses import asdict

    from contracts.opening import open_home
    from registry import waivers as desk
    from registry.opening import open_registry

    settings, place = open_home(home)
    with open_registry(settings, place) as registry:
        number = registry.store.get(surface, version).version
        found = desk.waivers(registry.database, surface, number)
    lines = [f"{w.gate} until {w.until:%Y-%m-%d %H:%M} UTC  by {w.approver}: {w.reason}" for w in found]
    document = {"surface": surface, "version": number, "waivers": [asdict(w) for w in found]}
    emit(document, as_json=as_json, text="\n".join(lines) or f"No gate is waived for {surface} version {number}.")
    return document
