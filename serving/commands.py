"""``backbeat serve`` and ``backbeat shadow``."""

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.options import HomeOption, JsonOption
from contracts.surfaces import VIDEO_FEED
from serving.surface import no_champion

if TYPE_CHECKING:
    from contracts.home import Home
    from contracts.settings import Settings
    from serving.shifts import KnownItems

__all__ = ["serve", "shadow"]

shadow = typer.Typer(name="shadow", help="Compare the shadow version with the champion.", no_args_is_help=True)

_WAYS = ("snips", "doubly_robust")
"""In which a shadow's list is valued."""

UrlOption = Annotated[str | None, typer.Option(help="Address of a running service.")]
SurfaceOption = Annotated[str, typer.Option("--surface", help="`video-feed`, `background-music` or `music`.")]


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind (default: BACKBEAT_SERVE_HOST).")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port (default: BACKBEAT_SERVE_PORT).")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve the champion of each surface, with the shadows aside, until Ctrl-C.

    Surfaces are those of BACKBEAT_SERVE_SURFACES, or all that have a champion. What is recorded is exported to Parquet
    every BACKBEAT_LOG_EXPORT_MINUTES and at the end.

    Example: `backbeat serve --port 3000`, then
    `curl -d '{"user_id": "u1", "k": 5}' http://127.0.0.1:3000/recommend`
    """
    from contracts.console import emit, note
    from contracts.opening import open_home
    from serving.exporting import RegularExport, export_apart
    from serving.replay import whole_status
    from serving.server import Server, announced

    settings, place = open_home(home)
    _require_champion(settings, place)  # say so before anything heavy starts
    server = Server(settings, place, host or settings.serve_host, port or settings.serve_port)
    export = RegularExport(lambda: export_apart(settings), settings.log_export_minutes, note)
    with export, server, announced(place, server.url):
        status = whole_status(server.url)
        emit({"url": server.url, "log": str(server.log), **status}, as_json=as_json, text=_serving(server.url, status))
        note(f"log: {server.log}; stop with Ctrl-C")
        with suppress(KeyboardInterrupt):
            server.wait()
    note("stopped: what was being answered and recorded has been finished")


def _serving(url: str, status: dict[str, Any]) -> str:
    lines = [f"serving at {url}"]
    for surface, served in status["surfaces"].items():
        lines += [f"{surface}: {_name(served['champion'])}", f"  shadow: {_shadow(served)}"]
    return "\n".join([*lines, *(f"{surface}: not served: {why}" for surface, why in status["waiting"].items())])


def _name(version: dict[str, Any] | None) -> str:
    return f"{version['model']}, version {version['version']}" if version else "none (no version has that alias)"


def _shadow(status: dict[str, Any]) -> str:
    """The shadows a service has, with their counts, and why it lacks others."""
    nobody = "none" if status["shadow_faults"] else _name(None)
    said = [f"{_name(aside)}; {_counts(aside)}" for aside in status["shadows"]] or [nobody]
    said += [f"version {each['version']} could not be loaded: {each['fault']}" for each in status["shadow_faults"]]
    return "; ".join(said)


@shadow.command()
def replay(
    requests: Annotated[int, typer.Option(min=1, help="How many requests to send.")] = 500,
    k: Annotated[int, typer.Option("--k", min=1, max=500, help="Items per request.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the choice of users.")] = 0,
    surface: SurfaceOption = VIDEO_FEED,
    url: UrlOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Send requests of known users, and a few unknown ones, to the champion; the shadow answers them aside.

    Uses the service at --url, else the one `backbeat serve` runs on this home where it serves the versions that are
    champion and shadow now, else starts one for the time it takes.

    Example: `backbeat shadow replay --requests 500`
    """
    from contracts.console import emit, note
    from contracts.opening import open_home
    from serving.replay import replay as send
    from serving.server import Server, free_port

    settings, place = open_home(home)
    address = url or _current_service(place, surface, *_holders(settings, place, surface))
    if address is not None:
        result = send(place, address, requests, k, seed, surface).as_dict()
    else:
        server = Server(settings, place, settings.serve_host, free_port(settings.serve_host))
        note(f"starting a service at {server.url} for the time of these requests")
        with server:
            result = send(place, server.url, requests, k, seed, surface).as_dict()
    emit(result, as_json=as_json, text=_replayed(result))
    return result


def _current_service(place: "Home", surface: str, champion: str, aside: str | None) -> str | None:
    """Address of the running service, where it serves these versions or as much of them as can be loaded."""
    from contracts.console import note
    from serving.replay import whole_status
    from serving.server import running_server

    address = running_server(place)
    if address is None:
        return None
    status = whole_status(address)["surfaces"].get(surface)
    serves = None if status is None else status["champion"]["version"]
    if status is not None and serves == champion:
        # A shadow that could not be loaded would fail in a service started now, too.
        present = {each["version"] for each in (*status["shadows"], *status["shadow_faults"])}
        if aside is None or aside in present:
            return address
    what = "nothing" if serves is None else f"version {serves}"
    note(
        f"the service at {address} serves {what} on {surface} and not version {champion} yet: {address}/status says why"
    )
    return None


def _replayed(result: dict[str, Any]) -> str:
    status = result["status"]
    lines = [
        f"{result['ok']} of {result['sent']} requests answered by {_name(status['champion'])}; "
        f"p50 {result['p50_ms']:.1f} ms, p99 {result['p99_ms']:.1f} ms, {result['requests_per_s']:.0f} requests/s"
    ]
    lines.append(f"shadow: {_shadow(status)}")
    if status["records"]["lost"]:
        lines.append(f"{status['records']['lost']} rows could not be recorded; see serve.log")
    return "\n".join(lines)


def _alerts(status: dict[str, Any]) -> list[dict[str, Any]]:
    """What a service could not follow in the registry; of shadows it is said with them."""
    following = status["following"] or {"alerts": []}
    return [alert for alert in following["alerts"] if alert["kind"] != "shadow"]


def _counts(aside: dict[str, Any]) -> str:
    return f"{aside['answered']} answered, {aside['failed']} failed, {aside['dropped'] + aside['late']} dropped"


@shadow.command()
def report(
    k: Annotated[int, typer.Option("--k", min=1, max=500, help="Depth of the overlap.")] = 10,
    surface: SurfaceOption = VIDEO_FEED,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Compare champion and shadow over the requests both were asked, and keep the comparison.

    Example: `backbeat shadow report --k 10`
    """
    from contracts.console import emit, note
    from contracts.database import Database
    from contracts.errors import NotFound
    from contracts.opening import open_home
    from serving.comparison import compare, store_comparison

    settings, place = open_home(home)
    champion, aside = _holders(settings, place, surface)
    if aside is None:
        document = {"surface": surface, "champion": champion, "shadow": None, f"overlap@{k}": None}
        emit(document, as_json=as_json, text="no version is shadow: nothing to compare the champion with")
        return document
    fault = _fault_of(place, surface, aside)
    with place.writing("backbeat shadow report"), closing(Database(settings, place)) as database:
        try:
            comparison = compare(
                database, surface, champion, aside, k, known=_known_items(settings, place, surface, champion)
            )
        except NotFound:
            if fault is None:
                raise
            raise NotFound(
                f"comparison of champion {champion} and shadow {aside} of {surface}",
                found=f"a service that could not load version {aside}: {fault}",
                expected="responses recorded while both were served",
                next_step="make another version shadow, or restore this one and restart the service",
            ) from None
        document = {"id": store_comparison(database, comparison), **comparison.as_dict()}
    if fault is not None:
        note(f"these are earlier requests: the running service could not load shadow version {aside}: {fault}")
    emit(document, as_json=as_json, text=_compared(document))
    return document


def _known_items(settings: "Settings", place: "Home", surface: str, champion: str) -> "KnownItems | None":
    """The champion's catalogue; None where its package is gone, as lists can be compared without."""
    from contracts.errors import NotFound
    from registry.store import ModelStore
    from serving.shifts import KnownItems

    store = ModelStore(settings, place)
    with suppress(NotFound):
        return KnownItems.of_package(store.package_path(store.get(surface, champion)))
    return None


def _fault_of(place: "Home", surface: str, aside: str) -> str | None:
    """Why the running service could not load the shadow; None where it could, or none is running."""
    from contracts.errors import ServiceUnavailable
    from serving.replay import service_status
    from serving.server import running_server

    if address := running_server(place):
        with suppress(ServiceUnavailable):  # it has just stopped; the report is of stored rows
            faults = service_status(address, surface)["shadow_faults"]
            return next((str(fault["fault"]) for fault in faults if fault["version"] == aside), None)
    return None


def _require_champion(settings: "Settings", place: "Home") -> None:
    from registry.store import ModelStore

    store = ModelStore(settings, place)
    if not any("champion" in store.holders(surface) for surface in settings.surfaces):
        raise no_champion(*settings.surfaces)


def _holders(settings: "Settings", place: "Home", surface: str) -> tuple[str, str | None]:
    """Versions of the champion and of the shadow."""
    from registry.store import ModelStore

    store = ModelStore(settings, place)
    champion, aside = (store.by_alias(surface, alias) for alias in ("champion", "shadow"))
    if champion is None:
        raise no_champion(surface)
    return champion.version, aside.version if aside else None


def _compared(document: dict[str, Any]) -> str:
    k = document["k"]

    def share(name: str) -> str:
        value = document[f"{name}@{k}"]
        return "-" if value is None else f"{value:.3f}"

    served, aside = document["champion_latency"], document["shadow_latency"]
    verdict = document.get("verdict")  # reports of earlier versions have none
    return "\n".join(
        [
            f"champion version {document['champion']} against shadow version {document['shadow']}, "
            f"{document['requests']} requests",
            f"  overlap@{k}        {share('overlap')}  ({share('ranked_overlap')} over the {document['ranked']} "
            "requests that the champion's model ranked)",
            f"  champion          p50 {served['p50_ms']:.2f} ms, p99 {served['p99_ms']:.2f} ms in the service",
            f"  shadow            p50 {aside['p50_ms']:.2f} ms, p99 {aside['p99_ms']:.2f} ms, "
            f"{document['errors']} errors",
            *(
                [_agreement(document), *_valued(document), f"  verdict           {verdict['sentence']}"]
                if verdict
                else []
            ),
        ]
    )


def _agreement(document: dict[str, Any]) -> str:
    figures = {
        "rank-biased overlap": document["rank_biased_overlap"],
        "Kendall's tau": document["kendall_tau"],
        "score shift": document["score_shift"],
        **(document["shifts"] or {}),
    }
    known = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items() if value is not None]
    return f"  agreement         {', '.join(known) or '-'}"


def _valued(document: dict[str, Any]) -> list[str]:
    """What the shadow would have earned; nothing where the champion explored nothing."""
    found = document.get("off_policy")
    if found is None:
        return []
    ways = [f"{name.replace('_', ' ')} {{:.4f}} ({{:.4f}} to {{:.4f}})".format(*found[name]) for name in _WAYS]
    return [
        f"  off-policy        {found['objective']} {', '.join(ways)}; champion {found['served']:.4f}; worth "
        f"{found['effective_size']:,.0f} of {found['places']:,} impressions, {found['mean_weight']:.0%} tried"
    ]


@shadow.command()
def status(surface: SurfaceOption = VIDEO_FEED, home: HomeOption = None, as_json: JsonOption = False) -> dict[str, Any]:
    """Show which versions are champion and shadow, what a running service has done, and the latest comparison.

    Example: `backbeat shadow status`
    """
    from contracts.console import emit
    from contracts.database import Database
    from contracts.opening import open_home
    from serving.comparison import latest_comparison
    from serving.replay import whole_status
    from serving.server import running_server

    settings, place = open_home(home)
    champion, aside = _holders(settings, place, surface)
    address = running_server(place)
    with closing(Database(settings, place)) as database:
        latest = latest_comparison(database, surface)
    document = {
        "surface": surface,
        "champion": champion,
        "shadow": aside,
        "service": {"url": address, **_of_surface(whole_status(address), surface)} if address else None,
        "latest_report": latest,
    }
    emit(document, as_json=as_json, text=_state(document))
    return document


def _of_surface(status: dict[str, Any], surface: str) -> dict[str, Any]:
    """What a service says of a surface, or why it does not serve it."""
    served: dict[str, Any] | None = status["surfaces"].get(surface)
    return {"not_served": status["waiting"].get(surface, "nobody asked for it")} if served is None else served


def _state(document: dict[str, Any]) -> str:
    service, latest = document["service"], document["latest_report"]
    lines = [f"champion: version {document['champion']}", f"shadow:   version {document['shadow'] or 'none'}"]
    if service is None:
        lines.append("service:  none is running on this home")
    elif "not_served" in service:
        lines.append(f"service:  {service['url']}, not served: {service['not_served']}")
    else:
        lines.append(f"service:  {service['url']}, champion {_name(service['champion'])}")
        lines.append(f"          shadow {_shadow(service)}")
        lines += [f"          alert since {each['since'][:19]} UTC: {each['fault']}" for each in _alerts(service)]
    lines.append(f"latest comparison, {latest['at'][:19]} UTC:\n{_compared(latest)}" if latest else "not yet compared")
    return "\n".join(lines)
