"""The command line: mounts each room's commands and turns every error into one paragraph and an exit code."""

import gc
import json
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from backbeat.commands import demo, doctor
from contracts.console import note
from contracts.errors import BackbeatError, BadInput
from contracts.files import storage_full_in
from contracts.process import prepare_process
from contracts.revision import library_versions
from feature_repo.commands import features, ingest
from registry.commands import models, trace
from registry.commands.ui import ui
from registry.commands.users import users
from serving.commands import serve, shadow
from serving.experiment_commands import ab
from serving.log_commands import logs
from serving.package_command import package
from serving.replay_command import replay
from serving.traffic.commands import simulate
from serving.video_commands import videos
from training.commands import experiment, train, tune
from validation.commands import validate

__all__ = ["app", "invoke", "main"]

INTERRUPTED = 130

_YOUNG_OBJECTS = 100_000
"""New objects after which the garbage collector looks for cycles; Python's own choice is 700."""

app = typer.Typer(
    name="backbeat",
    help="Features, validation, training, registry and serving for video and music recommendation.",
    epilog="Start with: backbeat demo",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.add_typer(ingest, name="ingest")
app.add_typer(features, name="features")
app.add_typer(validate, name="validate")
app.command()(train)
app.command()(tune)
app.command()(experiment)
app.add_typer(models, name="models")
app.command()(trace)
app.command()(ui)
app.add_typer(users, name="users")
app.command()(serve)
app.command()(package)
app.command()(replay)
app.add_typer(shadow, name="shadow")
app.add_typer(ab, name="ab")
app.add_typer(logs, name="logs")
app.add_typer(videos, name="videos")
app.add_typer(simulate, name="simulate")
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"backbeat {library_versions().get('backbeat', 'unknown')}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _usage_error(error: TyperException) -> BadInput:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "backbeat"
    found, _, near = error.format_message().rstrip(".?").partition(" Did you mean ")
    options = getattr(error, "possibilities", None)
    if options:
        found, near = found.partition(" (")[0], " or ".join(options)
    return BadInput(
        f"`{command}`",
        found=found.rstrip("."),
        expected=near or "a command line as its help shows",
        next_step=f"run `{command} --help`",
    )


def invoke(arguments: Sequence[str]) -> Any:
    """Run one command line in this process.

    Args:
        arguments: What a user would type after ``backbeat``.

    Returns:
        What the command returns, or an exit code where it asked for one.

    Raises:
        BackbeatError: Any fault the user can do something about.
        KeyboardInterrupt: The user stopped it; the command has cleaned up.
    """
    try:
        result = app(list(arguments), prog_name="backbeat", standalone_mode=False)
    except Abort as error:
        raise KeyboardInterrupt from error
    except TyperException as error:
        raise _usage_error(error) from None
    except Exception as error:
        full = storage_full_in(error)
        if full is None:
            raise
        raise full from error
    if result == INTERRUPTED:
        # Typer swallows the interrupt and returns its exit code.
        raise KeyboardInterrupt
    return result


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _run(arguments: Sequence[str]) -> int:
    as_json = "--json" in arguments
    try:
        result = invoke(arguments)
    except BackbeatError as error:
        if as_json:
            sys.stdout.write(json.dumps(error.as_dict(), indent=2) + "\n")
        else:
            note(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        note("interrupted: nothing is half-written; run the same command again to go on")
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """Entry point of the ``backbeat`` command."""
    prepare_process()
    signal.signal(signal.SIGTERM, _stop)
    # Libraries make objects by the hundred thousand while they load, and nearly all of them live until the end:
    # walking them again and again, and once more at exit, was more than half of the CPU time of a short command.
    gc.set_threshold(_YOUNG_OBJECTS)
    code = _run(sys.argv[1:])
    gc.freeze()
    sys.exit(code)
