"""What a process of ours sets before it loads anything heavy, and how one is run beside this one."""

import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from contracts.console import note
from contracts.errors import BackbeatError

if TYPE_CHECKING:
    from contracts.home import Home
    from contracts.settings import Settings

__all__ = ["answer_as_module", "fault_of", "prepare_process", "run_module"]

_ENVIRONMENT = {
    # No library reports usage to anybody.
    "BENTOML_DO_NOT_TRACK": "True",
    "FEAST_USAGE": "False",
    "GX_ANALYTICS_ENABLED": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    # Idle OpenMP threads that spin starve the other processes of a small machine.
    "OMP_WAIT_POLICY": "PASSIVE",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    "RAY_USAGE_STATS_ENABLED": "0",
    # What Ray will do by default one day, and says so at each start.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_CHATTY = (
    "alembic",
    "bentoml",
    "feast",
    "great_expectations",
    "mlflow",
    "numexpr",
    "httpx",
    "sqlalchemy",
)


def prepare_process(threads: int | None = None) -> None:
    """Turn usage reporting off and keep third-party start-up noise from the user. Idempotent.

    Args:
        threads: CPU threads for OpenMP libraries, which read it when they load; all cores if None.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    warnings.filterwarnings("ignore")
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)


def run_module(
    module: str, *arguments: str, patience: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a module of ours where nothing else has been loaded, and wait for its end.

    Args:
        module: Full name, as after ``python -m``.
        *arguments: Its command line.
        patience: Seconds to wait.
        environment: All that the process sees; what this one sees if None.

    Returns:
        Exit code, standard output and standard error.

    Raises:
        subprocess.TimeoutExpired: It has not ended in time, and was killed.
    """
    # Without -P a folder named `training` in the working directory would be run instead of ours.
    command = [sys.executable, "-P", "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=patience, env=environment)


def answer_as_module(
    usage: str, arguments: Sequence[str], work: "Callable[[Settings, Home, Sequence[str]], Any]"
) -> int:
    """Be what :func:`run_module` runs: one JSON document on standard output, or the fault on standard error.

    Args:
        usage: The command line, an argument a word in capitals: ``python -m training.remeasure PACKAGE SNAPSHOT``.
        arguments: As given.
        work: Makes the document from the environment's settings, their home and as many arguments as the usage names.

    Returns:
        The exit code: 0, 2 where the number of arguments is another, else the fault's own.
    """
    if len(arguments) != sum(word.isupper() for word in usage.split()):
        note(f"usage: {usage}")
        return 2
    from contracts.home import Home
    from contracts.settings import load_settings

    try:
        # Whatever a library prints must not stand before the document.
        with redirect_stdout(sys.stderr):
            settings = load_settings()
            prepare_process(settings.threads)
            document = work(settings, Home.open(settings), arguments)
    except BackbeatError as error:
        note(f"error: {error}")
        return error.exit_code
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 0


def fault_of(done: subprocess.CompletedProcess[str]) -> str | None:
    """What a process that failed says is wrong; None where its exit code is 0."""
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode} without a word"]
    # A library may have the last word as the process ends.
    said = [line for line in lines if line.startswith("error: ")] or lines
    return said[-1].removeprefix("error: ")
