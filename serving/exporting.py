"""Records reach Parquet by themselves while ``backbeat serve`` runs: every so often, and once more when it has stopped.

An export is a process of its own, ``python -m serving.exporting PARENT``, whose priority is low: neither those that
answer nor the one that waits for them give it their memory or their interpreter's time.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from contracts.errors import Conflict, ServiceUnavailable
from contracts.process import answer_as_module, fault_of, run_module
from contracts.settings import Settings, environment_of_child
from serving.lifeline import end_with_parent

if TYPE_CHECKING:
    from contracts.home import Home

__all__ = ["RegularExport", "export_apart", "export_home", "main"]

_PATIENCE_S = 86_400.0
"""For an export; what it has written by then stays, and the next one goes on there."""

_STOP_LIMIT_S = 15.0

_NICENESS = 10
"""Behind whoever answers, and still at work where they never rest: others wait for the files meanwhile."""


class RegularExport:
    """A thread that exports at an interval; as a context manager it runs for the length of the block.

    Where the block ends well it exports once more, and whoever leaves the block waits for that, 15 s at most.

    Args:
        export: Exports, and returns what was wrong, or None.
        minutes: The interval; no export at all if 0.
        tell: Told, as one line, what was wrong. The next time it is tried again.
    """

    def __init__(self, export: Callable[[], str | None], minutes: float, tell: Callable[[str], None]) -> None:
        self._export = export
        self._minutes = minutes
        self._tell = tell
        self._ended = threading.Event()
        self._well = False
        # A daemon: an export that hangs must not keep the process from ending, which ends that too.
        self._thread = threading.Thread(target=self._run, name="log-export", daemon=True)

    def __enter__(self) -> Self:
        if self._minutes:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._well = kind is None
        self._ended.set()
        if self._well and self._minutes:
            self._thread.join(_STOP_LIMIT_S)
            if self._thread.is_alive():
                self._tell(
                    f"the last export of the records took more than {_STOP_LIMIT_S:g} s and was left to the next"
                )

    def _run(self) -> None:
        while not self._ended.wait(self._minutes * 60):
            self._once(f"tried again in {self._minutes:g} minutes")
        if self._well:
            self._once("`backbeat logs export` tries again")

    def _once(self, then: str) -> None:
        fault = self._export()
        if fault is not None:
            self._tell(f"warning: the records could not be exported to Parquet, {then}: {fault}")


def export_apart(settings: Settings) -> str | None:
    """Export in a process of its own, and wait for it; what was wrong, or None."""
    try:
        done = run_module(
            "serving.exporting", str(os.getpid()), patience=_PATIENCE_S, environment=environment_of_child(settings)
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{type(error).__name__}: {error}"
    return fault_of(done)


def export_home(settings: Settings, home: "Home") -> dict[str, Any]:
    """What has settled and is in no file yet; where somebody else is at the files, nothing.

    Raises:
        ServiceUnavailable: The database does not answer.
        StorageFull: The disk ran out of space.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from contracts.database import Database
    from serving.log_export import export_settled
    from serving.log_files import LogFiles

    try:
        with closing(Database(settings, home)) as database:
            return export_settled(database, LogFiles(home.log_files, patience_s=0)).as_dict()
    except Conflict as error:
        return {"left_to": error.found}
    except SQLAlchemyError as error:
        raise ServiceUnavailable(
            "the platform's tables",
            found=str(error).splitlines()[0],
            expected="a database that answers",
            next_step="see `backbeat doctor`",
        ) from None


def main(arguments: Sequence[str]) -> int:
    """Export as a child of the process of the command line; returns the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the parent, which waits a while for this
    os.nice(_NICENESS)
    return answer_as_module("python -m serving.exporting PARENT", arguments, _export)


def _export(settings: Settings, home: "Home", arguments: Sequence[str]) -> dict[str, Any]:
    end_with_parent(int(arguments[0]))
    return export_home(settings, home)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
