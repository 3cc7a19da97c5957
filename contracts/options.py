"""Options that every command has."""

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["HomeOption", "JsonOption", "OnOption"]

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Directory with all state (default: BACKBEAT_HOME, else .backbeat).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
OnOption = Annotated[
    Literal["local", "ray"],
    typer.Option("--on", help="local, or ray: on the cluster of BACKBEAT_RAY_ADDRESS, whose nodes reach this home."),
]
