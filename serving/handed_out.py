"""How many lists a process has handed out: a number that outlives the process, however it ends.

It is in a mapped file, which the kernel keeps when the process is killed; a page written to costs no system call.
"""

import mmap
import os
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["Handed", "HandedOut"]

_LAYOUT = struct.Struct("<qqq")


@dataclass(frozen=True)
class Handed:
    """What such a file says."""

    lists: int
    """Lists handed out."""
    oldest: datetime | None
    """When the first was that may not be in the database yet; None where all that came before a look were."""
    newest: datetime | None
    """When the last was; None before the first."""

    @classmethod
    def read(cls, path: Path) -> "Handed | None":
        """What a file says; None where there is none."""
        try:
            lists, oldest, newest = _LAYOUT.unpack(path.read_bytes())
        except (OSError, struct.error):
            return None
        return cls(lists, _moment(oldest), _moment(newest))


class HandedOut:
    """Counts the lists of this process. Safe to share by threads.

    Args:
        path: The file; made here.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            os.truncate(handle, _LAYOUT.size)
            self._map = mmap.mmap(handle, _LAYOUT.size)
        finally:
            os.close(handle)
        self._lock = threading.Lock()
        self._lists = 0
        self._oldest = 0
        self._next_oldest = 0

    def add(self, lists: int) -> None:
        """So many more are about to leave."""
        now = time.time_ns() // 1_000
        with self._lock:
            self._lists += lists
            self._oldest = self._oldest or now
            self._next_oldest = self._next_oldest or now
            _LAYOUT.pack_into(self._map, 0, self._lists, self._oldest, now)

    def begin(self) -> None:
        """What is counted from here on may not be among what is written next."""
        with self._lock:
            self._next_oldest = 0

    def written(self) -> None:
        """What was counted before :meth:`begin` is in the database."""
        with self._lock:
            self._oldest = self._next_oldest
            struct.pack_into("<q", self._map, 8, self._oldest)

    def remove(self) -> None:
        """Forget it: nothing is missing."""
        self.close()
        with suppress(OSError):
            self._path.unlink()

    def close(self) -> None:
        """Leave the file to whoever comes next."""
        self._map.close()


def _moment(microseconds: int) -> datetime | None:
    return datetime.fromtimestamp(microseconds / 1e6, UTC) if microseconds else None
