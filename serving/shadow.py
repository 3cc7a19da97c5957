"""The shadow: a second version that answers the served requests aside, so that it can be compared with the champion.

It gets the champion's response id and the very query the champion answered, history included, so that differences
come from the model alone. It can neither delay nor break an answer: its queue is bounded, a query that has waited too
long is dropped, and an error of its model becomes a recorded row.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from contracts.clock import utc_now
from contracts.platform import ShadowRow
from serving.recommend import Query, Ranker

__all__ = ["Shadow", "ShadowTask"]

_LOG = logging.getLogger("backbeat.serving")


@dataclass(frozen=True)
class ShadowTask:
    """A served request, for the shadow to answer again."""

    response_id: str
    query: Query
    reading_ms: float
    """Milliseconds the champion spent on reading the user's features, which the shadow is spared."""
    offered_at: float
    """``time.monotonic()`` when it was handed over."""


class Shadow:
    """A bounded queue and one thread that answers what is in it.

    Args:
        ranker: The shadow version.
        record: Takes each finished row.
        capacity: Queries that may wait; more are dropped and counted.
        deadline_s: Seconds after which a waiting query is dropped and counted.
    """

    def __init__(
        self, ranker: Ranker, record: Callable[[ShadowRow], None], capacity: int = 1_000, deadline_s: float = 5.0
    ) -> None:
        self.version = ranker.version
        self.model = ranker.model
        self.answered = 0
        self.failed = 0
        self.dropped = 0
        self._ranker = ranker
        self._record = record
        self._deadline_s = deadline_s
        self._tasks: queue.Queue[ShadowTask | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._answer_until_closed, name="shadow", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Queries not yet answered or dropped."""
        return self._tasks.unfinished_tasks

    def offer(self, task: ShadowTask) -> None:
        """Hand over a served request. Never waits."""
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Answer what is waiting, then stop."""
        self._tasks.put(None)
        self._thread.join()

    def _answer_until_closed(self) -> None:
        while (task := self._tasks.get()) is not None:
            if time.monotonic() - task.offered_at > self._deadline_s:
                self.dropped += 1
            else:
                self._record(self._answer(task))
            self._tasks.task_done()

    def _answer(self, task: ShadowTask) -> ShadowRow:
        started, items, fault = time.perf_counter(), [], None
        try:
            items = [item.model_dump() for item in self._ranker.rank(task.query)]
            self.answered += 1
        except Exception as error:  # noqa: BLE001 - whatever the shadow's model does, the champion goes on
            _LOG.exception("shadow version %s failed on response %s", self.version, task.response_id)
            fault = f"{type(error).__name__}: {error}"
            self.failed += 1
        # With the features' reading time, the two versions' latencies say the same thing.
        latency_ms = task.reading_ms + (time.perf_counter() - started) * 1e3
        return ShadowRow(
            response_id=task.response_id,
            version=self.version,
            at=utc_now(),
            items=items,
            latency_ms=latency_ms,
            error=fault,
        )
