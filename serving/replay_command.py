"""``backbeat replay``."""

from contextlib import closing
from typing import Annotated, Any

import typer

from contracts.options import HomeOption, JsonOption
from contracts.surfaces import VIDEO_FEED

__all__ = ["replay"]


def replay(
    response: Annotated[
        list[str] | None, typer.Argument(help="Ids of lists whose features were kept; a sample if none is given.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="How many lists, drawn by their random ids.")] = 100,
    since: Annotated[str | None, typer.Option(help="Only lists of the last days or hours, e.g. 7d or 12h.")] = None,
    version: Annotated[
        str | None, typer.Option(help="Version to ask: a number or an alias; each the one that served it if not given.")
    ] = None,
    surface: Annotated[str, typer.Option(help="Surface that a sample is drawn of.")] = VIDEO_FEED,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Make recorded lists again from what was read for them, and say which are the same to the last bit.

    Ends with exit code 1 where a list is not reproduced by the version that served it.

    Example: `backbeat replay --sample 200 --since 24h`
    """
    from contracts.clock import utc_now
    from contracts.console import emit
    from contracts.database import Database
    from contracts.opening import open_home
    from registry.store import ModelStore
    from serving.logs import parse_age
    from serving.replaying import Replayer, recorded_lists, replay_lists

    start = None if since is None else utc_now() - parse_age(since)
    settings, place = open_home(home)
    with closing(Database(settings, place)) as database:
        lists = recorded_lists(database, surface, response or (), sample, start)
        number = None if version is None else ModelStore(settings, place).get(lists[0].surface, version).version
        report = replay_lists(Replayer(settings, place, database), lists, number)
    document = report.as_dict()
    emit(document, as_json=as_json, text=_said(document))
    if report.broken:
        raise typer.Exit(1)
    return document


def _said(document: dict[str, Any]) -> str:
    by = "the versions that served them" if document["version"] is None else f"version {document['version']}"
    lines = [f"{document['reproduced']:,} of {document['lists']:,} lists reproduced bit for bit by {by}"]
    if document["lists"] > document["reproduced"]:
        lines.append(f"  {document['same_items']:.3f} of the served items are in the list now")
    for each in document["differences"]:
        where = ", computed elsewhere" if each["elsewhere"] else ""
        lines.append(
            f"  {each['response_id']} of version {each['served']}: place {each['place'] + 1} was {_item(each['was'])}, "
            f"is {_item(each['now'])}{where}"
        )
    lines += [f"  {count:,} cannot be replayed: {why}" for why, count in document["not_replayed"].items()]
    return "\n".join(lines)


def _item(item: dict[str, Any] | None) -> str:
    return "no item" if item is None else f"{item['item_id']} ({item['step']}, {item['score']:.9g})"
