"""A shadow: a further version that answers the served requests aside, so that it can be compared with the champion.

It gets the champion's response id and the very query the champion answered, history included, so that differences
come from the model alone. It can neither delay nor break an answer: it is a process of its own with the lowest
priority, what waits for it is bounded, a query that has waited too long is dropped, and an error or a nonsensical list
of its model becomes a recorded row. A process that ends is started again, after a time that doubles.

Which queries it answers must not hang on what is in them. The sample is drawn by the response id, which is random and
the same for all shadows, so that they answer the same queries; a full queue and the deadline look at the clock only.
The deadline is of the waiting, not of the answering: an answer that took long is recorded, for without those the
shadow would look faster than it is.
"""

import json
import logging
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from contracts.clock import utc_now
from contracts.platform import ShadowRow
from serving.recommend import Query

__all__ = ["Shadow", "ShadowTask"]

_AT_ONCE = 32
"""Queries that a process is handed before it has answered: so many are asked again where it ends."""
_GATHER_S = 0.005
"""For which queries gather, so that a request does not wake a thread each time."""
_CLOSING_S = 5.0
"""How long the last answer may take when a shadow leaves, besides its deadline."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 600.0
"""Before a process that ended is started again; twice as long each time, and anew after one that lived the longest."""

_LOG = logging.getLogger("backbeat.serving")
_QUERY = TypeAdapter(Query)


@dataclass(frozen=True)
class ShadowTask:
    """A served request, for a shadow to answer again."""

    response_id: str
    """Hexadecimal and random."""
    query: Query
    reading_ms: float
    """Milliseconds the champion spent on reading the user's features, which the shadow is spared."""
    offered_at: float
    """``time.monotonic()`` when it was handed over."""


class Shadow:
    """A process that answers, and what waits for it.

    Args:
        version: The shadow version.
        model: Name of its model.
        command: Starts a process that does as :mod:`serving.shadow_process`.
        record: Takes each finished row.
        environment: Of the process; this one's if None.
        capacity: Queries that may be unanswered; more are dropped and counted.
        deadline_s: Seconds after which a waiting query is dropped and counted as late.
        sample: Share of the queries it is to answer, 0 to 1.
        count: Told what became of each query: ``answered``, ``failed``, ``dropped``, ``late`` or ``unsampled``.
        first_wait_s: Seconds before a process that ended is started again for the first time.
    """

    def __init__(
        self,
        version: str,
        model: str,
        command: Sequence[str],
        record: Callable[[ShadowRow], None],
        environment: Mapping[str, str] | None = None,
        capacity: int = 1_000,
        deadline_s: float = 5.0,
        sample: float = 1.0,
        count: Callable[[str], None] = lambda _: None,
        first_wait_s: float = _FIRST_WAIT_S,
    ) -> None:
        self.version = version
        self.model = model
        self.answered = 0
        self.failed = 0
        self.dropped = 0
        """Queries that found the queue full, or the shadow gone."""
        self.late = 0
        self.unsampled = 0
        self.ended = 0
        """Times its process ended by itself."""
        self.started = False
        """Whether its process has ever been ready."""
        self.fault: str | None = None
        """Why it does not answer; None while it does, or has not yet been found not to."""
        self._command = list(command)
        self._environment = environment
        self._record = record
        self._capacity = capacity
        self._deadline_s = deadline_s
        self._sampled_below = round(sample * 2**32)
        self._count = count
        self._first_wait_s = first_wait_s
        self._left_out: list[str] = []
        self._newest: str | None = None
        self._waiting: deque[ShadowTask | dict[str, Any]] = deque()
        """Queries, and between them what changes from there on, as the process reads it."""
        self._handed: deque[ShadowTask] = deque()
        """In the order in which they are to be answered."""
        self._queries = 0
        """Of those waiting."""
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._thread = threading.Thread(target=self._live, name="shadow", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Queries not yet answered or dropped."""
        with self._changed:
            return self._queries + len(self._handed)

    def status(self) -> dict[str, Any]:
        """The version, its process, and what became of the queries."""
        process = self._process
        return {
            "version": self.version,
            "model": self.model,
            "process": process.pid if process is not None and self._ready else None,
            "ended": self.ended,
            "answered": self.answered,
            "failed": self.failed,
            "dropped": self.dropped,
            "late": self.late,
            "unsampled": self.unsampled,
            "pending": self.pending,
        }

    def settled(self, within_s: float) -> bool:
        """Wait until its process is ready, or found not to be; whether it was in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.started or self.fault is not None, within_s)

    def offer(self, task: ShadowTask) -> None:
        """Hand over a served request. Never waits."""
        if int(task.response_id[:8], 16) >= self._sampled_below:
            self.unsampled += 1
            self._count("unsampled")
            return
        with self._changed:
            full = self._closing.is_set() or self._queries + len(self._handed) >= self._capacity
            if not full:
                self._queries += 1
                self._waiting.append(task)
                self._changed.notify_all()
        if full:
            self.dropped += 1
            self._count("dropped")

    def leave_out(self, item_ids: Collection[str]) -> None:
        """Have it return these items no more and all others again, from the next query that is offered on."""
        with self._changed:
            self._left_out = sorted(item_ids)
            self._waiting.append({"left_out": self._left_out})
            self._changed.notify_all()

    def admit(self, snapshot_id: str) -> None:
        """Have it return the new items of a snapshot too, from the next query that is offered on."""
        with self._changed:
            if snapshot_id != self._newest:
                self._newest = snapshot_id
                self._waiting.append({"newest": snapshot_id})
                self._changed.notify_all()

    def close(self) -> bool:
        """Have what is waiting answered, then end the process.

        Returns:
            Whether it was: one that does not come back from a query is ended all the same.
        """
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
            until = time.monotonic() + self._deadline_s + _CLOSING_S
            while self._ready and self._queries + len(self._handed) and time.monotonic() < until:
                self._changed.wait(0.1)
            left = self._queries + len(self._handed)
            process = self._process
            answering = self._ready
        if left and answering:
            _LOG.error("shadow version %s does not come back from a query and is ended", self.version)
        elif answering:
            self._thread.join(_CLOSING_S)
        if process is not None:
            process.kill()  # harmless where it has ended
        self._thread.join()
        return not left

    def _live(self) -> None:
        """Keep a process running until the shadow is closed."""
        wait_s = self._first_wait_s
        while not self._closing.is_set():
            started = time.monotonic()
            said = self._run()
            if self._closing.is_set():
                break
            with self._changed:
                self.fault = said
                self._changed.notify_all()
            _LOG.error("shadow version %s: %s", self.version, said)
            if time.monotonic() - started > _LONGEST_WAIT_S:
                wait_s = self._first_wait_s
            self._closing.wait(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        with self._changed:
            left, self._queries = self._queries + len(self._handed), 0
            self._waiting.clear()
            self._handed.clear()
        self.dropped += left
        for _ in range(left):
            self._count("dropped")

    def _run(self) -> str:
        """Start a process, go along with it to its end, and say why it ended."""
        try:
            process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        except OSError as error:
            return f"its process could not be started: {error}"
        with self._changed:
            self._process = process
            if self._closing.is_set():
                process.kill()
            # What it is to return and what not comes before the first query.
            self._waiting.appendleft({"left_out": self._left_out})
            if self._newest is not None:
                self._waiting.appendleft({"newest": self._newest})
        feeder = threading.Thread(target=self._feed, args=(process,), name="shadow-feeder", daemon=True)
        feeder.start()
        said = self._listen(process)
        process.kill()
        code = process.wait()
        if said is None:
            said = f"its process ended by signal {-code}" if code < 0 else f"its process ended with code {code}"
        with self._changed:
            was_ready, self._ready, self._process = self._ready, False, None
            self._changed.notify_all()
        feeder.join()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):  # what it was to read has no reader any more
            process.stdin.close()
        process.stdout.close()
        if was_ready and not self._closing.is_set():
            self.ended += 1
            self._take_back(said)
        return said

    def _take_back(self, said: str) -> None:
        """Of the queries that a process left, the first is what it ended at; the others are asked again."""
        with self._changed:
            left = list(self._handed)
            self._handed.clear()
            self._waiting.extendleft(reversed(left[1:]))
            self._queries += len(left[1:])
        if left:
            self._finish({"id": left[0].response_id, "items": [], "latency_ms": left[0].reading_ms, "error": said})

    def _feed(self, process: subprocess.Popen[bytes]) -> None:
        """Write what waits, as long as the process is this shadow's."""
        assert process.stdin is not None
        while True:
            with self._changed:
                while self._process is process and not self._may_hand():
                    if self._closing.is_set() and self._ready and not self._waiting and not self._handed:
                        process.stdin.close()  # then it ends
                        return
                    self._changed.wait()
                if self._process is not process:
                    return
                tasks = self._taken()
            try:
                process.stdin.write(b"".join(map(self._line, tasks)))
                process.stdin.flush()
            except OSError:
                return  # it has ended, and whoever listens to it says so
            time.sleep(_GATHER_S)

    def _may_hand(self) -> bool:
        return self._ready and bool(self._waiting) and len(self._handed) < _AT_ONCE

    def _taken(self) -> list[ShadowTask | dict[str, Any]]:
        taken = []
        while self._may_hand():
            taken.append(task := self._waiting.popleft())
            if isinstance(task, ShadowTask):
                self._queries -= 1
                self._handed.append(task)
        return taken

    def _line(self, task: ShadowTask | dict[str, Any]) -> bytes:
        document = task
        if isinstance(task, ShadowTask):
            document = {
                "id": task.response_id,
                "offered_at": task.offered_at,
                "deadline_s": self._deadline_s,
                "reading_ms": task.reading_ms,
                "query": _QUERY.dump_python(task.query, mode="json"),
            }
        return json.dumps(document).encode() + b"\n"

    def _listen(self, process: subprocess.Popen[bytes]) -> str | None:
        """Take what the process says until it says no more; what it says is wrong, if it does."""
        assert process.stdout is not None
        for line in process.stdout:
            try:
                said = json.loads(line)
                if "fault" in said:
                    return str(said["fault"])
                if "ready" in said:
                    with self._changed:
                        self._ready, self.started, self.fault = True, True, None
                        self._changed.notify_all()
                    continue
                with self._changed:
                    if not self._handed or said["id"] != self._handed[0].response_id:
                        raise ValueError(f"an answer to {said['id']!r}")
                    self._handed.popleft()
                    self._changed.notify_all()
                self._finish(said)
            except (ValueError, KeyError, TypeError) as error:
                return f"its process said {line[:100]!r}: {error}"
        return None

    def _finish(self, said: dict[str, Any]) -> None:
        """Count and record what became of a query."""
        if said.get("late"):
            self.late += 1
            self._count("late")
            return
        outcome = "answered" if said["error"] is None else "failed"
        row = ShadowRow(
            response_id=said["id"],
            version=self.version,
            at=utc_now(),
            items=said["items"],
            latency_ms=said["latency_ms"],
            error=said["error"],
        )
        try:
            self._record(row)
        except Exception:  # noqa: BLE001 - the next one may be recorded
            _LOG.exception("shadow version %s could not be recorded", self.version)
        if outcome == "answered":
            self.answered += 1
        else:
            self.failed += 1
        self._count(outcome)
