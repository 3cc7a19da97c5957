"""Exports beside a service: at an interval and at the end, by one at a time, and whatever goes wrong."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import ServiceUnavailable
from contracts.home import Home
from contracts.liveness import myself
from contracts.log_rows import LogWriterRow
from contracts.platform import ResponseRow
from contracts.settings import Settings, environment_of_child
from serving.exporting import RegularExport, export_apart, export_home
from serving.log_export import export_settled, reach_of
from serving.log_files import LogFiles

AT_ONCE = 0.01 / 60


def response(name: str, at: datetime, surface: str = "video-feed") -> ResponseRow:
    return ResponseRow(id=name, at=at, surface=surface, version="1", user_id="u", items=[], latency_ms=1.0)


def ids_in_files(home: Home) -> list[str]:
    files = [pq.read_table(each.path, partitioning=None) for each in LogFiles(home.log_files).segments("responses")]
    return sorted(str(each) for file in files for each in file["id"].to_pylist())


@pytest.fixture
def recorded(home: Home, database: Database) -> Callable[..., None]:
    """Writer of lists by their ids, served two minutes ago: ``recorded("r1", "r2")``."""

    def write(*ids: str) -> None:
        at = utc_now() - timedelta(minutes=2)
        with database.session() as session:
            session.add_all(response(each, at) for each in ids)

    with home.writing("test"):
        return write


class Service:
    """Takes the place of `backbeat serve`: what was exported and told while it ran."""

    def __init__(self, *faults: str | None) -> None:
        self.faults = list(faults)
        self.exports = 0
        self.told: list[str] = []
        self.enough = threading.Event()

    def export(self) -> str | None:
        self.exports += 1
        fault = self.faults.pop(0) if self.faults else None
        if not self.faults:
            self.enough.set()
        return fault


def test_it_exports_at_the_interval_and_goes_on_after_a_failure() -> None:
    service = Service(None, "database: found nobody", None, None)
    with RegularExport(service.export, AT_ONCE, service.told.append):
        assert service.enough.wait(60)
    (told,) = service.told
    assert "could not be exported to Parquet" in told
    assert told.endswith("database: found nobody")
    assert "\n" not in told


def test_it_exports_once_more_at_a_good_end_only() -> None:
    service = Service("disk: found no space")
    with RegularExport(service.export, 60, service.told.append):
        assert service.exports == 0
    assert service.exports == 1
    assert "`backbeat logs export` tries again: disk: found no space" in service.told[0]
    with pytest.raises(ZeroDivisionError), RegularExport(service.export, 60, service.told.append) as regular:
        raise ZeroDivisionError
    regular._thread.join()
    assert service.exports == 1


def test_an_interval_of_nothing_is_no_export() -> None:
    service = Service()
    with RegularExport(service.export, 0, service.told.append):
        pass
    assert (service.exports, service.told) == (0, [])


def test_a_last_export_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.exporting._STOP_LIMIT_S", 0.05)
    told: list[str] = []
    done = threading.Event()
    with RegularExport(lambda: done.wait(60) and None, 60, told.append):
        pass
    assert told == ["the last export of the records took more than 0.05 s and was left to the next"]
    done.set()


def test_a_process_of_its_own_exports_and_says_what_is_wrong(
    settings: Settings, home: Home, recorded: Callable[..., None], database: Database
) -> None:
    recorded("r1", "r2")
    assert export_apart(settings) is None
    assert ids_in_files(home) == ["r1", "r2"]
    database.close()
    for path in home.root.glob("platform.db*"):
        path.unlink()
    home.platform_database.write_text("no database at all")
    fault = export_apart(settings)
    assert fault is not None
    assert "expected the platform's tables" in fault
    assert "\n" not in fault


def test_the_process_lets_others_go_first_and_ends_with_its_parent(settings: Settings) -> None:
    command = [sys.executable, "-P", "-m", "serving.exporting", "999999999"]
    # What it had become can be read until it is waited for.
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment_of_child(settings)) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b""
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(os.nice(0) + 10, 19)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("error", [subprocess.TimeoutExpired("export", 1.0), OSError("no memory for a process")])
def test_a_process_that_cannot_be_run_is_a_fault_as_well(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("serving.exporting.run_module", fails)
    assert export_apart(settings) == f"{type(error).__name__}: {error}"


def test_several_services_of_one_home_write_each_list_once(
    settings: Settings, home: Home, recorded: Callable[..., None]
) -> None:
    ids = [f"r{number}" for number in range(50)]
    recorded(*ids)
    with ThreadPoolExecutor(4) as services:
        outcomes = list(services.map(lambda _: export_home(settings, home), range(8)))
    assert ids_in_files(home) == sorted(ids)
    assert sum(outcome.get("rows", {}).get("responses", 0) for outcome in outcomes) == len(ids)


def test_what_somebody_else_is_at_is_left_to_them(
    settings: Settings, home: Home, recorded: Callable[..., None]
) -> None:
    recorded("r1")
    with LogFiles(home.log_files).locked():
        assert "another command or a service" in export_home(settings, home)["left_to"]
    assert ids_in_files(home) == []
    assert export_home(settings, home)["rows"]["responses"] == 1


def test_tables_that_are_gone(
    settings: Settings, home: Home, recorded: Callable[..., None], database: Database
) -> None:
    recorded("r1")
    with database.session() as session:
        session.execute(text("drop table feedback"))
    with pytest.raises(ServiceUnavailable, match=r"platform's tables: found .*no such table: feedback"):
        export_home(settings, home)


def test_the_last_minute_waits_while_a_process_writes(database: Database, home: Home) -> None:
    now, files = utc_now(), LogFiles(home.log_files)
    times = {"started_at": now, "beat_at": now}
    with database.session() as session:
        session.add_all([response("old", now - timedelta(minutes=2)), response("young", now)])
        session.add(LogWriterRow(id="w", **vars(myself()), **times, lists=2, lost=0))
    assert (reach_of(database, files).until, reach_of(database, files).waiting) == (None, 2)
    assert export_settled(database, files).rows["responses"] == 1
    assert ids_in_files(home) == ["old"]
    assert reach_of(database, files).waiting == 1
    with database.session() as session:
        session.get_one(LogWriterRow, "w").ended_at = utc_now()
    assert export_settled(database, files).rows["responses"] == 1
    assert ids_in_files(home) == ["old", "young"]
    assert reach_of(database, files).sentence().endswith("UTC; 0 served since wait for the next export")


def test_the_reach_is_that_of_the_lists(database: Database, home: Home) -> None:
    files = LogFiles(home.log_files)
    assert reach_of(database, files).sentence().startswith("Parquet has no lists yet; 0 served")
    with database.session() as session:
        session.add(response("r", utc_now(), "music"))
    exported = export_settled(database, files)
    assert reach_of(database, files).as_dict() == {"until": exported.until, "waiting": 0}
