"""`backbeat features …`: define, materialize, look at."""

from typing import Annotated, Any

import typer

from contracts.options import HomeOption, JsonOption
from feature_repo.commands import jobs

__all__ = ["features"]

features = typer.Typer(help="Define, compute and publish features with Feast.", no_args_is_help=True)


@features.command("apply")
def features_apply(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Define the current snapshot's features and compute the derived ones. Example: `backbeat features apply`"""
    from contracts.console import emit
    from contracts.opening import open_home
    from feature_repo.apply import apply_features

    settings, place = open_home(home)
    with place.writing("backbeat features apply"):
        summary = apply_features(settings, place)
    emit(
        summary,
        as_json=as_json,
        text=f"features of snapshot {summary['snapshot']} ({summary['dataset']}): {summary['outcome']}\n"
        f"  views     {', '.join(summary['views'])}\n"
        f"  services  {', '.join(summary['services'])}",
    )


@features.command("materialize")
def features_materialize(
    view: Annotated[
        list[str] | None, typer.Option("--view", help="Only this view; may be given several times. Default: all.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write again even where it was done before.")] = False,
    until: Annotated[
        str | None, typer.Option("--until", help="Only rows known by this instant, e.g. 2026-01-31T12:00:00+00:00.")
    ] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="Cap on this process's memory. Default: 2GiB.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the sample that is compared with offline.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be written, and write nothing.")] = False,
    queue: Annotated[bool, typer.Option("--queue", help="Leave it to `backbeat features work`.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the newest feature values to the online store. Example: `backbeat features materialize --memory 2GiB`"""
    from contracts import clock
    from contracts.console import emit
    from contracts.errors import BadInput
    from contracts.opening import open_home
    from feature_repo import materialize
    from feature_repo.commands.jobs import materialization_text
    from feature_repo.materialization.memory import parse_memory

    if dry_run and queue:
        raise BadInput(
            "options --dry-run and --queue",
            found="both",
            expected="one of them",
            next_step="run it with `--dry-run` first, then with `--queue`",
        )
    instant = None if until is None else clock.parse_instant(until, "option --until")
    settings, place = open_home(home)
    cap = None if memory is None else parse_memory(memory)
    facts: dict[str, Any] = {"force": force, "views": view or None, "until": instant, "memory": cap}
    if dry_run:
        summary = materialize.dry_run(settings, place, **facts)
        counts = [
            f"  {name:<42} {would['rows']:>12,} rows to write, {would['change']:,} of them change something"
            for name, would in summary["would"].items()
        ]
        emit(summary, as_json=as_json, text="\n".join([f"snapshot {summary['snapshot']}: nothing written", *counts]))
        return
    do = materialize.queue_materialization if queue else materialize.materialize
    summary = do(settings, place, **facts, seed=seed)
    emit(summary, as_json=as_json, text=materialization_text(summary))


@features.command("status")
def features_status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the current snapshot and how fresh its features are. Example: `backbeat features status`"""
    from contracts.console import emit
    from contracts.home import Home
    from contracts.settings import load_settings
    from feature_repo.commands.jobs import job_line
    from feature_repo.status import feature_status

    settings = load_settings(home=home)
    document = feature_status(settings, Home.open(settings))
    lines = [
        f"snapshot      {document['snapshot']} ({document['dataset']}, from {document['source']})",
        *(f"  {name:<42} {rows:>12,} rows" for name, rows in document["tables"].items()),
        f"applied       {'yes' if document['applied'] else 'no: run `backbeat features apply`'}",
        f"validated     {document['validated'] or 'no: run `backbeat validate run`'}",
        f"materialized  {document['materialized'] or 'no: run `backbeat features materialize`'}",
        f"served        {_served(document)}",
        "views",
        *(f"  {_freshness(view)}" for view in document["views"]),
    ]
    if document["jobs"]:
        lines += ["jobs", *(f"  {job_line(job)}" for job in document["jobs"])]
    if document["next"]:
        lines += ["next", *(f"  {step}" for step in document["next"])]
    emit(document, as_json=as_json, text="\n".join(lines))


def _served(document: dict[str, Any]) -> str:
    if document["served"] in (None, document["snapshot"]):
        return document["served"] or "nothing yet"
    why = "the current one failed validation" if document["validated"] == "failed" else "until this one is materialized"
    return f"{document['served']} ({why})"


def _freshness(view: dict[str, Any]) -> str:
    told = f"{view['name']:<42} {view['state']:<12}"
    if view["newest"]:
        told += f"  newest event {view['newest'][:19].replace('T', ' ')}"
    if view["watermark"]:
        days, seconds = divmod(view["age_s"], 86_400)
        age = f"{days} d" if days else f"{seconds // 3600} h" if seconds >= 3600 else f"{seconds // 60} min"
        told += f"  known until {view['watermark'][:19].replace('T', ' ')} ({age} ago)  {view['rows']:>10,} rows"
    return told.rstrip()


features.command("jobs")(jobs.features_jobs)
features.command("pause")(jobs.features_pause)
features.command("resume")(jobs.features_resume)
features.command("cancel")(jobs.features_cancel)
features.command("work")(jobs.features_work)
