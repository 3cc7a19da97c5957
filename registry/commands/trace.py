"""``backbeat trace``."""

from typing import Annotated, Any

import typer

from contracts.console import emit
from contracts.options import HomeOption, JsonOption

__all__ = ["trace"]


def trace(
    response_id: Annotated[str, typer.Argument(help="The `response_id` of an answer of the service.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Walk from a served list to its version, run, features, data, validation, encoders and source tables.

    Example: `backbeat trace 0f9c2f6e4a8b4d1e`
    """
    from contracts.opening import open_home
    from registry import lineage

    settings, place = open_home(home)
    found = lineage.trace(settings, place, response_id)
    emit(found.as_dict(), as_json=as_json, text="\n".join(found.lines()))
    return found.as_dict()
