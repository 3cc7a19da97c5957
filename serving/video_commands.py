"""``videos withdraw``, ``videos admit`` and ``videos withdrawn``."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from contracts.withdrawals import Kind

__all__ = ["videos"]

videos = typer.Typer(help="Take videos, or music, out of all lists, and back in.", no_args_is_help=True)

IdsArgument = Annotated[list[str], typer.Argument(help="Their ids.", show_default=False)]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")]
MusicOption = Annotated[bool, typer.Option("--music", help="The ids are those of music.")]


@videos.command()
def withdraw(
    ids: IdsArgument,
    reason: ReasonOption,
    music: MusicOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Have no service recommend these any more, whichever version answers; running services follow within seconds.

    Example: `backbeat videos withdraw v17 v18 --reason "deleted by their author"`
    """
    from contracts.actor import current_actor
    from contracts.console import emit
    from contracts.database import Database
    from contracts.opening import open_home
    from contracts.withdrawals import withdraw_items

    settings, place = open_home(home)
    with closing(Database(settings, place)) as database:
        new = withdraw_items(database, _kind(music), ids, current_actor(), reason)
    document = {"withdrawn": ids, "new": new}
    emit(document, as_json=as_json, text=f"{new:,} withdrawn; {len(set(ids)) - new:,} were before")
    return document


@videos.command()
def admit(
    ids: IdsArgument,
    reason: ReasonOption,
    music: MusicOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Take withdrawals back: the versions that know these recommend them again.

    Example: `backbeat videos admit v17 --reason "restored after an appeal"`
    """
    from contracts.actor import current_actor
    from contracts.console import emit
    from contracts.database import Database
    from contracts.opening import open_home
    from contracts.withdrawals import admit_items

    settings, place = open_home(home)
    with closing(Database(settings, place)) as database:
        admit_items(database, _kind(music), ids, current_actor(), reason)
    document = {"admitted": ids}
    emit(document, as_json=as_json, text=f"{len(set(ids)):,} admitted again")
    return document


@videos.command()
def withdrawn(music: MusicOption = False, home: HomeOption = None, as_json: JsonOption = False) -> dict[str, Any]:
    """List what is withdrawn, the newest first.

    Example: `backbeat videos withdrawn --json`
    """
    from contracts.console import emit
    from contracts.database import Database
    from contracts.opening import open_home
    from contracts.withdrawals import withdrawals

    settings, place = open_home(home)
    with closing(Database(settings, place)) as database:
        found = withdrawals(database, _kind(music))
    lines = [f"{each.item_id}  {each.at:%Y-%m-%d %H:%M} UTC  {each.actor}: {each.reason}" for each in found]
    document = {"withdrawn": [each.as_dict() for each in found]}
    emit(document, as_json=as_json, text="\n".join(lines) or "nothing is withdrawn")
    return document


def _kind(music: bool) -> "Kind":
    return "music" if music else "video"
