"""Child process of ``backbeat serve``: BentoML's supervisor, tied to the life of its parent.

Run as ``python -m serving.host HOST PORT PARENT``.
"""

import runpy
import sys
from pathlib import Path

from contracts.process import prepare_process
from serving.lifeline import end_with_parent

__all__ = ["main"]

_SHUTDOWN_S = 5


def main() -> None:
    """Hand over to ``bentoml serve`` in this process."""
    host, port, parent = sys.argv[1:]
    end_with_parent(int(parent))
    prepare_process()
    sys.argv = [
        "bentoml",
        "serve",
        "serving.service:RecommenderService",
        f"--host={host}",
        f"--port={port}",
        f"--working-dir={Path(__file__).resolve().parents[1]}",
        f"--timeout-graceful-shutdown={_SHUTDOWN_S}",
    ]
    runpy.run_module("bentoml", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
