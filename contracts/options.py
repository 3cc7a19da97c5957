"""Options that every command has."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["HomeOption", "JsonOption"]

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Directory with all state (default: BACKBEAT_HOME, else .backbeat).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
