"""Rows of the platform's tables, written in batches beside the request path."""

import logging
import queue
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from contracts.database import Database
from contracts.errors import BackbeatError, ServiceUnavailable
from contracts.log_rows import FeatureSnapshotRow
from contracts.messages import RecommendResponse
from contracts.platform import ResponseRow, ShadowRow
from serving.feedback import FeedbackLog
from serving.writers import Gap, Writer, settle_gaps

if TYPE_CHECKING:
    from serving.answering import Answer
    from serving.feature_snapshots import FeatureSampler

__all__ = ["Listed", "Recorder"]

_LOG = logging.getLogger("backbeat.serving")

_BATCH_ROWS = 500


@dataclass(frozen=True, slots=True)
class Listed:
    """A list that has left. Its row is made in the recorder's thread: the request path has no time for it.

    Without the query, whose history would be held in memory for as long as the database does not answer.
    """

    at: datetime
    response: RecommendResponse
    user_id: str
    video_id: str | None
    latency_ms: float
    propensities: Sequence[float] | None
    teams: Sequence[int] | None

    def values(self) -> dict[str, Any]:
        """Columns of a :class:`contracts.platform.ResponseRow`."""
        response = self.response
        return {
            "id": response.response_id,
            "at": self.at,
            "surface": response.surface,
            "version": response.version,
            "user_id": self.user_id,
            "items": [item.as_dict() for item in response.items],
            "latency_ms": self.latency_ms,
            "experiment": response.experiment,
            "arm": response.arm,
            "propensities": self.propensities and list(self.propensities),
            "teams": self.teams and list(self.teams),
            "video_id": self.video_id,
        }


_Row = ResponseRow | ShadowRow | FeatureSnapshotRow | Listed


class Recorder:
    """A bounded queue in front of the database and one thread that empties it.

    While the database does not answer, rows wait; what the queue cannot hold meanwhile is lost.

    Args:
        database: The platform's tables; closed with the recorder.
        capacity: Rows that may wait; more are dropped and counted.
        interval_s: Seconds over which rows gather into one transaction.
        counters: Directory of the file that counts what is handed out; what a killed process leaves out cannot be told
            without.
        sampler: Chooses the requests whose features are kept; none are if None.
        late_after_s: Seconds after which feedback that comes is marked as late.
    """

    def __init__(
        self,
        database: Database,
        capacity: int = 20_000,
        interval_s: float = 0.2,
        counters: Path | None = None,
        sampler: "FeatureSampler | None" = None,
        late_after_s: float = 3600,
    ) -> None:
        self._database = database
        self._interval_s = interval_s
        self._rows: queue.Queue[_Row] = queue.Queue(capacity)
        self._kept: list[_Row] = []
        self._waits = False
        self._closing = threading.Event()
        self._sampler = sampler
        self.written = 0
        self.lost = 0
        """Rows that found the queue full, or that the database refused."""
        self.rounds = 0
        """How often everything that waited has been written."""
        self.gaps_before: list[Gap] = []
        """What processes that ended without a stop left out, as found at the start."""
        self._writer: Writer | None = None
        if counters is not None:
            self._open_writer(counters)
        self.feedback = FeedbackLog(database, late_after_s=late_after_s, rounds=lambda: self.rounds)
        """What users did with what was served; unlike the rows it is acknowledged."""
        self._thread = threading.Thread(target=self._write_until_closed, name="recorder", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Rows not yet in the database."""
        return self._rows.unfinished_tasks

    def announce(self, lists: int) -> None:
        """So many lists are about to leave; each is put in afterwards. Never waits."""
        if self._writer is not None:
            self._writer.hand_out(lists)

    def put(self, row: _Row) -> None:
        """Hand over a row. Never waits."""
        try:
            self._rows.put_nowait(row)
        except queue.Full:
            self._lose([row])

    def sample(self, answer: "Answer", left_out: Collection[str] = (), newest: str | None = None) -> None:
        """Hand over what a list was made from, where its request is one of the sample. Never waits.

        Args:
            answer: The list.
            left_out: Items that no list had at that time.
            newest: The snapshot whose new items lists had.
        """
        if self._sampler is not None and (row := self._sampler.row(answer, left_out, newest)) is not None:
            self.put(row)

    def close(self) -> None:
        """Write what is waiting, then stop and return the database's connections."""
        self._closing.set()
        self._thread.join()
        self.feedback.close()
        self._database.close()

    def _open_writer(self, counters: Path) -> None:
        self._writer = Writer(counters)
        try:
            self.gaps_before = settle_gaps(self._database, counters)
            self._commit([])
        except (SQLAlchemyError, BackbeatError) as error:
            _LOG.error("the records cannot be written yet: %s", error)

    def _write_until_closed(self) -> None:
        while not self._closing.wait(self._interval_s):
            self._write_waiting()
        self._write_waiting()
        if self._kept:
            self._give_up(self._kept)
        if self._writer is not None:
            self._writer.close(clean=self._end(self._writer))

    def _write_waiting(self) -> None:
        """Write what has gathered; where the database does not answer, what is left waits for the next time."""
        handed = self._writer.handed if self._writer is not None else None
        if handed is not None:
            handed.begin()
        while batch := self._kept or self._take():
            self._kept = batch
            try:
                self._commit(batch)
            except (OperationalError, ServiceUnavailable) as error:
                if not self._waits:
                    _LOG.error("rows wait for the database: %s", error)
                self._waits = True
                return
            except SQLAlchemyError as error:
                _LOG.error("%d rows are written one by one: %s", len(batch), error)
                self._write_singly(batch)
            self._kept, self._waits = [], False
            for _ in batch:
                self._rows.task_done()
        self.rounds += 1
        if handed is not None:
            handed.written()
        self._beat()

    def _write_singly(self, batch: Sequence[_Row]) -> None:
        """So that one that the database refuses takes no others along."""
        for row in batch:
            try:
                self._commit([row])
            except SQLAlchemyError as error:
                if isinstance(error, IntegrityError) and self._is_there(row):
                    continue  # the commit that failed has reached the database after all
                self._lose([row])
                _LOG.error("1 row lost: %s", error)

    def _is_there(self, row: _Row) -> bool:
        kind, values = _kind(row), _values(row)
        key = [values[column.name] for column in kind.__table__.primary_key]
        with self._database.session() as session:
            return session.get(kind, key) is not None

    def _commit(self, batch: Sequence[_Row]) -> None:
        lists = sum(_kind(row) is ResponseRow for row in batch)
        with self._database.session() as session:
            _insert(session, batch)
            if self._writer is not None:
                self._writer.save(session, lists)
        self.written += len(batch)
        if self._writer is not None:
            self._writer.saved(lists)

    def _beat(self) -> None:
        if self._writer is None or not self._writer.due():
            return
        try:
            self._commit([])
        except (SQLAlchemyError, BackbeatError) as error:
            _LOG.error("the records' writer cannot say that it is at work: %s", error)

    def _end(self, writer: Writer) -> bool:
        try:
            with self._database.session() as session:
                writer.save(session, 0, ended=True)
        except (SQLAlchemyError, BackbeatError) as error:
            _LOG.error("the records' writer cannot say that it has ended: %s", error)
            return False
        return True

    def _give_up(self, batch: Sequence[_Row]) -> None:
        rest = list(batch)
        while more := self._take():
            rest += more
        self._lose(rest)
        _LOG.error("%d rows lost: the database did not answer to the end", len(rest))
        for _ in rest:
            self._rows.task_done()

    def _lose(self, rows: Sequence[_Row]) -> None:
        self.lost += len(rows)
        if self._writer is not None:
            self._writer.lose(sum(_kind(row) is ResponseRow for row in rows))

    def _take(self) -> list[_Row]:
        batch: list[_Row] = []
        try:
            while len(batch) < _BATCH_ROWS:
                batch.append(self._rows.get_nowait())
        except queue.Empty:
            pass
        return batch


def _insert(session: Session, rows: Sequence[_Row]) -> None:
    # Statements of many rows: the unit of work of the ORM takes several times as long, in the interpreter's time that
    # requests need.
    for kind, group in groupby(sorted(rows, key=lambda row: _kind(row).__name__), key=_kind):
        session.execute(insert(kind), [_values(row) for row in group])


def _kind(row: _Row) -> type[ResponseRow | ShadowRow | FeatureSnapshotRow]:
    return ResponseRow if isinstance(row, Listed) else type(row)


def _values(row: _Row) -> dict[str, Any]:
    # Without what is None: in a column of JSON that would be a null of JSON's own.
    columns = row.values() if isinstance(row, Listed) else vars(row)
    return {name: value for name, value in columns.items() if name != "_sa_instance_state" and value is not None}
