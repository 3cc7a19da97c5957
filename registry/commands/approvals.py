"""``models request``, ``requests``, ``approve``, ``reject`` and ``withdraw``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.actor import current_actor
from contracts.console import emit
from contracts.options import HomeOption, JsonOption
from contracts.surfaces import VIDEO_FEED
from registry.commands.options import ReasonOption, SurfaceOption, TargetOption, VersionArgument

if TYPE_CHECKING:
    from registry.request_book import Request

__all__ = ["approve", "reject", "request", "requests", "withdraw"]

RequestArgument = Annotated[str, typer.Argument(help="Id of a request; `backbeat models requests` lists them.")]


def request(
    version: VersionArgument,
    to: TargetOption,
    reason: ReasonOption,
    surface: SurfaceOption = VIDEO_FEED,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Ask that a version be promoted; every gate is asked now, somebody else approves.

    Example: `backbeat models request 7 --to champion --reason "better on cold videos"`
    """
    from contracts.opening import open_home
    from registry import requests as desk

    settings, place = open_home(home)
    filed = desk.request_promotion(settings, place, surface, version, to, reason, current_actor())
    lines = [*_lines(filed), f'Next: somebody else runs `backbeat models approve {filed.id} --reason "..."`']
    emit(filed.as_dict(), as_json=as_json, text="\n".join(lines))
    return filed.as_dict()


def requests(
    surface: Annotated[str | None, typer.Option("--surface", help="Only of this registered model.")] = None,
    state: Annotated[
        str | None,
        typer.Option("--state", help="Only `open`, `approved`, `rejected`, `withdrawn` or `performed` ones."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of the newest.")] = 20,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """List requests and how they were decided, newest first. Example: `backbeat models requests --state open`"""
    from contracts.errors import unknown_name
    from contracts.opening import open_home
    from registry.opening import open_registry
    from registry.request_book import STATES, list_requests

    if state is not None and state not in STATES:
        raise unknown_name("state of a request", state, STATES, next_step="choose one of these")
    settings, place = open_home(home)
    with open_registry(settings, place) as registry:
        found = list_requests(registry.database, surface, state, limit)
    text = "\n".join(line for one in found for line in _lines(one)) or "No such request."
    document = {"requests": [one.as_dict() for one in found]}
    emit(document, as_json=as_json, text=text)
    return document


def approve(
    request_id: RequestArgument, reason: ReasonOption, home: HomeOption = None, as_json: JsonOption = False
) -> dict[str, Any]:
    """Say yes to somebody else's request; the last yes that the policy asks for makes the move.

    Exit code 4 when a gate refuses by now. Example: `backbeat models approve 1f3a5c7e9b2d --reason "looked at slices"`
    """
    from contracts.opening import open_home
    from registry import requests as desk
    from registry.commands.promote import moved

    settings, place = open_home(home)
    decision = desk.approve(settings, place, request_id, current_actor(), reason)
    text = "\n".join(_lines(decision.request)) if decision.promotion is None else moved(decision.promotion)
    emit(decision.as_dict(), as_json=as_json, text=text)
    return decision.as_dict()


def reject(
    request_id: RequestArgument, reason: ReasonOption, home: HomeOption = None, as_json: JsonOption = False
) -> dict[str, Any]:
    """Say no to a request, which ends it.

    Example: `backbeat models reject 1f3a5c7e9b2d --reason "the slice of new users is worse"`
    """
    from contracts.opening import open_home
    from registry import requests as desk

    settings, place = open_home(home)
    return _ended(desk.reject(settings, place, request_id, current_actor(), reason), as_json)


def withdraw(
    request_id: RequestArgument, reason: ReasonOption, home: HomeOption = None, as_json: JsonOption = False
) -> dict[str, Any]:
    """Take back your own request.

    Example: `backbeat models withdraw 1f3a5c7e9b2d --reason "found a fault in its features"`
    """
    from contracts.opening import open_home
    from registry import requests as desk

    settings, place = open_home(home)
    return _ended(desk.withdraw(settings, place, request_id, current_actor(), reason), as_json)


def _ended(ended: "Request", as_json: bool) -> dict[str, Any]:
    emit(ended.as_dict(), as_json=as_json, text="\n".join(_lines(ended)))
    return ended.as_dict()


def _lines(asked: "Request") -> list[str]:
    lines = [
        f"{asked.id}  {asked.at:%Y-%m-%d %H:%M} UTC  {asked.surface} version {asked.version} → {asked.target}: "
        f"{asked.state}",
        f"  asked by {asked.author}: {asked.reason}",
        *(f"  approved by {given.actor}: {given.reason}" for given in asked.approvals),
    ]
    if asked.decision_reason is not None:
        lines.append(f"  {asked.state} by {asked.decided_by}: {asked.decision_reason}")
    return lines
