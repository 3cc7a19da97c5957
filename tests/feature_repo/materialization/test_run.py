"""A materialization job: what it writes, what it leaves alone, and how it is stopped and resumed."""

import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, Conflict, HomeBusy, NotFound, ValidationFailed
from contracts.home import Home
from contracts.job_run import new_job
from contracts.jobs import JobState, cancel_job, find_job, latest_job, list_jobs, pause_job, requeue_job
from contracts.settings import Settings
from feature_repo.materialization import registry
from feature_repo.materialization.check import check_sample
from feature_repo.materialization.online import OnlineView
from feature_repo.materialization.sources import known_times, newest, sources_of
from feature_repo.materialization.watermarks import online_views
from feature_repo.materialization.worker import work
from feature_repo.materialize import (
    JOB_KIND,
    dry_run,
    materialize,
    materialized_snapshot,
    queue_materialization,
    resume_materialization,
)
from feature_repo.offline import current_snapshot
from feature_repo.status import feature_status
from feature_repo.store import open_store

from .conftest import VIEWS

Ready = tuple[Settings, Home]


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], Any], after: bool = False) -> list[int]:
    """Do something in the middle of the n-th write to the online store, before it or after it; counts the writes."""
    written, calls = OnlineView.write, list[int]()

    def write(self: OnlineView, table: pa.Table) -> int:
        calls.append(len(table))
        if len(calls) == number and not after:
            act()
        done = written(self, table)
        if len(calls) == number and after:
            act()
        return done

    monkeypatch.setattr(OnlineView, "write", write)
    return calls


def test_every_view_is_online_as_it_is_offline(ready: Ready, tables: Database, online_rows: Any) -> None:
    done = materialize(*ready)
    snapshot = current_snapshot(ready[1]).id
    job = done["job"]
    assert (done["outcome"], job["state"], job["done"], job["error"]) == ("materialized", "done", job["total"], None)
    store = open_store(*ready)
    sources = sources_of(store)
    assert done["views"] == [source.name for source in sources] == sorted(job["detail"]["written"])
    assert len(sources) > 20
    rows = online_rows(ready[1])
    for source in sources:
        until = source.known_until()
        assert until is not None
        keys = len(set(pq.read_table(source.path, columns=[source.key])[source.key].to_pylist()))
        assert check_sample(source, OnlineView(store, source), until, seed=1, keys=10**6) == keys
        assert len(rows[source.name]) == keys == job["detail"]["written"][source.name]["rows"]
        state = online_views(tables, snapshot)[source.name]
        assert (state.watermark, state.rows, state.job_id) == (until, keys, job["id"])
        assert store.get_feature_view(source.name).materialization_intervals == [
            (datetime(1970, 1, 1, tzinfo=UTC), until)
        ]
    assert job["rows"] == sum(len(each) for each in rows.values())
    assert job["peak_memory"] > 2**20
    assert materialized_snapshot(tables, ready[1], snapshot) == snapshot


def test_a_second_run_writes_nothing_and_force_writes_all(
    ready: Ready, tables: Database, online_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = materialize(*ready, views=VIEWS)
    rows = online_rows(ready[1])
    calls = stop_at(monkeypatch, 0, lambda: None)
    again = materialize(*ready, views=VIEWS)
    assert (again["outcome"], again["views"], again["definitions"]) == ("unchanged", VIEWS, first["definitions"])
    assert calls == []
    assert len(list_jobs(tables)) == 1
    forced = materialize(*ready, views=VIEWS, force=True)
    assert (forced["outcome"], forced["job"]["rows"]) == ("materialized", first["job"]["rows"])
    assert sum(calls) == first["job"]["rows"]
    assert online_rows(ready[1]) == rows


def test_some_views_are_no_snapshot_to_serve(ready: Ready, tables: Database) -> None:
    snapshot = current_snapshot(ready[1]).id
    materialize(*ready, views=["user_history"])
    assert materialized_snapshot(tables, ready[1], snapshot) is None
    rest = materialize(*ready)
    assert "user_history" not in rest["job"]["detail"]["written"]
    assert materialized_snapshot(tables, ready[1], snapshot) == snapshot


def freshness(ready: Ready, view: str) -> dict[str, Any]:
    return {each["name"]: each for each in feature_status(*ready)["views"]}[view]


def _newest_known(path: Any, key: str, until: datetime) -> dict[str, int]:
    """Entity → event time of its newest row known at an instant, in plain Python."""
    best: dict[str, tuple[int, int]] = {}
    table = pq.read_table(path, columns=[key, "event_time", "ingested_at"])
    for row, known in zip(table.to_pylist(), known_times(table).tolist(), strict=True):
        if row["ingested_at"] <= until and row["event_time"] <= until:
            event = int(row["event_time"].timestamp() * 1_000_000 + 0.5)
            best[row[key]] = max(best.get(row[key], (-1, -1)), (event, known))
    return {name: event for name, (event, _) in best.items()}


def test_only_what_became_known_since_the_watermark_is_written(
    ready: Ready, tables: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, view = current_snapshot(ready[1]).id, "user_history"
    [source] = sources_of(open_store(*ready), [view])
    half = newest(source.path, "event_time") - timedelta(hours=4)  # type: ignore[operator]
    early = materialize(*ready, views=[view], until=half)
    assert online_views(tables, snapshot)[view].watermark == half
    assert early["job"]["rows"] == len(_newest_known(source.path, source.key, half))
    assert materialize(*ready, views=[view], until=half)["outcome"] == "unchanged"
    assert freshness(ready, view)["state"] == "outdated", "a copy of a home has other paths in its definitions"
    monkeypatch.setattr("feature_repo.status.definitions_digest", lambda *_: early["definitions"])
    assert freshness(ready, view) | {"age_s": 0} == {
        "name": view,
        "entity": "user",
        "state": "behind",
        "newest": newest(source.path, "event_time").isoformat(),  # type: ignore[union-attr]
        "watermark": half.isoformat(),
        "age_s": 0,
        "rows": early["job"]["rows"],
        "job": early["job"]["id"],
    }
    assert freshness(ready, view)["age_s"] == pytest.approx((utc_now() - half).total_seconds(), abs=60)
    calls = stop_at(monkeypatch, 0, lambda: None)
    late = materialize(*ready, views=[view])
    before, after = (_newest_known(source.path, source.key, at) for at in (half, source.known_until()))  # type: ignore[arg-type]
    changed = {name for name, event in after.items() if before.get(name) != event}
    assert 0 < len(changed) < len(after), "else the test shows nothing"
    assert late["job"]["rows"] == sum(calls) == len(changed)
    assert late["job"]["detail"]["written"][view]["from"] == half.isoformat()
    assert online_views(tables, snapshot)[view].rows == len(after)
    assert freshness(ready, view)["state"] == "online"
    read = OnlineView(open_store(*ready), source).read(sorted(after), source.known_until())  # type: ignore[arg-type]
    assert read["event_time"].cast(pa.int64()).to_pylist() == [after[name] for name in sorted(after)]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("at", [1, 3, 7])
def test_pause_and_resume_write_each_chunk_once(
    ready: Ready, tables: Database, online_rows: Any, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    calls = stop_at(monkeypatch, at, lambda: pause_job(tables, latest_job(tables, JOB_KIND).id))  # type: ignore[union-attr]
    paused = materialize(*ready, views=VIEWS)
    job = paused["job"]
    assert (paused["outcome"], job["state"], job["done"], len(calls)) == ("paused", "paused", at, at)
    assert feature_status(*ready)["next"][-1] == f"backbeat features resume {job['id']}"
    done = resume_materialization(*ready, job["id"])
    assert (done["job"]["id"], done["job"]["state"], done["job"]["attempts"]) == (job["id"], "done", 2)
    assert done["job"]["done"] == done["job"]["total"] == len(calls)
    assert done["job"]["rows"] == sum(calls) == sum(len(rows) for rows in online_rows(ready[1]).values())
    with pytest.raises(Conflict, match="found a job that is done"):
        resume_materialization(*ready, job["id"])


@pytest.mark.usefixtures("small_chunks")
def test_the_same_command_goes_on_with_what_was_stopped(
    ready: Ready, tables: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    calls = stop_at(monkeypatch, 4, interrupt)
    with pytest.raises(KeyboardInterrupt):
        materialize(*ready, views=VIEWS)
    job = latest_job(tables, JOB_KIND)
    assert job is not None
    assert (job.state, job.done) == ("interrupted", 3)
    assert materialize(*ready, views=["user_profile"])["job"]["id"] != job.id, "other work is another job"
    cancelled = latest_job(tables, JOB_KIND)
    assert cancelled is not None
    monkeypatch.undo()
    monkeypatch.setattr("feature_repo.materialization.run.chunk_bytes_below", lambda *_: 4000)
    calls = stop_at(monkeypatch, 2, interrupt)
    with pytest.raises(KeyboardInterrupt):
        materialize(*ready, views=VIEWS)
    again = materialize(*ready, views=VIEWS)
    assert again["outcome"] == "materialized"
    assert again["job"]["id"] not in (job.id, cancelled.id)
    assert again["job"]["attempts"] == 2
    assert len(calls) == again["job"]["total"] + 1, "only the chunk that was cut short is written twice"


@pytest.mark.usefixtures("small_chunks")
def test_a_cancelled_job_is_not_taken_up_again(ready: Ready, tables: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stop_at(monkeypatch, 2, lambda: cancel_job(tables, latest_job(tables, JOB_KIND).id))  # type: ignore[union-attr]
    ended = materialize(*ready, views=VIEWS)
    assert (ended["outcome"], ended["job"]["state"], len(calls)) == ("cancelled", "cancelled", 2)
    with pytest.raises(Conflict, match="found a job that is cancelled"):
        resume_materialization(*ready, ended["job"]["id"])
    again = materialize(*ready, views=VIEWS)
    assert again["job"]["id"] != ended["job"]["id"]
    assert again["job"]["attempts"] == 1
    assert again["job"]["rows"] == sum(facts["rows"] for facts in again["job"]["detail"]["written"].values())


def test_a_view_at_work_is_refused_to_a_second_job(ready: Ready, tables: Database) -> None:
    snapshot = current_snapshot(ready[1]).id
    with new_job(tables, JOB_KIND, snapshot, ["user_history"]) as first:
        with pytest.raises(
            Conflict, match=rf"materialize user_history .*found job {first.id} .*features jobs {first.id}"
        ):
            materialize(*ready)
        assert materialize(*ready, views=["user_profile"])["outcome"] == "materialized"
        assert {view["name"] for view in feature_status(*ready)["views"] if view["state"] == "writing"} == {
            "user_history"
        }
        queued = queue_materialization(*ready, views=["user_history"])["job"]["id"]
        assert work(*ready, once=True) == []
    assert work(*ready, once=True) == [(queued, JobState.DONE)]


def test_a_writer_of_the_home_does_not_hold_it_up(ready: Ready) -> None:
    with ready[1].writing("backbeat ingest"):
        assert materialize(*ready, views=["user_profile"])["outcome"] == "materialized"


def test_a_dry_run_counts_and_writes_nothing(ready: Ready, tables: Database, online_rows: Any) -> None:
    def content(path: Path) -> str:
        if path.suffix != ".db":
            return hashlib.sha256(path.read_bytes()).hexdigest()
        with closing(sqlite3.connect(path)) as connection:  # a database's file and its log change by themselves
            return hashlib.sha256("\n".join(connection.iterdump()).encode()).hexdigest()

    def state() -> dict[str, str]:
        kept = [path for path in ready[1].root.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {str(path): content(path) for path in kept if not path.name.endswith(("-wal", "-shm"))}

    list_jobs(tables)
    tables.close()
    before = state()
    would = dry_run(*ready, views=VIEWS)["would"]
    assert state() == before
    assert all(facts["rows"] == facts["change"] > 0 for facts in would.values())
    done = materialize(*ready, views=VIEWS)
    written = done["job"]["detail"]["written"]
    assert {view: facts["rows"] for view, facts in would.items()} == {
        view: facts["rows"] for view, facts in written.items()
    }
    tables.close()
    before, rows = state(), online_rows(ready[1])
    assert dry_run(*ready, views=VIEWS)["would"] == {view: {"rows": 0, "change": 0} for view in VIEWS}
    forced = dry_run(*ready, views=VIEWS, force=True)["would"]
    assert {view: facts["rows"] for view, facts in forced.items()} == {view: would[view]["rows"] for view in VIEWS}
    assert all(facts["change"] == 0 for facts in forced.values())
    assert (state(), online_rows(ready[1])) == (before, rows)


def test_a_value_that_differs_fails_the_job_and_is_written_anew(
    ready: Ready, tables: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = OnlineView.write

    def wrong(self: OnlineView, table: pa.Table) -> int:
        if "views" in table.column_names:
            views = table["views"].to_pylist()
            table = table.set_column(table.column_names.index("views"), "views", pa.array([n + 1 for n in views]))
        return written(self, table)

    monkeypatch.setattr(OnlineView, "write", wrong)
    message = r"feature views of video_id 'v\d+' in view video_popularity: found (\d+) online; expected (\d+)"
    with pytest.raises(ValidationFailed, match=message) as caught:
        materialize(*ready, views=VIEWS, seed=3)
    assert int(caught.value.found.split()[0]) == int(caught.value.expected.split(",")[0]) + 1
    job = latest_job(tables, JOB_KIND)
    assert job is not None
    assert job.state == "failed"
    assert job.error == caught.value.as_dict()
    assert online_views(tables, job.snapshot)["video_popularity"].watermark is None
    assert online_views(tables, job.snapshot)["user_history"].watermark is not None
    monkeypatch.undo()
    again = materialize(*ready, views=VIEWS)
    assert (again["outcome"], again["job"]["id"], again["job"]["attempts"]) == ("materialized", job.id, 2)


@pytest.mark.usefixtures("small_chunks")
def test_what_the_store_lost_while_a_job_was_paused_is_written_again(
    ready: Ready, tables: Database, online_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 8, lambda: pause_job(tables, latest_job(tables, JOB_KIND).id))  # type: ignore[union-attr]
    job = materialize(*ready, views=VIEWS)["job"]
    for path in ready[1].feast.glob("online.db*"):
        path.unlink()
    done = resume_materialization(*ready, job["id"])
    assert done["outcome"] == "materialized"
    assert done["job"]["rows"] == sum(len(rows) for rows in online_rows(ready[1]).values())
    for source in sources_of(open_store(*ready), VIEWS):
        keys = set(pq.read_table(source.path, columns=[source.key])[source.key].to_pylist())
        assert len(online_rows(ready[1])[source.name]) == len(keys)


def test_a_store_that_lost_everything_is_noticed(ready: Ready, online_rows: Any) -> None:
    materialize(*ready, views=VIEWS)
    rows = online_rows(ready[1])
    for path in ready[1].feast.glob("online.db*"):
        path.unlink()
    assert materialize(*ready, views=VIEWS)["outcome"] == "materialized"
    assert online_rows(ready[1]) == rows


def test_a_worker_does_what_is_queued_the_oldest_first(ready: Ready, tables: Database) -> None:
    jobs = [queue_materialization(*ready, views=[view])["job"] for view in VIEWS]
    assert [job["state"] for job in jobs] == ["queued"] * 3
    assert feature_status(*ready)["next"][-1] == "backbeat features work --once"
    cancel_job(tables, jobs[1]["id"])
    assert work(*ready, once=True) == [(jobs[0]["id"], JobState.DONE), (jobs[2]["id"], JobState.DONE)]
    assert work(*ready, once=True) == []


def test_a_worker_goes_on_after_a_job_that_fails(
    ready: Ready, tables: Database, passed: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = queue_materialization(*ready, views=VIEWS, memory=1)["job"]["id"]
    good = queue_materialization(*ready, views=["user_profile"])["job"]["id"]
    assert work(*ready, once=True) == [(bad, JobState.FAILED), (good, JobState.DONE)]
    assert f"job {bad} failed: option --memory: found 0 MiB; expected at least" in capsys.readouterr().err
    assert find_job(tables, bad).error["error"]["code"] == "bad_input"  # type: ignore[index]
    requeue_job(tables, bad)
    passed(tables, current_snapshot(ready[1]).id, success=False)
    assert work(*ready, once=True) == [(bad, JobState.FAILED)]
    assert find_job(tables, bad).error["error"]["code"] == "validation_failed"  # type: ignore[index]


def test_a_fault_of_our_own_is_recorded_and_not_swallowed(
    ready: Ready, tables: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a bug")

    stop_at(monkeypatch, 1, broken)
    job = queue_materialization(*ready, views=VIEWS)["job"]["id"]
    with pytest.raises(ZeroDivisionError):
        work(*ready, once=True)
    row = find_job(tables, job)
    assert row.state == "failed"
    assert row.error["error"]["found"] == "ZeroDivisionError: a bug"  # type: ignore[index]


def test_views_that_are_not_there(ready: Ready, template: Home) -> None:
    with pytest.raises(NotFound, match=r"feature view 'user_histor'.*'user_history'.*features status"):
        materialize(*ready, views=["user_histor"])
    store = open_store(*ready)
    [source] = sources_of(store, ["user_history"])
    moved = source.path.rename(source.path.with_suffix(".away"))
    try:
        with pytest.raises(NotFound, match=r"feature view user_history: found no .*backbeat features apply"):
            materialize(*ready, views=["user_history"])
    finally:
        moved.rename(source.path)


def test_too_little_memory(ready: Ready, tables: Database) -> None:
    with pytest.raises(BadInput, match=r"option --memory: found 10 MiB; expected at least .* MiB"):
        materialize(*ready, views=VIEWS, memory=10 * 2**20)
    job = latest_job(tables, JOB_KIND)
    assert job is not None
    assert job.state == "failed"


def test_the_registry_is_waited_for(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_WAIT_S", 0.05)
    with registry.registry_turn(ready[1]):
        with pytest.raises(HomeBusy, match=r"Feast's registry in .*: found another process changing it"):
            materialize(*ready, views=["user_profile"])
    assert materialize(*ready, views=["user_profile"])["outcome"] == "materialized"


def test_a_view_without_rows_and_one_that_grows(
    ready: Ready, tables: Database, tmp_path: Any, monkeypatch: Any
) -> None:
    """A table that is written anew with more rows is behind, and then online, by its watermark."""
    [source] = sources_of(open_store(*ready), ["user_profile"])
    table = pq.read_table(source.path)
    path = tmp_path / "grows.parquet"
    monkeypatch.setattr("feature_repo.materialization.run.sources_of", lambda *_: [replace(source, path=path)])
    for rows in (0, 7, len(table)):
        pq.write_table(table.slice(0, rows), path, row_group_size=5)
        done = materialize(*ready, views=["user_profile"], force=rows == len(table))
        assert done["outcome"] == "materialized"
        assert done["job"]["rows"] == rows
        assert newest(path, "event_time") == (None if rows == 0 else newest(path, "ingested_at"))


def test_newest_without_statistics(tmp_path: Any) -> None:
    times = pa.array([3, None, 9, 4], pa.timestamp("us", "UTC"))
    path = tmp_path / "t.parquet"
    for statistics in (True, False):
        pq.write_table(pa.table({"l": [[1], [2], [], None], "t": times}), path, write_statistics=statistics)
        assert newest(path, "t") == datetime(1970, 1, 1, 0, 0, 0, 9, UTC)
        assert newest(path, "other") is None


def test_equal_values_are_equal(ready: Ready) -> None:
    from feature_repo.materialization.check import _same

    nan = float("nan")
    assert _same([1.0, nan, None], [1.0, nan, None])
    assert not _same([1.0], [1.0, 2.0])
    assert not _same(None, [])
    assert not _same(np.nextafter(np.float32(1), 2).item(), 1.0)


def test_features_that_are_gone(ready: Ready, tables: Database) -> None:
    queued = queue_materialization(*ready, views=VIEWS)["job"]["id"]
    shutil.rmtree(ready[1].feast)
    assert work(*ready, once=True) == [(queued, JobState.FAILED)]
    assert find_job(tables, queued).error["error"]["code"] == "not_found"  # type: ignore[index]
