"""``models drift``."""

from typing import Annotated, Any

import typer

from contracts.actor import current_actor
from contracts.console import emit
from contracts.options import HomeOption, JsonOption
from contracts.surfaces import VIDEO_FEED
from registry.commands.options import SurfaceOption

__all__ = ["drift"]

DRIFTED = 4
"""Exit code where an alias is not where Backbeat put it."""


def drift(
    surface: SurfaceOption = VIDEO_FEED,
    accept: Annotated[str | None, typer.Option("--accept", help="Let it be so; why, for the audit log.")] = None,
    revert: Annotated[str | None, typer.Option("--revert", help="Put it back; why, for the audit log.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Show aliases that somebody moved in MLflow itself, and accept or revert that; exit code 4 while there are any.

    Example: `backbeat models drift --revert "nobody was asked"`
    """
    from contracts.errors import BadInput
    from contracts.opening import open_home
    from registry import drift as desk

    if accept is not None and revert is not None:
        raise BadInput(
            "`backbeat models drift`",
            found="--accept and --revert",
            expected="one of them, or none to look only",
            next_step="repeat the command with one of them",
        )
    settings, place = open_home(home)
    if accept is not None:
        found, outcome = desk.accept_drift(settings, place, surface, accept, current_actor()), "accepted"
    elif revert is not None:
        found, outcome = desk.revert_drift(settings, place, surface, revert, current_actor()), "reverted"
    else:
        found, outcome = desk.drift(settings, place, surface), "found"
    lines = [
        f"{d.alias}: {_named(d.theirs)} in MLflow, {_named(d.ours)} by Backbeat's last word; {outcome}" for d in found
    ]
    if found and outcome == "found":
        lines.append(f"Next: run `backbeat models drift --surface {surface} --revert REASON`, or with --accept REASON")
    document = {"surface": surface, "outcome": outcome if found else "none", "drift": [d.as_dict() for d in found]}
    emit(document, as_json=as_json, text="\n".join(lines) or f"Every alias of {surface} is where Backbeat put it.")
    if found and outcome == "found":
        raise typer.Exit(DRIFTED)
    return document


def _named(version: str | None) -> str:
    return "nobody" if version is None else f"version {version}"
