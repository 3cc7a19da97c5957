"""``ab start``, ``ab stop``, ``ab list`` and ``ab report``."""

from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.options import HomeOption, JsonOption
from contracts.surfaces import VIDEO_FEED

if TYPE_CHECKING:
    from contracts.experiments import Experiment
    from contracts.home import Home
    from contracts.settings import Settings
    from serving.experiments.novelties import Releases

__all__ = ["ab"]

ab = typer.Typer(help="Experiments on live traffic: A/B tests, interleaving, exploration.", no_args_is_help=True)

SurfaceOption = Annotated[str, typer.Option("--surface", help="Registered model.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")]


@ab.command()
def start(
    name: Annotated[str, typer.Argument(help="Never used before: it is the salt of what is drawn.")],
    reason: ReasonOption,
    mode: Annotated[str, typer.Option(help="`ab`, `interleaving` or `exploration`.")] = "ab",
    challenger: Annotated[str, typer.Option(help="Version number or alias.")] = "challenger",
    weight: Annotated[float, typer.Option(help="Share of the users who get the challenger (ab).")] = 0.5,
    epsilon: Annotated[float, typer.Option(help="Chance that a list is shuffled (exploration).")] = 0.1,
    top: Annotated[int, typer.Option(help="Items that are shuffled then (exploration).")] = 50,
    rule: Annotated[Path | None, typer.Option(help="TOML file with fields of the rule.")] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="`ctr`, `like`, `follow`, `watch_time` or `coverage`; `preference` where lists interleave."),
    ] = None,
    minimum_effect: Annotated[float | None, typer.Option(help="Least lift worth a promotion; .01 is 1 %.")] = None,
    minimum_requests: Annotated[int | None, typer.Option(help="Of the arm that has fewer; before, hold.")] = None,
    minimum_users: Annotated[int | None, typer.Option(help="Likewise.")] = None,
    confidence: Annotated[float | None, typer.Option(help="Of all intervals together, at all looks.")] = None,
    surface: SurfaceOption = VIDEO_FEED,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Start an experiment between the champion and a challenger; running services take part within seconds.

    Example: `backbeat ab start summer --challenger 7 --weight 0.2 --reason "7 did well in shadow"`
    """
    from typing import get_args

    from contracts.actor import current_actor
    from contracts.console import emit
    from contracts.errors import unknown_name
    from contracts.experiments import Mode
    from contracts.opening import open_home
    from registry.experiments import start_experiment
    from serving.experiments.rules import given_rule

    settings, place = open_home(home)
    if mode not in get_args(Mode):
        raise unknown_name("mode", mode, get_args(Mode), next_step="choose one of these with --mode")
    chosen: Any = mode
    given = given_rule(
        chosen,
        rule,
        objective=objective,
        minimum_effect=minimum_effect,
        minimum_requests=minimum_requests,
        minimum_users=minimum_users,
        confidence=confidence,
    )
    options: dict[str, Any] = {"challenger": challenger, "weight": weight, "epsilon": epsilon, "top": top}
    found = start_experiment(settings, place, surface, name, chosen, current_actor(), reason, rule=given, **options)
    emit(found.as_dict(), as_json=as_json, text=_described(found))
    return found.as_dict()


@ab.command()
def stop(
    name: Annotated[str, typer.Argument(help="The experiment.")],
    reason: ReasonOption,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """End an experiment: the champion has all traffic again. Example: `backbeat ab stop summer --reason "decided"`"""
    from contracts.actor import current_actor
    from contracts.console import emit
    from contracts.opening import open_home
    from registry.experiments import stop_experiment

    settings, place = open_home(home)
    found = stop_experiment(settings, place, name, current_actor(), reason)
    emit(found.as_dict(), as_json=as_json, text=_described(found))
    return found.as_dict()


@ab.command("list")
def list_all(home: HomeOption = None, as_json: JsonOption = False) -> dict[str, Any]:
    """List experiments, those that run first. Example: `backbeat ab list`"""
    from contracts.console import emit
    from contracts.database import Database
    from contracts.experiments import list_experiments
    from contracts.opening import open_home

    settings, place = open_home(home)
    with closing(Database(settings, place)) as database, database.session() as session:
        found = list_experiments(session)
    document = {"experiments": [each.as_dict() for each in found]}
    emit(document, as_json=as_json, text="\n".join(map(_described, found)) or "No experiment was started yet.")
    return document


@ab.command()
def report(
    name: Annotated[str | None, typer.Argument(help="The experiment; the last one started if left out.")] = None,
    surface: SurfaceOption = VIDEO_FEED,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Say what an experiment has shown and what follows from it, and keep the verdict for the promotion.

    May be asked at any time and as often as one likes: the intervals hold at all looks. Example: `backbeat ab report`
    """
    from contracts.console import emit
    from contracts.database import Database
    from contracts.experiments import experiment_of_name
    from contracts.opening import open_home
    from serving.experiments.report import experiment_report, store_report
    from serving.experiments.wording import reported

    settings, place = open_home(home)
    with place.writing("backbeat ab report"), closing(Database(settings, place)) as database:
        with database.session() as session:
            experiment = experiment_of_name(session, name if name is not None else _last(session, surface))
        found = experiment_report(database, experiment, _releases(settings, place, experiment))
        document = {"id": store_report(database, found), **found.model_dump(mode="json")}
    emit(document, as_json=as_json, text=reported(found))
    return document


def _last(session: Any, surface: str) -> str:
    from contracts.errors import NotFound
    from contracts.experiments import list_experiments

    names = [each.name for each in list_experiments(session) if each.surface == surface]
    if not names:
        raise NotFound(
            f"experiment on {surface}",
            found="none was started",
            expected="one to report on",
            next_step='start one: `backbeat ab start NAME --challenger VERSION --reason "..."`',
        )
    return names[0]


def _releases(settings: "Settings", place: "Home", experiment: "Experiment") -> "Releases | None":
    from contracts.errors import NotFound
    from registry.store import ModelStore
    from serving.experiments.novelties import Releases

    store, package = ModelStore(settings, place), place.root / "gone"
    with suppress(NotFound):
        package = store.package_path(store.get(experiment.surface, experiment.champion))
    return Releases.of_home(place, experiment.surface, package)


def _described(experiment: "Experiment") -> str:
    arms = ", ".join(
        f"{arm} (version {' and '.join(experiment.versions[arm])}) {weight:.0%}"
        for arm, weight in experiment.weights.items()
    )
    state = "runs" if experiment.running else f"ended {experiment.ended_at:%Y-%m-%d %H:%M} UTC"
    return (
        f"{experiment.name}: {experiment.mode} on {experiment.surface}, {state}; {arms}; "
        f"started {experiment.started_at:%Y-%m-%d %H:%M} UTC by {experiment.started_by}: {experiment.reason}"
    )
