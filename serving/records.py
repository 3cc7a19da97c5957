"""Rows of the platform's tables, written in batches beside the request path."""

import logging
import queue
import threading

from sqlalchemy.exc import SQLAlchemyError

from contracts.database import Database
from contracts.platform import ResponseRow, ShadowRow

__all__ = ["Recorder"]

_LOG = logging.getLogger("backbeat.serving")

_BATCH_ROWS = 500


class Recorder:
    """A bounded queue in front of the database and one thread that empties it.

    Args:
        database: The platform's tables; closed with the recorder.
        capacity: Rows that may wait; more are dropped and counted.
        interval_s: Seconds over which rows gather into one transaction.
    """

    def __init__(self, database: Database, capacity: int = 20_000, interval_s: float = 0.2) -> None:
        self._database = database
        self._interval_s = interval_s
        self._rows: queue.Queue[ResponseRow | ShadowRow] = queue.Queue(capacity)
        self._closing = threading.Event()
        self.written = 0
        self.lost = 0
        """Rows that found the queue full or the database failing."""
        self._thread = threading.Thread(target=self._write_until_closed, name="recorder", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Rows not yet in the database."""
        return self._rows.unfinished_tasks

    def put(self, row: ResponseRow | ShadowRow) -> None:
        """Hand over a row. Never waits."""
        try:
            self._rows.put_nowait(row)
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Write what is waiting, then stop and return the database's connections."""
        self._closing.set()
        self._thread.join()
        self._database.close()

    def _write_until_closed(self) -> None:
        while not self._closing.wait(self._interval_s):
            self._write_waiting()
        self._write_waiting()

    def _write_waiting(self) -> None:
        while batch := self._take():
            count = len(batch)
            try:
                with self._database.session() as session:
                    session.add_all(batch)
                self.written += count
            except SQLAlchemyError as error:
                self.lost += count
                _LOG.error("%d rows lost: %s", count, error)
            for _ in range(count):
                self._rows.task_done()

    def _take(self) -> list[ResponseRow | ShadowRow]:
        batch: list[ResponseRow | ShadowRow] = []
        try:
            while len(batch) < _BATCH_ROWS:
                batch.append(self._rows.get_nowait())
        except queue.Empty:
            pass
        return batch
