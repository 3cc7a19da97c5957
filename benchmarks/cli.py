"""CPU seconds that the command line takes to answer, beside the command lines of the libraries it stands on.

Run: ``python benchmarks/cli.py [--json]``. Makes a small home of its own with one registered version.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from _measure import Result, child_cpu_seconds, median_of, report

REPEATS = 5
SMALL = ("--users", "200", "--videos", "100", "--events", "4000")


def tool(name: str) -> str:
    """Path of a command installed beside this interpreter."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or name


def make_home(environment: dict[str, str]) -> None:
    """Register one version in the environment's home."""
    for command in (
        ("ingest", "simulate", *SMALL),
        ("features", "apply"),
        ("validate", "run"),
        ("train", "popularity"),
    ):
        subprocess.run([tool("backbeat"), *command], env=environment, capture_output=True, check=True)


def main() -> None:
    """Measure ``--help`` and ``models list``."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "BACKBEAT_HOME": f"{directory}/home"}
        make_home(environment)

        def median(*argv: str) -> float:
            return median_of(REPEATS, lambda: child_cpu_seconds([tool(argv[0]), *argv[1:]], environment))

        answer, rival_answer = median("backbeat", "--help"), median("bentoml", "--help")
        listing = median("backbeat", "models", "list")
        url = f"sqlite:///{directory}/home/mlflow.db"
        script = f"from mlflow import MlflowClient; print(MlflowClient('{url}').search_model_versions())"
        rival_listing = median("python", "-c", script)
    report(
        [
            Result("backbeat --help", answer, "CPU s", "bentoml --help", rival_answer, "≤ 0.5", answer <= 0.5),
            Result(
                "backbeat models list",
                listing,
                "CPU s",
                "MlflowClient.search_model_versions",
                rival_listing,
                "≤ 3",
                listing <= 3,
            ),
        ]
    )


if __name__ == "__main__":
    main()
