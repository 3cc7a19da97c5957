"""Who does a piece of work, whether that process still lives, and how much memory it has taken."""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from contracts.clock import utc_now

__all__ = ["HEARTBEAT_S", "STALE_AFTER", "Holder", "forget_peak_memory", "is_alive", "myself", "peak_memory"]

HEARTBEAT_S = 5.0
"""How often a worker says that it is alive."""

STALE_AFTER = timedelta(seconds=60)
"""A worker that has said nothing for so long counts as dead, even where its process lives."""

_PROC = Path("/proc")
_GONE = {"Z", "X", "x"}


@dataclass(frozen=True)
class Holder:
    """A process, told apart from a later one that was given the same number."""

    host: str
    pid: int
    born: str
    """``<boot>:<space of process numbers>:<start>``: the boot of the machine, and clock ticks since then."""


def myself() -> Holder:
    """The present process."""
    return Holder(socket.gethostname(), os.getpid(), f"{_boot()}:{_space()}:{_started(os.getpid())}")


def is_alive(holder: Holder, heartbeat: datetime | None) -> bool:
    """Whether a worker is still at work.

    One of this machine is looked up, and counts as dead at once where its process is gone. One of another machine, or
    of another container's process numbers, is known by its heartbeat only.

    Args:
        holder: The worker.
        heartbeat: When it last said that it was alive. A process may outlive its work: where the database did not
            answer as the work ended, only the heartbeat tells.
    """
    fresh = heartbeat is not None and utc_now() - heartbeat < STALE_AFTER
    boot, _, rest = holder.born.partition(":")
    space, _, started = rest.partition(":")
    if holder.host != socket.gethostname() or space != _space():
        return fresh
    return (heartbeat is None or fresh) and boot == _boot() and _started(holder.pid) == started


def peak_memory() -> int:
    """Most bytes of memory this process has held at once, since :func:`forget_peak_memory` where that is possible."""
    with suppress(OSError, ValueError, StopIteration):
        lines = (_PROC / "self" / "status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak_memory() -> None:
    """Count the peak anew from here, so that a worker's second job is not charged for its first."""
    with suppress(OSError):  # some containers do not allow it; the peak is then that of the whole process
        (_PROC / "self" / "clear_refs").write_text("5")


def _boot() -> str:
    with suppress(OSError):
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()[:8]
    return ""


def _space() -> str:
    with suppress(OSError):
        return str((_PROC / "self/ns/pid").readlink()).strip("pid:[]")
    return ""


def _started(pid: int) -> str:
    """Clock ticks from the machine's start to the process's; empty where there is no such process."""
    with suppress(OSError):
        # The name of the program stands in brackets and may hold anything; the state follows.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in _GONE else fields[19]
    return ""
