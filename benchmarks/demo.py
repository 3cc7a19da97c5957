"""Seconds and peak memory of the demo, beside the same commands run as one process each.

Run: ``python benchmarks/demo.py [--json] [--data FOLDER]``. Without a folder the demo simulates its data. Takes some
minutes; the homes are temporary.
"""

import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from _measure import Result, report

GIB = 2**30


def memory_of_tree(root: int) -> int:
    """Proportional set size in bytes of a process and all its descendants."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    total = 0
    for pid in family:
        try:
            found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue
        total += int(found[1]) * 1024 if found else 0
    return total


def run(argv: Sequence[str], on_tick: Callable[[int], None] = lambda _: None) -> str:
    """Run a command, look at it twice a second, return its standard error."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            on_tick(process.pid)
            time.sleep(0.5)
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise SystemExit(text)
    return text


def main() -> None:
    """Run the demo, then the commands it printed."""
    data = sys.argv[sys.argv.index("--data") + 1 :][:1] if "--data" in sys.argv else []
    backbeat = [sys.executable, "-m", "backbeat"]
    peaks: list[int] = []
    with tempfile.TemporaryDirectory() as directory:
        started = time.perf_counter()
        options = ["--data", *data] if data else []
        said = run(
            [*backbeat, "demo", *options, "--home", f"{directory}/one"], lambda pid: peaks.append(memory_of_tree(pid))
        )
        seconds = time.perf_counter() - started
        commands = [shlex.split(line)[2:] for line in said.splitlines() if line.startswith("$ backbeat")]
        started = time.perf_counter()
        for command in commands:
            run([*backbeat, *(f"{directory}/many" if part == f"{directory}/one" else part for part in command)])
        rival_seconds = time.perf_counter() - started
    limit = 300 if data else 120
    name = f"demo on {Path(data[0]).name}" if data else "demo, simulated"
    rival = "the same commands, a process each"
    gib = max(peaks) / GIB
    report(
        [
            Result(name, seconds, "s", rival, rival_seconds, f"≤ {limit}", seconds <= limit),
            Result(f"{name}, peak memory", gib, "GiB", "the limit", 3.0, "≤ 3", gib <= 3),
        ]
    )


if __name__ == "__main__":
    main()
