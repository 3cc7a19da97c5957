"""``backbeat logs``."""

from contextlib import closing
from typing import Annotated, Any

import typer

from contracts.options import HomeOption, JsonOption
from contracts.surfaces import VIDEO_FEED

__all__ = ["logs"]

logs = typer.Typer(
    name="logs", help="Export what was served, take it out again, find what is missing.", no_args_is_help=True
)


@logs.command("delete-user")
def delete_user(
    user: Annotated[str, typer.Argument(help="The user's id.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Delete every recorded list of a user, in the database and in the Parquet files, with what belongs to it.

    Example: `backbeat logs delete-user u17`
    """
    from contracts.console import emit
    from contracts.database import Database
    from contracts.opening import open_home
    from serving.log_files import LogFiles
    from serving.logs import delete_user as delete

    settings, place = open_home(home)
    with closing(Database(settings, place)) as database:
        document = {"user": user, **delete(database, LogFiles(place.log_files), user).as_dict()}
    emit(document, as_json=as_json, text=f"user {user}: {_counted(document)}")
    return document


@logs.command()
def prune(
    older_than: Annotated[str, typer.Option(help="Age of what goes: days or hours, such as 30d or 12h.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Delete recorded lists that are older, in the database and in the Parquet files, with what belongs to them.

    Example: `backbeat logs prune --older-than 30d`
    """
    from contracts.clock import utc_now
    from contracts.console import emit
    from contracts.database import Database
    from contracts.opening import open_home
    from serving.log_files import LogFiles
    from serving.logs import parse_age
    from serving.logs import prune as delete

    before = utc_now() - parse_age(older_than)
    settings, place = open_home(home)
    with closing(Database(settings, place)) as database:
        document = {"before": before.isoformat(), **delete(database, LogFiles(place.log_files), before).as_dict()}
    emit(document, as_json=as_json, text=f"before {before:%Y-%m-%d %H:%M} UTC: {_counted(document)}")
    return document


@logs.command()
def export(
    since: Annotated[
        str | None,
        typer.Option(help="Fill every gap of the files from this instant on; without it go on where they end."),
    ] = None,
    lag: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds: what was recorded since then is left for the next time "
            "(default: 60 while a service is at work, else 0).",
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Write what was recorded since the last time to Parquet files: `logs/parquet/TABLE/date=DAY/` of the home.

    `backbeat serve` does so by itself, every BACKBEAT_LOG_EXPORT_MINUTES and when it stops.

    Example: `backbeat logs export`
    """
    from datetime import timedelta

    from contracts.clock import parse_instant
    from contracts.console import emit
    from contracts.database import Database
    from contracts.opening import open_home
    from serving.log_export import export_settled
    from serving.log_files import LogFiles

    start = None if since is None else parse_instant(since, "option --since")
    age = None if lag is None else timedelta(seconds=lag)
    settings, place = open_home(home)
    with closing(Database(settings, place)) as database:
        exported = export_settled(database, LogFiles(place.log_files), age, start)
    document = {"directory": str(place.log_files), **exported.as_dict()}
    counted = ", ".join(f"{count:,} {table.replace('_', ' ')}" for table, count in document["rows"].items())
    until = document["until"][:19].replace("T", " ")
    text = f"{document['directory']}: {document['files']} new files; {counted}, recorded up to {until} UTC"
    emit(document, as_json=as_json, text=text)
    return document


@logs.command()
def gaps(home: HomeOption = None, as_json: JsonOption = False) -> dict[str, Any]:
    """Show which served lists are not among the records, of services that were killed or could not write, and up to
    when they are in Parquet files.

    Example: `backbeat logs gaps`
    """
    from contracts.console import emit
    from contracts.database import Database
    from contracts.opening import open_home
    from serving.log_export import reach_of
    from serving.log_files import LogFiles
    from serving.writers import gaps as known
    from serving.writers import settle_gaps

    settings, place = open_home(home)
    with closing(Database(settings, place)) as database:
        settle_gaps(database, place.logs)
        found, reach = known(database), reach_of(database, LogFiles(place.log_files))
    document = {"gaps": [gap.as_dict() for gap in found], "parquet": reach.as_dict()}
    missing = [gap.sentence() for gap in found] or ["nothing is missing"]
    emit(document, as_json=as_json, text="\n".join([*missing, reach.sentence()]))
    return document


@logs.command()
def skew(
    sample: Annotated[int, typer.Option(min=1, help="How many requests, drawn by their random ids.")] = 1_000,
    since: Annotated[str | None, typer.Option(help="Only requests of the last days or hours, e.g. 7d or 12h.")] = None,
    limit: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of skewed requests of a feature above which the exit code is 1."),
    ] = None,
    surface: Annotated[str, typer.Option(help="Whose requests.")] = VIDEO_FEED,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Compare the features that requests were served with, with those of a point-in-time join at the same moments.

    Example: `backbeat logs skew --since 24h --limit 0.01`
    """
    from contracts.clock import utc_now
    from contracts.console import emit
    from contracts.database import Database
    from contracts.opening import open_home
    from serving.logs import parse_age
    from serving.skew import measure_skew

    start = None if since is None else utc_now() - parse_age(since)
    settings, place = open_home(home)
    with closing(Database(settings, place)) as database:
        document = measure_skew(settings, place, database, surface, sample, start).as_dict()
    emit(document, as_json=as_json, text=_skewed(document))
    if limit is not None and document["worst"] > limit:
        raise typer.Exit(1)
    return document


def _skewed(document: dict[str, Any]) -> str:
    lines = [
        f"{document['requests']:,} requests of {document['surface']}, {document['unread']:,} without what was late"
    ]
    for name, feature in document["features"].items():
        states = ", ".join(f"{count:,} {state}" for state, count in feature["states"].items() if count)
        lines.append(
            f"  {name}: {feature['share']:.2%} of {feature['compared']:,} skewed{f' ({states})' * bool(states)}"
        )
        if (behind := feature["behind_s"]) is not None:
            lines.append(f"    behind by {_duration(behind['median'])} (median), {_duration(behind['maximum'])} (most)")
    for each in document["examples"]:
        behind = "" if each["behind_s"] is None else f", behind by {_duration(each['behind_s'])}"
        lines.append(f"  {each['response_id']}: {each['feature']} of {each['entity']} is {each['state']}{behind}")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _counted(document: dict[str, Any]) -> str:
    return (
        f"{document['responses']:,} responses, {document['shadow_lists']:,} lists of shadows, "
        f"{document['feedback']:,} events and {document['feature_snapshots']:,} sets of features deleted, "
        f"{document['in_files']:,} rows of Parquet files"
    )
