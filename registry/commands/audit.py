"""``models audit``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.console import emit
from contracts.options import HomeOption, JsonOption
from contracts.surfaces import ALIASES, DATA_SURFACE, VIDEO_FEED
from registry.commands.options import SurfaceOption

if TYPE_CHECKING:
    from contracts.home import Home
    from contracts.settings import Settings

__all__ = ["audit"]


def audit(
    surface: SurfaceOption = VIDEO_FEED,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of the newest entries.")] = 20,
    at: Annotated[
        str | None, typer.Option("--at", help="Only who held which alias then, e.g. 2026-01-31T12:00:00+00:00.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Show who moved what, when and why, refused attempts included. Example: `backbeat models audit`

    `--surface data` shows who has accepted data that failed validation; `--at TIME` who was champion at that moment.
    """
    from contracts.opening import open_home
    from registry.audit import audit_log

    settings, place = open_home(home)
    if at is not None:
        return _at(settings, place, surface, at, as_json)
    rows = audit_log(settings, place, surface, limit)
    lines = [line for row in rows for line in _lines(row, "snapshot" if surface == DATA_SURFACE else "version")]
    document = {"surface": surface, "audit": rows}
    emit(document, as_json=as_json, text="\n".join(lines) or f"No move of {surface} yet.")
    return document


def _at(settings: "Settings", place: "Home", surface: str, at: str, as_json: bool) -> dict[str, Any]:
    from contracts.clock import parse_instant
    from contracts.errors import unknown_name
    from contracts.surfaces import SURFACES
    from registry.audit import aliases_at
    from registry.opening import open_registry

    if surface not in SURFACES:
        raise unknown_name("surface", surface, SURFACES, next_step="choose one of these")
    moment = parse_instant(at, "--at")
    with open_registry(settings, place) as registry:
        held = aliases_at(registry.database, surface, moment)
    lines = [f"{alias:<11} {f'version {held[alias]}' if alias in held else 'nobody'}" for alias in ALIASES]
    document = {"surface": surface, "at": moment, "aliases": {alias: held.get(alias) for alias in ALIASES}}
    emit(document, as_json=as_json, text="\n".join([f"{surface} at {moment:%Y-%m-%d %H:%M:%S} UTC:", *lines]))
    return document


def _lines(row: dict[str, Any], moved: str) -> list[str]:
    displaced = f", displacing version {row['displaced']}" if row["displaced"] else ""
    change = f"{row['before']} → {row['after']}" if row["before"] != row["after"] else row["after"]
    return [
        f"{row['at']:%Y-%m-%d %H:%M:%S} UTC  {row['actor']}  {row['action']} {moved} {row['version']}: "
        f"{change}{displaced}; {row['reason']}",
        *(f"    {verdict['gate']}: {verdict['outcome']}, {verdict['sentence']}" for verdict in row["verdicts"]),
    ]
