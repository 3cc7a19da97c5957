"""``models dependents``."""

from typing import Annotated, Any

import typer

from contracts.console import emit
from contracts.options import HomeOption, JsonOption

__all__ = ["dependents"]


def dependents(
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="NAME, or NAME@REVISION: whose vectors versions were trained with.")
    ] = None,
    snapshot: Annotated[str | None, typer.Option("--snapshot", help="Id of the data that versions hang on.")] = None,
    report: Annotated[
        str | None, typer.Option("--report", help="Id of the validation report that let versions be trained.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """List the versions and indexes that depend on an encoder revision, a snapshot or a validation report.

    Example: `backbeat models dependents --encoder resnet50@1a2b3c4d`
    """
    from contracts.errors import BadInput
    from contracts.opening import open_home
    from registry.dependents import Kind, dependents_of

    kinds: dict[Kind, str | None] = {"encoder": encoder, "snapshot": snapshot, "report": report}
    asked = [(kind, name) for kind, name in kinds.items() if name is not None]
    if len(asked) != 1:
        raise BadInput(
            "`backbeat models dependents`",
            found=" and ".join(f"--{kind}" for kind, _ in asked) or "none of its options",
            expected="one of --encoder, --snapshot and --report",
            next_step="repeat the command with one of them",
        )
    kind, name = asked[0]
    settings, place = open_home(home)
    found = dependents_of(settings, place, kind, name)
    lines = [
        f"{d.surface:<17} {d.version:>6}  {d.model:<12} {d.state:<11} "
        f"{f'{d.index} index' if d.index else 'package gone':<13} by {', '.join(d.through)}"
        for d in found
    ]
    document = {"kind": kind, "name": name, "dependents": [d.as_dict() for d in found]}
    emit(document, as_json=as_json, text="\n".join(lines) or f"No version depends on {kind} {name}.")
    return document
