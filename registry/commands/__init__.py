"""The commands of this room, one module for each group; ``backbeat`` mounts them."""

import typer

from registry.commands.approvals import approve, reject, request, requests, withdraw
from registry.commands.audit import audit
from registry.commands.compare import compare
from registry.commands.deliveries import deliveries
from registry.commands.dependents import dependents
from registry.commands.drift import drift
from registry.commands.judge import judge
from registry.commands.listing import list_versions, show
from registry.commands.policy import policy
from registry.commands.promote import promote, resume, retire, rollback
from registry.commands.register import register
from registry.commands.trace import trace
from registry.commands.waive import waive, waivers

__all__ = ["models", "trace"]

models = typer.Typer(no_args_is_help=True, help="Registered versions: look, judge, promote, approve, roll back, trace.")
models.command("list")(list_versions)
models.command()(show)
models.command()(compare)
models.command()(register)
models.command()(policy)
models.command()(judge)
models.command()(promote)
models.command()(request)
models.command()(requests)
models.command()(approve)
models.command()(reject)
models.command()(withdraw)
models.command()(waive)
models.command()(waivers)
models.command()(retire)
models.command()(rollback)
models.command()(audit)
models.command()(drift)
models.command()(resume)
models.command()(dependents)
models.command()(deliveries)
