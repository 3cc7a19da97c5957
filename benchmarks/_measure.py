"""What every benchmark shares: CPU time of a command, medians, and the one shape of a result."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

__all__ = ["Result", "child_cpu_seconds", "median_of", "report"]


@dataclass(frozen=True)
class Result:
    """One figure beside that of a named rival, measured in the same run."""

    name: str
    value: float
    unit: str
    rival: str
    rival_value: float | None
    """None where the rival was not measured: ``rival`` says why."""
    target: str
    """The rule, in words."""
    ok: bool

    @property
    def ratio(self) -> float | None:
        """Our figure over the rival's; None where that is 0 or was not measured."""
        return self.value / self.rival_value if self.rival_value else None


def median_of(times: int, measure: Callable[[], float]) -> float:
    """Median of several measurements."""
    return statistics.median(measure() for _ in range(times))


def child_cpu_seconds(argv: Sequence[str], env: dict[str, str] | None = None) -> float:
    """User and system CPU seconds of a command, all threads counted."""
    before = os.times()
    subprocess.run(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def report(results: Sequence[Result]) -> None:
    """Print the results: ``--json`` on the command line gives one list, otherwise a line each.

    Raises:
        SystemExit: With 1, where a target was missed.
    """
    rows = [asdict(result) | {"ratio": result.ratio} for result in results]
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        for row in rows:
            times = f"{row['ratio']:.2f} of " if row["ratio"] is not None else ""
            theirs = f", {row['rival_value']:.3f}" if row["rival_value"] is not None else ""
            sys.stdout.write(
                f"{'ok  ' if row['ok'] else 'MISS'} {row['name']}: {row['value']:.3f} {row['unit']} "
                f"({times}{row['rival']}{theirs}); target {row['target']}\n"
            )
    if not all(result.ok for result in results):
        raise SystemExit(1)
