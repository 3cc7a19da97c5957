"""Prove in a clean process that a model package works: ``python -m training.check DIRECTORY``.

Loads the package, which compares every file with its sealed hash, and replays its golden requests. Exit code 0
where all is well; otherwise the fault's own code, with its paragraph on standard error.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from contracts.console import note
from contracts.errors import BackbeatError
from contracts.process import prepare_process

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Check the package in the directory named by the only argument; returns the exit code."""
    if len(arguments) != 1:
        note("usage: python -m training.check DIRECTORY")
        return 2
    prepare_process()
    from training.golden import check_golden
    from training.packages import load_package

    try:
        check_golden(load_package(Path(arguments[0])))
    except BackbeatError as error:
        note(f"error: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
