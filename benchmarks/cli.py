"""CPU seconds that the command line takes to answer, beside the command lines of the libraries it stands on.

Run: ``python benchmarks/cli.py [--json]``. The home named by BACKBEAT_HOME is listed; an empty one if unset.
"""

import shutil
import sys
from pathlib import Path

from measure import Result, child_cpu_seconds, median_of, report

REPEATS = 5


def tool(name: str) -> str:
    """Path of a command installed beside this interpreter."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or name


def main() -> None:
    """Measure ``--help`` and ``models list``."""
    help_seconds = median_of(REPEATS, lambda: child_cpu_seconds([tool("backbeat"), "--help"]))
    help_rival = median_of(REPEATS, lambda: child_cpu_seconds([tool("bentoml"), "--help"]))
    list_seconds = median_of(REPEATS, lambda: child_cpu_seconds([tool("backbeat"), "models", "list"]))
    list_rival = median_of(REPEATS, lambda: child_cpu_seconds([tool("mlflow"), "--version"]))
    report(
        [
            Result(
                "backbeat --help", help_seconds, "CPU s", "bentoml --help", help_rival, "≤ 0.5", help_seconds <= 0.5
            ),
            Result(
                "backbeat models list", list_seconds, "CPU s", "mlflow --version", list_rival, "≤ 3", list_seconds <= 3
            ),
        ]
    )


if __name__ == "__main__":
    main()
