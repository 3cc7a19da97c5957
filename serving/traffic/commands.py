"""``backbeat simulate``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.options import HomeOption, JsonOption
from contracts.surfaces import VIDEO_FEED

if TYPE_CHECKING:
    from serving.traffic.tally import Shown, TrafficResult

__all__ = ["simulate"]

simulate = typer.Typer(name="simulate", help="Play the users of a simulated platform.", no_args_is_help=True)

_REQUESTS = 1_000


@simulate.callback()
def _group() -> None:
    pass


@simulate.command()
def traffic(
    requests: Annotated[
        int | None, typer.Option(min=1, help="Visits (default: 1000, or no end but --minutes).")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="How long visitors come.")] = None,
    rate: Annotated[float, typer.Option(min=0, help="Visits per second on average; 0 for as many as go.")] = 50,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Visitors who are let in at a time.")] = 16,
    k: Annotated[int, typer.Option("--k", min=1, max=500, help="Items per list.")] = 20,
    surface: Annotated[str, typer.Option(help="What they ask for.")] = VIDEO_FEED,
    users: Annotated[int | None, typer.Option(min=1, help="Users who may come (default: all of the platform).")] = None,
    strangers: Annotated[float, typer.Option(min=0, max=1, help="Share of visits by users nobody knows.")] = 0.05,
    patience: Annotated[float, typer.Option(min=0, max=1, help="Chance to look at the next item.")] = 0.9,
    late: Annotated[float, typer.Option(min=0, max=1, help="Share of the events sent only at the end.")] = 0.01,
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="Share of the feedback sent twice.")] = 0.02,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal visits.")] = 0,
    url: Annotated[str | None, typer.Option(help="Address of a running service.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Have the users of a simulated platform ask for lists and do with them what their hidden taste says.

    Uses the service at --url, else the one `backbeat serve` runs on this home, else starts one for the time it takes.
    Says what users of each version and arm did, and what was to be expected of them without noise.

    Example: `backbeat simulate traffic --requests 2000 --rate 100`
    """
    from contracts.console import emit, note
    from contracts.errors import BadInput, unknown_name
    from contracts.opening import open_home
    from contracts.surfaces import SURFACES
    from feature_repo.offline import current_snapshot
    from feature_repo.simulator.recovery import recover
    from serving.server import Server, free_port, running_server
    from serving.traffic.drive import Traffic, drive

    if surface not in SURFACES:
        raise unknown_name("surface", surface, SURFACES, next_step="use one of those names")
    if minutes is not None and not 0 < minutes < float("inf"):
        raise BadInput("option --minutes", found=minutes, expected="above 0", next_step="give a number of minutes")
    wanted = Traffic(
        requests=_REQUESTS if requests is None and minutes is None else requests,
        seconds=None if minutes is None else 60 * minutes,
        rate=rate or None,
        concurrency=concurrency,
        k=k,
        surface=surface,
        users=users,
        strangers=strangers,
        patience=patience,
        late=late,
        duplicates=duplicates,
        seed=seed,
    )
    settings, place = open_home(home)
    platform = recover(place, current_snapshot(place))
    address = url or running_server(place)
    if address is not None:
        result = drive(platform, address, wanted)
    else:
        server = Server(settings, place, settings.serve_host, free_port(settings.serve_host))
        note(f"starting a service at {server.url} for the time of this traffic")
        with server:
            result = drive(platform, server.url, wanted)
    document = result.as_dict()
    emit(document, as_json=as_json, text=_told(result))
    return document


def _told(result: "TrafficResult") -> str:
    speed = "" if result.p50_ms is None else f"; p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"
    events = result.events
    lines = [
        f"{result.ok:,} of {result.sent:,} requests for {result.surface} answered in {result.seconds:.0f} s, "
        f"{result.requests_per_s:.0f} requests/s{speed}",
        f"users: {result.users:,}, of them {result.strangers:,} strangers",
        f"events: {events['stored']:,} stored ({events['late']:,} late), {events['duplicate']:,} duplicate, "
        f"{events['lost']:,} lost",
    ]
    if result.failures:
        lines.append("failures: " + ", ".join(f"{code} {count:,}" for code, count in result.failures.items()))
    if result.unknown_items:
        lines.append(
            f"{result.unknown_items:,} impressions of items that the platform was not made with; nobody clicks"
        )
    if result.behind_s > 1:
        lines.append(
            f"visitors waited up to {result.behind_s:.1f} s to be let in: a lower --rate, or more --concurrency"
        )
    return "\n".join([*lines, *_table(result.shown)])


def _table(shown: "list[Shown]") -> list[str]:
    """Of each arm and version: observed and true outcomes per impression, and the true lift over the first."""
    names = [name for name in ("ctr", "like", "follow", "watch_time") if any(name in each.true for each in shown)]
    heads = "".join(f" {name:>10} {'true':>10}" for name in names)
    lines = [f"{'shown':<36} {'requests':>8} {'seen':>8}{heads} {'true lift':>9}"] if shown else []
    first = next((each.true["ctr"] for each in shown if each.true), 0.0)
    for each in shown:
        who = f"{each.arm}: " if each.arm else ""
        figures = "".join(f" {each.observed[name]:>10.4f} {each.true[name]:>10.4f}" for name in names if each.true)
        lift = f"{each.true['ctr'] / first - 1:>+9.1%}" if each.true and first else ""
        name = f"{who}{each.model}, version {each.version}"
        lines.append(f"{name:<36} {each.requests:>8,} {each.impressions:>8,}{figures} {lift}")
    return lines
