"""Rows reach the database in batches, and never hold up who hands them over."""

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from contracts.clock import utc_now
from contracts.database import Database
from contracts.platform import ResponseRow, ShadowRow
from serving.records import Recorder
from serving.writers import gaps


def row(number: int, items: list[object] | None = None) -> ResponseRow:
    return ResponseRow(
        id=f"r{number}",
        at=utc_now(),
        surface="video-feed",
        version="1",
        user_id="u",
        items=items or [],
        latency_ms=1.0,
        propensities=None,
    )


def stored(database: Database) -> int:
    with database.session() as session:
        return session.scalar(select(func.count()).select_from(ResponseRow)) or 0


class Failing:
    """Sessions of a database that does not answer while ``down`` is set."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.down = threading.Event()
        self.tries = 0
        self._session = database.session
        monkeypatch.setattr(database, "session", self._sometimes)

    def _sometimes(self) -> object:
        if self.down.is_set():
            self.tries += 1
            raise OperationalError("insert", {}, Exception("disk I/O error"))
        return self._session()

    def wait_for_tries(self) -> None:
        wanted, deadline = self.tries + 2, time.monotonic() + 10
        while self.tries < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.fixture
def failing(database: Database, monkeypatch: pytest.MonkeyPatch) -> Failing:
    assert stored(database) == 0  # the tables are there
    return Failing(database, monkeypatch)


def test_closing_writes_what_waits(database: Database) -> None:
    recorder = Recorder(database, interval_s=60.0)
    for number in range(1_234):
        recorder.put(row(number))
    recorder.close()
    assert stored(database) == recorder.written == 1_234
    assert recorder.pending == recorder.lost == 0


def test_what_a_row_leaves_out_is_null_and_no_json(each_database: Database) -> None:
    recorder = Recorder(each_database, interval_s=60.0)
    for number in range(3):
        recorder.put(row(number))
    recorder.put(ShadowRow(response_id="r0", version="2", at=utc_now(), items=[], latency_ms=1.0, error=None))
    recorder.close()
    with each_database.session() as session:
        empty = select(func.count()).select_from(ResponseRow).where(ResponseRow.propensities.is_(None))
        assert session.scalar(empty) == 3
        assert session.scalars(select(ShadowRow.error)).all() == [None]


def test_more_than_the_queue_holds_is_dropped_and_counted(database: Database) -> None:
    recorder = Recorder(database, capacity=10, interval_s=60.0)
    for number in range(15):
        recorder.put(row(number))
    recorder.close()
    assert (recorder.written, recorder.lost) == (10, 5)


def test_rows_wait_while_the_database_does_not_answer(
    database: Database, failing: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    failing.down.set()
    recorder = Recorder(database, interval_s=0.01)
    recorder.put(row(1))
    failing.wait_for_tries()
    recorder.put(row(2))
    assert recorder.pending == 2
    failing.down.clear()
    recorder.close()
    assert (recorder.written, recorder.lost, recorder.pending, stored(database)) == (2, 0, 0, 2)
    assert caplog.text.count("rows wait for the database") == 1
    assert "lost" not in caplog.text


def test_what_cannot_wait_is_lost_counted_and_reported(database: Database, failing: Failing, tmp_path: Path) -> None:
    failing.down.set()
    recorder = Recorder(database, capacity=2, interval_s=0.01, counters=tmp_path)
    recorder.announce(4)
    recorder.put(row(0))
    recorder.put(ShadowRow(response_id="r0", version="2", at=utc_now(), items=[], latency_ms=1.0, error=None))
    failing.wait_for_tries()  # these two are taken, and kept
    for number in (1, 2, 3):
        recorder.put(row(number))
    failing.down.clear()
    recorder.close()
    assert (recorder.written, recorder.lost) == (4, 1)
    (gap,) = gaps(database)
    assert (gap.cause, gap.lists) == ("lost", 1)
    assert gap.since is not None
    assert "at most 1 lists missing" in gap.sentence()
    assert not list(tmp_path.glob("writer.*"))


def test_a_database_that_is_down_to_the_end_leaves_a_gap_for_the_next(
    database: Database, failing: Failing, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(database, interval_s=0.01, counters=tmp_path)
    failing.down.set()
    recorder.announce(3)
    for number in range(3):
        recorder.put(row(number))
    failing.wait_for_tries()
    recorder.put(row(3))
    recorder.close()
    assert (recorder.lost, recorder.pending) == (4, 0)
    failing.down.clear()
    assert "4 rows lost" in caplog.text
    assert "cannot say that it has ended" in caplog.text
    assert len(list(tmp_path.glob("writer.*.count"))) == 1


def test_a_row_that_the_database_refuses_takes_no_others_along(each_database: Database) -> None:
    recorder = Recorder(each_database, interval_s=60.0)
    recorder.put(row(1))
    refused = row(2)
    refused.user_id = None  # type: ignore[assignment]
    recorder.put(refused)
    recorder.put(row(3))
    recorder.close()
    assert stored(each_database) == 2
    assert (recorder.pending, recorder.lost) == (0, 1)


def test_a_row_that_is_there_already_is_no_loss(database: Database) -> None:
    with database.session() as session:
        session.add(row(1))
    recorder = Recorder(database, interval_s=60.0)
    recorder.put(row(1))
    recorder.put(row(2))
    recorder.close()
    assert (stored(database), recorder.lost) == (2, 0)


def test_records_are_written_although_nobody_can_count_them(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    recorder = Recorder(database, interval_s=60.0, counters=tmp_path / "file")
    recorder.announce(1)
    recorder.put(row(1))
    recorder.close()
    assert stored(database) == 1
    assert "cannot be counted" in caplog.text
    assert gaps(database) == []
