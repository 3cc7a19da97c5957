"""`backbeat models judge`: what every gate says, without moving anything."""

from typing import Any

import typer

from contracts.actor import current_actor
from contracts.console import emit
from contracts.errors import GateRefused
from contracts.options import HomeOption, JsonOption
from contracts.surfaces import VIDEO_FEED
from registry.commands.options import SurfaceOption, TargetOption, VersionArgument

__all__ = ["judge"]


def judge(
    version: VersionArgument,
    to: TargetOption = "champion",
    surface: SurfaceOption = VIDEO_FEED,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Ask every gate of a move and keep what they say; nothing moves; exit code 4 when one refuses.

    Example: `backbeat models judge best`
    """
    from contracts.opening import open_home
    from registry.evidence import remeasure_in_clean_process, replay_in_clean_process
    from registry.opening import open_registry
    from registry.promotion import judging, require_target

    settings, place = open_home(home)
    require_target(to)
    with open_registry(settings, place) as registry:
        ask = judging(registry, to, current_actor(), replay_in_clean_process, remeasure_in_clean_process)
        found = ask(registry.store.get(surface, version))
    lines = [f"{surface} version {found.version} → {to}: {len(found.refused)} of {len(found.verdicts)} gates refuse."]
    lines += [f"  {verdict.gate}: {verdict.outcome}, {verdict.sentence}" for verdict in found.verdicts]
    document = found.as_dict()
    emit(document, as_json=as_json, text="\n".join(lines))
    if found.refused:
        raise typer.Exit(GateRefused.exit_code)
    return document
