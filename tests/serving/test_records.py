"""Rows reach the database in batches, and never hold up who hands them over."""

import threading

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from contracts.clock import utc_now
from contracts.database import Database
from contracts.platform import ResponseRow
from serving.records import Recorder


def row(number: int) -> ResponseRow:
    return ResponseRow(
        id=f"r{number}", at=utc_now(), surface="video-feed", version="1", user_id="u", items=[], latency_ms=1.0
    )


def stored(database: Database) -> int:
    with database.session() as session:
        return session.scalar(select(func.count()).select_from(ResponseRow)) or 0


def test_closing_writes_what_waits(database: Database) -> None:
    recorder = Recorder(database, interval_s=60.0)
    for number in range(1_234):
        recorder.put(row(number))
    recorder.close()
    assert stored(database) == recorder.written == 1_234
    assert recorder.pending == recorder.lost == 0


def test_more_than_the_queue_holds_is_dropped_and_counted(database: Database) -> None:
    recorder = Recorder(database, capacity=10, interval_s=60.0)
    for number in range(15):
        recorder.put(row(number))
    recorder.close()
    assert (recorder.written, recorder.lost) == (10, 5)


def test_a_failing_database_loses_rows_not_the_service(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = threading.Event()
    failing.set()
    session = database.session

    def sometimes() -> object:
        if failing.is_set():
            raise OperationalError("insert", {}, Exception("disk I/O error"))
        return session()

    monkeypatch.setattr(database, "session", sometimes)
    recorder = Recorder(database, interval_s=0.01)
    recorder.put(row(1))
    while recorder.pending:
        pass
    failing.clear()
    recorder.put(row(2))
    recorder.close()
    assert (recorder.written, recorder.lost) == (1, 1)
    assert "1 rows lost" in caplog.text
