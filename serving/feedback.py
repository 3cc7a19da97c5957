"""Feedback on served lists: checked against the list, written in groups, and acknowledged once it is durable."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BackbeatError, BadInput, Conflict, NotFound, ServiceUnavailable
from contracts.feedback import FeedbackEvent, FeedbackReceipt, FeedbackRequest, ReceivedEvent
from contracts.platform import ResponseRow
from contracts.serving_rows import FeedbackRow
from serving.metrics import serving_metrics

__all__ = ["FeedbackLog"]

_LOG = logging.getLogger("backbeat.serving")

_CLOCKS_DIFFER_BY = timedelta(minutes=5)
_BATCH_EVENTS = 2_000
_ATTEMPTS = 3
_ROUND_S = 0.05
_ROUNDS = 2
"""The first may have begun before the list was handed over."""
_BEHIND_S = 20.0

_Key = tuple[str, str]


@dataclass(eq=False)
class _Task:
    request: FeedbackRequest
    since: float
    """``time.monotonic()`` when it was handed over."""
    round: int
    """How often the lists that waited had been written by then."""
    done: "Future[FeedbackReceipt]" = field(default_factory=Future)


class FeedbackLog:
    """A bounded queue in front of the database and one thread that writes what has gathered in one transaction.

    A served list is written beside its answer, so that feedback may come before it; it waits for the list for a moment.

    Args:
        database: The platform's tables; not closed with the log.
        capacity: Requests that may wait; more are refused.
        settle_s: Seconds to wait for a list before it is unknown.
        late_after_s: Seconds after which an event that comes is marked as late.
        rounds: How often all lists that waited have been written; a list is unknown only after two more rounds.
    """

    def __init__(
        self,
        database: Database,
        capacity: int = 10_000,
        settle_s: float = 1.0,
        late_after_s: float = 3600,
        rounds: Callable[[], int] | None = None,
    ) -> None:
        self._database = database
        self._settle_s = settle_s
        self._late_after = timedelta(seconds=late_after_s)
        self._rounds = rounds
        self._tasks: queue.Queue[_Task | None] = queue.Queue(capacity)
        self._waiting: list[_Task] = []
        self._closing = False
        self._counts = dict.fromkeys(("stored", "duplicates", "late", "refused"), 0)
        self._thread = threading.Thread(target=self._write_until_closed, name="feedback", daemon=True)
        self._thread.start()

    def submit(self, request: FeedbackRequest) -> "Future[FeedbackReceipt]":
        """Hand over feedback. Never waits; the future is done once the events are durable, or refused.

        Raises:
            ServiceUnavailable: Too much waits already. Of the future, as the next three: the database failed.
            NotFound: No such list was served.
            BadInput: An item is not in the list, or a time is in the future or before the list.
            Conflict: Another event was stored under the same id.
        """
        task = _Task(request, time.monotonic(), 0 if self._rounds is None else self._rounds())
        task.done.set_running_or_notify_cancel()  # a client that goes away takes nothing back
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            raise ServiceUnavailable(
                "feedback",
                found=f"{self._tasks.maxsize:,} requests that wait to be written",
                expected="a database that keeps up",
                next_step="send the same events again in some seconds; what was stored is not stored twice",
            ) from None
        return task.done

    def counts(self) -> dict[str, int]:
        """Events since the start: ``stored``, of these ``late``, ``duplicates``, and ``refused``."""
        return dict(self._counts)

    def close(self) -> None:
        """Write what is waiting, then stop."""
        self._tasks.put(None)
        self._thread.join()

    def _write_until_closed(self) -> None:
        while not self._closing or self._waiting:
            batch = self._waiting + self._take()
            self._waiting = []
            if not batch:
                continue
            try:
                self._settle(batch)
            except Exception as error:  # noqa: BLE001 - whoever waits must be told, and the next batch is written
                _LOG.exception("feedback of %d requests was not stored", len(batch))
                for task in batch:
                    if not task.done.done():
                        task.done.set_exception(_unwritten(error))

    def _take(self) -> list[_Task]:
        batch: list[_Task] = []
        size = 0
        patience = _ROUND_S if self._waiting else None
        try:
            while size < _BATCH_EVENTS and not self._closing:
                # Only for the first of a batch is it worth waiting.
                task = self._tasks.get(timeout=patience) if not batch else self._tasks.get_nowait()
                if task is None:
                    self._closing = True
                else:
                    batch.append(task)
                    size += len(task.request.events)
        except queue.Empty:
            pass
        return batch

    def _settle(self, batch: Sequence[_Task]) -> None:
        """Store a batch in one transaction, then tell each who waits for it."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._database.session() as session:
                    found = _store(session, batch, utc_now(), self._late_after)
                break
            except IntegrityError:  # another process stored one of the events meanwhile: now it is seen
                if attempt == _ATTEMPTS:
                    raise
        for task, outcome in zip(batch, found, strict=True):
            if isinstance(outcome, FeedbackReceipt):
                self._count(outcome)
                task.done.set_result(outcome)
            elif isinstance(outcome, NotFound) and self._may_come(task):
                self._waiting.append(task)
            else:
                self._add("refused", len(task.request.events))
                unwritten = isinstance(outcome, NotFound) and self._behind(task)
                task.done.set_exception(_perhaps_unwritten(task.request.response_id) if unwritten else outcome)

    def _may_come(self, task: _Task) -> bool:
        """Whether its list may still wait to be written: beside the answer, and where much is to do, long after it."""
        waited_s = time.monotonic() - task.since
        return not self._closing and (waited_s < self._settle_s or (waited_s < _BEHIND_S and self._behind(task)))

    def _behind(self, task: _Task) -> bool:
        """Whether lists that waited when it came have not all been written since."""
        return self._rounds is not None and self._rounds() < task.round + _ROUNDS

    def _count(self, receipt: FeedbackReceipt) -> None:
        stored = [event for event in receipt.events if event.state == "stored"]
        self._add("stored", len(stored))
        self._add("late", sum(event.late for event in stored))
        self._add("duplicates", len(receipt.events) - len(stored))

    def _add(self, what: str, events: int) -> None:
        if events:
            self._counts[what] += events
            metrics = serving_metrics()
            by_outcome = {"stored": "stored", "duplicates": "duplicate", "refused": "refused"}
            counter = metrics.feedback.labels(by_outcome[what]) if what in by_outcome else metrics.late_feedback
            counter.inc(events)


def _store(
    session: Session, batch: Sequence[_Task], now: datetime, late_after: timedelta
) -> list[FeedbackReceipt | BackbeatError]:
    ids = {task.request.response_id for task in batch}
    columns = (ResponseRow.id, ResponseRow.at, ResponseRow.items)
    served = {row.id: row for row in session.execute(select(*columns).where(ResponseRow.id.in_(ids)))}
    event_ids = {event.event_id for task in batch for event in task.request.events}
    kept = select(FeedbackRow).where(FeedbackRow.response_id.in_(ids), FeedbackRow.event_id.in_(event_ids))
    known: dict[_Key, FeedbackRow] = {(row.response_id, row.event_id): row for row in session.scalars(kept)}
    found: list[FeedbackReceipt | BackbeatError] = []
    for task in batch:
        request = task.request
        try:
            if (row := served.get(request.response_id)) is None:
                raise _unknown(request.response_id)
            places = {item["item_id"] for item in row.items}
            fresh, events = _judge(request, row.at, places, known, now, late_after)
        except BackbeatError as refused:
            found.append(refused)
            continue
        session.add_all(fresh.values())
        known |= fresh
        found.append(FeedbackReceipt(response_id=request.response_id, events=events))
    return found


def _judge(
    request: FeedbackRequest,
    served_at: datetime,
    items: set[str],
    known: dict[_Key, FeedbackRow],
    now: datetime,
    late_after: timedelta,
) -> tuple[dict[_Key, FeedbackRow], list[ReceivedEvent]]:
    """Rows to add and what to answer, for feedback of which all is in order."""
    fresh: dict[_Key, FeedbackRow] = {}
    events = []
    for number, event in enumerate(request.events):
        key = (request.response_id, event.event_id)
        _check(f"feedback events.{number}", event, served_at, items, now)
        before = fresh.get(key) or known.get(key)
        if before is None:
            row = FeedbackRow(
                response_id=request.response_id,
                event_id=event.event_id,
                item_id=event.item_id,
                kind=event.kind,
                seconds=event.seconds,
                at=event.at,
                received_at=now,
                late=now - event.at > late_after,
            )
            fresh[key] = row
            events.append(ReceivedEvent(event_id=event.event_id, state="stored", late=row.late))
        elif (before.item_id, before.kind, before.seconds) == (event.item_id, event.kind, event.seconds):
            events.append(ReceivedEvent(event_id=event.event_id, state="duplicate", late=before.late))
        else:
            raise Conflict(
                f"feedback events.{number}.event_id {event.event_id!r}",
                found=f"{event.kind} of {event.item_id!r}, while {before.kind} of {before.item_id!r} has that id",
                expected="an id of its own for each event on a list",
                next_step="send it under another event_id",
            )
    return fresh, events


def _check(subject: str, event: FeedbackEvent, served_at: datetime, items: set[str], now: datetime) -> None:
    if event.item_id not in items:
        raise BadInput(
            f"{subject}.item_id",
            found=repr(event.item_id),
            expected="an item of the served list",
            next_step="send the response_id of the list in which the item was shown",
        )
    if not served_at - _CLOCKS_DIFFER_BY <= event.at <= now + _CLOCKS_DIFFER_BY:
        raise BadInput(
            f"{subject}.at",
            found=event.at.isoformat(),
            expected=f"a time between {served_at.isoformat()}, when the list was served, and {now.isoformat()}, now",
            next_step="correct the client's clock; five minutes of difference are allowed",
        )


def _unknown(response_id: str) -> NotFound:
    return NotFound(
        f"response {response_id!r}",
        found="no served list of that id",
        expected="the response_id of an answer of POST /recommend",
        next_step="send the response_id as it was answered; lists that were pruned take no more feedback",
    )


def _perhaps_unwritten(response_id: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"response {response_id!r}",
        found=f"lists that have waited to be written for {_BEHIND_S:.0f} s, perhaps this one",
        expected="a database that takes what was served",
        next_step="send the same events again later",
    )


def _unwritten(error: Exception) -> BackbeatError:
    if isinstance(error, SQLAlchemyError):
        return ServiceUnavailable(
            "feedback",
            found="a database that failed; nothing was stored",
            expected="a committed transaction",
            next_step="send the same events again; the service's log says what the database said",
        )
    if isinstance(error, BackbeatError):
        return error
    return BackbeatError(
        "feedback",
        found="a fault of the service; nothing was stored",
        expected="an answer",
        next_step="read the service's log (serve.log in the home's logs directory)",
    )
