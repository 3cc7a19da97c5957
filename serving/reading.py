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

_SAY_EVERY_S = 60.0


@dataclass(frozen=True)
class Read(Generic[_T]):
    """What a read gave, or why it gave nothing."""

    value: _T | None
    fault: Literal["late", "failed"] | None


class _Failures:
    """Says that reads fail without a line for each: at the first and then once a minute, and when one works again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = 0
        self._said_at: float | None = None
        self._all = 0
        self._current = False

    def failed(self, error: BaseException) -> None:
        self._since += 1
        self._all += 1
        now = self._clock()
        # Also where some work in between: a store that fails now and then must not fill the log either.
        if self._said_at is not None and now - self._said_at < _SAY_EVERY_S:
            return
        since = "" if self._said_at is None else f", {self._since:,} since this was last said"
        _LOG.warning("online features are missing, their reads fail%s: %s: %s", since, type(error).__name__, error)
        self._since, self._said_at, self._current = 0, now, True

    def worked(self) -> None:
        if self._current:
            _LOG.warning("online features are read again; %s reads failed", f"{self._all:,}")
            self._all, self._current = 0, False


class TimedReads:
    """A few threads that read, so that whoever waits can go on without them.

    While a read is overdue, further ones are late at once instead of each waiting for its own deadline; every
    ``retry_s`` one is tried nevertheless. Reads that never end hold a thread each, and no more than ``threads``.

    Args:
        threads: Reads at a time.
        retry_s: Seconds between tries while a read is overdue.
        clock: Seconds that have passed.
    """

    def __init__(self, threads: int = 4, retry_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.late = 0
        self.failed = 0
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads = threads
        self._retry_s = retry_s
        self._overdue: list[Future[Any]] = []
        self._tried = 0.0
        self._clock = clock
        self._failures = _Failures(clock)
        for _ in range(threads):
            # Daemons: a store that hangs must not keep the process from ending.
            threading.Thread(target=self._read_until_closed, name="online-read", daemon=True).start()

    def read(self, call: Callable[[], _T], deadline_s: float) -> Read[_T]:
        """Call in another thread and wait, no longer than the deadline. Raises nothing. For one caller at a time."""
        self._overdue = [each for each in self._overdue if not each.done()]
        now = self._clock()
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
            self._failures.failed(error)
            return Read(None, "failed")
        self._failures.worked()
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
