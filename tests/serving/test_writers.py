"""What a process that is killed has not written is counted, and named by whoever comes next."""

import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.home import Home
from contracts.liveness import myself
from contracts.log_rows import LogWriterRow
from contracts.settings import Settings, environment_of_child
from serving.handed_out import Handed, HandedOut
from serving.records import Recorder
from serving.writers import gaps, settle_gaps

HANDS_OUT = """
import sys, time
from contracts.clock import utc_now
from contracts.database import Database
from contracts.home import Home
from contracts.platform import ResponseRow
from contracts.settings import load_settings
from serving.records import Recorder

settings = load_settings()
home = Home.open(settings)
recorder = Recorder(Database(settings, home), interval_s=float(sys.argv[1]), counters=home.logs)
for number in range(25):
    recorder.announce(1)
    recorder.put(
        ResponseRow(id=f"r{number}", at=utc_now(), surface="s", version="1", user_id="u", items=[], latency_ms=1.0)
    )
if sys.argv[2] == "stop":
    recorder.close()
print("ready", flush=True)
time.sleep(60)
"""


def worker(settings: Settings, interval_s: float, how: str = "kill") -> int:
    """Hand out 25 lists in a process of its own, and kill it; its number."""
    command = [sys.executable, "-c", HANDS_OUT, str(interval_s), how]
    process = subprocess.Popen(command, env=environment_of_child(settings), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    return process.pid


def test_what_a_killed_process_had_not_written_is_counted(settings: Settings, home: Home, database: Database) -> None:
    with home.writing("test"):
        began = utc_now()
        pid = worker(settings, interval_s=3600)
    assert gaps(database) == []
    (gap,) = settle_gaps(database, home.logs)
    assert (gap.pid, gap.cause, gap.lists) == (pid, "killed", 25)
    assert gap.since is not None
    assert gap.until is not None
    assert began.isoformat() < gap.since <= gap.until < utc_now().isoformat()
    assert f"at most 25 lists missing, process {pid}" in gap.sentence()
    assert gaps(database) == [gap]
    assert settle_gaps(database, home.logs) == []
    assert not list(home.logs.glob("writer.*"))
    assert gaps(database, since=utc_now()) == []


def test_a_process_that_is_stopped_leaves_no_gap(settings: Settings, home: Home, database: Database) -> None:
    with home.writing("test"):
        worker(settings, interval_s=3600, how="stop")
    assert settle_gaps(database, home.logs) == gaps(database) == []
    assert not list(home.logs.glob("writer.*"))


def test_the_next_recorder_says_what_the_one_before_left_out(
    settings: Settings, home: Home, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with home.writing("test"):
        worker(settings, interval_s=3600)
    recorder = Recorder(database, counters=home.logs)
    recorder.close()
    assert [gap.lists for gap in recorder.gaps_before] == [25]
    assert "records have a gap" in caplog.text


def test_a_process_at_work_has_no_gap_yet(database: Database, tmp_path: Path) -> None:
    recorder = Recorder(database, interval_s=3600, counters=tmp_path)
    recorder.announce(3)
    assert settle_gaps(database, tmp_path) == []
    assert len(list(tmp_path.glob("writer.*"))) == 1
    recorder.close()
    assert gaps(database) == []


def writer_row(**values: object) -> LogWriterRow:
    quiet = utc_now() - timedelta(minutes=5)
    facts = {"id": "w", "host": "elsewhere", "pid": 7, "born": myself().born, "started_at": quiet, "beat_at": quiet}
    return LogWriterRow(**facts | {"lists": 10, "lost": 0, "lost_from": None, "lost_until": None} | values)


def counted(directory: Path, lists: int) -> None:
    handed = HandedOut(directory / "writer.w.count")
    handed.add(lists)
    handed.close()


def test_of_a_process_whose_count_is_gone_the_number_is_unknown(database: Database, tmp_path: Path) -> None:
    with database.session() as session:
        session.add(writer_row())
    (gap,) = settle_gaps(database, tmp_path)
    assert (gap.lists, gap.until) == (None, None)
    assert "an unknown number of lists missing, process 7 on elsewhere" in gap.sentence()


def test_of_a_machine_that_went_down_the_count_says_nothing(database: Database, tmp_path: Path) -> None:
    with database.session() as session:
        session.add(writer_row(born="another-boot:1:1"))
    counted(tmp_path, 12)
    assert [gap.lists for gap in settle_gaps(database, tmp_path)] == [None]


@pytest.mark.parametrize(("handed", "lost", "missing"), [(12, 0, 2), (12, 2, 0), (10, 0, 0), (9, 0, 0)])
def test_what_was_handed_out_and_neither_written_nor_given_up_is_missing(
    database: Database, tmp_path: Path, handed: int, lost: int, missing: int
) -> None:
    with database.session() as session:
        session.add(writer_row(lost=lost))
    counted(tmp_path, handed)
    settle_gaps(database, tmp_path)
    with database.session() as session:
        row = session.get(LogWriterRow, "w")
        assert row is not None
        assert (row.missing, row.missing_from is None) == (missing, missing == 0)


def test_the_oldest_that_may_be_missing_is_after_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "counts" / "c"
    handed = HandedOut(path)
    assert Handed.read(path) == Handed(0, None, None)
    handed.add(2)
    first = Handed.read(path)
    assert first is not None
    assert (first.lists, first.oldest) == (2, first.newest)
    handed.begin()
    time.sleep(0.001)
    handed.add(1)
    during = Handed.read(path)
    assert during is not None
    assert (during.lists, during.oldest) == (3, first.oldest)
    handed.written()
    after = Handed.read(path)
    assert after is not None
    assert (after.oldest, after.newest) == (during.newest, during.newest)
    handed.begin()
    handed.written()
    assert Handed.read(path) == Handed(3, None, during.newest)
    handed.remove()
    assert Handed.read(path) is None
    path.write_bytes(b"half")
    assert Handed.read(path) is None
