"""``models register``."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.actor import current_actor
from contracts.console import emit
from contracts.options import HomeOption, JsonOption

__all__ = ["register"]


def register(
    package: Annotated[Path, typer.Argument(help="Directory of a sealed package, with its manifest.json.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Make a package that was trained elsewhere a version here; `train` registers what it trains by itself.

    Example: `backbeat models register /mnt/models/m3csr-7/package`
    """
    from contracts.opening import open_home
    from registry.commands.listing import version_document
    from registry.registration import register_package

    settings, place = open_home(home)
    with place.writing(shlex.join(["backbeat", "models", "register", str(package)])):
        version, new = register_package(settings, place, package, current_actor())
    name = f"{version.surface} version {version.version} ({version.model})"
    said = "registered" if new else "that package already; nothing changed"
    document = version_document(version) | {"new": new}
    emit(document, as_json=as_json, text=f"{name} is {said}.")
    return document
