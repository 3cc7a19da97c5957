"""Options and arguments that several commands of this room have."""

from typing import Annotated

import typer

__all__ = ["ReasonOption", "SurfaceOption", "TargetOption", "VersionArgument"]

SurfaceOption = Annotated[str, typer.Option("--surface", help="Registered model.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")]
TargetOption = Annotated[str, typer.Option("--to", help="`champion`, `challenger`, `shadow` or `candidate`.")]
VersionArgument = Annotated[str, typer.Argument(help="Version number, alias, `best` or `runner-up`.")]
