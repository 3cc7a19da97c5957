"""Reads of the online store that an answer does not wait for longer than its deadline."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

__all__ = ["Read", "TimedReads"]

_T = TypeVar("_T")

_LOG = logging.getLogger("backbeat.serving")


@dataclass(frozen=True)
class Read(Generic[_T]):
    """What a read gave, or why it gave nothing."""

    value: _T | None
    fault: Literal["late", "failed"] | None


class TimedReads:
    """A few threads that read, so that whoever waits can go on without them.

    While a read is overdue, further ones are late at once instead of each waiting for its own deadline; every
    ``retry_s`` one is tried nevertheless. Reads that never end hold a thread each, and no more than ``threads``.

    Args:
        threads: Reads at a time.
        retry_s: Seconds between tries while a read is overdue.
    """

    def __init__(self, threads: int = 4, retry_s: float = 1.0) -> None:
        self.late = 0
        self.failed = 0
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads = threads
        self._retry_s = retry_s
        self._overdue: list[Future[Any]] = []
        self._tried = 0.0
        for _ in range(threads):
            # Daemons: a store that hangs must not keep the process from ending.
            threading.Thread(target=self._read_until_closed, name="online-read", daemon=True).start()

    def read(self, call: Callable[[], _T], deadline_s: float) -> Read[_T]:
        """Call in another thread and wait, no longer than the deadline. Raises nothing. For one caller at a time."""
        self._overdue = [each for each in self._overdue if not each.done()]
        now = time.monotonic()
        if self._overdue and (len(self._overdue) >= self._threads or now - self._tried < self._retry_s):
            self.late += 1
            return Read(None, "late")
        self._tried = now
        future: Future[_T] = Future()
        self._tasks.put((future, call))
        try:
            error = future.exception(deadline_s)
        except TimeoutError:
            self.late += 1
            self._overdue.append(future)
            return Read(None, "late")
        if error is not None:
            self.failed += 1
            _LOG.warning("online features are missing from an answer: %s: %s", type(error).__name__, error)
            return Read(None, "failed")
        return Read(future.result(), None)

    def close(self) -> None:
        """Let the threads end once they have nothing to read."""
        for _ in range(self._threads):
            self._tasks.put(None)

    def _read_until_closed(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, call = task
            try:
                future.set_result(call())
            except Exception as error:  # noqa: BLE001 - told to whoever waits
                future.set_exception(error)
