"""For how long the interpreter is not to be had by requests while a champion is loaded beside them.

Run: ``python benchmarks/loading.py [--json] [--items 100000]``.

20 packages of a two-tower model (128 components) are loaded from disk, proved and warmed up, one after the other. A
thread beside them sleeps for a millisecond at a time and notes how late it wakes, also while nothing is loaded: that is
what other processes do to it.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
sys.path.append(str(Path(__file__).resolve().parent))

import numpy as np  # noqa: E402
from _measure import Result, report  # noqa: E402
from shadow import brought_in, written  # noqa: E402

LOADED, MOST_LATE_MS = 20, 10.0


def lateness(items: int) -> Iterator[Result]:
    """How late a thread wakes while packages are loaded, and while nothing happens."""
    import torch

    torch.set_num_threads(1)
    sys.setswitchinterval(0.0005)  # as the service does
    late: dict[str, list[float]] = {"loading": [], "idle": []}
    doing, closing = "idle", threading.Event()

    def watch() -> None:
        while not closing.is_set():
            began, since = doing, time.perf_counter()
            time.sleep(0.001)
            late[began].append((time.perf_counter() - since) * 1e3 - 1)

    with tempfile.TemporaryDirectory() as home:
        directory = Path(home) / "package"
        written(items, directory)
        brought_in(directory, "1")  # what is imported late is there
        watcher = threading.Thread(target=watch)
        watcher.start()
        for _ in range(LOADED):
            time.sleep(0.5)
            doing = "loading"
            brought_in(directory, "2")
            doing = "idle"
        closing.set()
        watcher.join()
    for share in (99.0, 99.9):
        loading, idle = (float(np.percentile(late[each], share)) for each in ("loading", "idle"))
        name = f"p{share:g} of how late a thread wakes while {LOADED} packages of {items:,} items are loaded"
        yield Result(name, loading, "ms", "idle", idle, f"at most {MOST_LATE_MS:g} ms", loading <= MOST_LATE_MS)


def main() -> None:
    """Measure."""
    from contracts.process import prepare_process

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--items", type=int, default=100_000)
    prepare_process(1)
    report(list(lateness(parser.parse_args().items)))


if __name__ == "__main__":
    main()
