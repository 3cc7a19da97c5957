"""How a worker that cannot start tells the command that started the server, two processes up."""

import json
from pathlib import Path

from contracts.errors import BackbeatError, ServiceUnavailable
from contracts.files import write_text_whole
from contracts.home import Home

__all__ = ["report_fault", "take_fault"]


def _path(home: Home, supervisor: int) -> Path:
    return home.logs / f"serve.{supervisor}.fault.json"


def _kinds(root: type[BackbeatError]) -> dict[str, type[BackbeatError]]:
    kinds: dict[str, type[BackbeatError]] = {}
    for child in root.__subclasses__():
        kinds |= _kinds(child)
    return kinds | {root.code: root}  # a room's own kind has the code of the general one, which says as much


def report_fault(home: Home, supervisor: int, error: Exception) -> None:
    """Leave an error where the starting command looks.

    Args:
        home: Holds the file.
        supervisor: Process id of BentoML's supervisor, which both sides know.
        error: Why the worker cannot start.
    """
    if not isinstance(error, BackbeatError):
        error = ServiceUnavailable(
            "the service",
            found=f"{type(error).__name__}: {error}",
            expected="a worker that starts",
            next_step=f"read {home.logs / 'serve.log'}",
        )
    write_text_whole(_path(home, supervisor), json.dumps(error.as_dict()))


def take_fault(home: Home, supervisor: int) -> BackbeatError | None:
    """The error that was left, which is removed; None where there is none."""
    path = _path(home, supervisor)
    if not path.exists():
        return None
    fault = json.loads(path.read_text(encoding="utf-8"))["error"]
    path.unlink()
    kind = _kinds(BackbeatError)[fault["code"]]
    return kind(fault["subject"], found=fault["found"], expected=fault["expected"], next_step=fault["next"])
