"""A materialization job: what it writes, what it leaves alone, and how it is stopped and resumed."""

import hashlib
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import Conflict
from contracts.job_run import new_job
from contracts.jobs import JobState, cancel_job, latest_job, list_jobs, pause_job
from contracts.materializing import MATERIALIZE
from feature_repo.materialization.check import check_sample
from feature_repo.materialization.online import OnlineView
from feature_repo.materialization.sources import known_times, newest, sources_of
from feature_repo.materialization.watermarks import online_views
from feature_repo.materialization.worker import resume_job, work
from feature_repo.materialize import (
    dry_run,
    materialize,
    materialized_snapshot,
    queue_materialization,
)
from feature_repo.offline import current_snapshot
from feature_repo.status import feature_status
from feature_repo.store import open_store
from tests.feature_repo.materialization.steps import VIEWS, Ready, freshness, stop_at


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
    calls = stop_at(monkeypatch, at, lambda: pause_job(tables, latest_job(tables, MATERIALIZE).id))  # type: ignore[union-attr]
    paused = materialize(*ready, views=VIEWS)
    job = paused["job"]
    assert (paused["outcome"], job["state"], job["done"], len(calls)) == ("paused", "paused", at, at)
    assert feature_status(*ready)["next"][-1] == f"backbeat features resume {job['id']}"
    done = resume_job(*ready, job["id"])
    assert (done["id"], done["state"], done["attempts"]) == (job["id"], "done", 2)
    assert done["done"] == done["total"] == len(calls)
    assert done["rows"] == sum(calls) == sum(len(rows) for rows in online_rows(ready[1]).values())
    with pytest.raises(Conflict, match="found a job that is done"):
        resume_job(*ready, job["id"])


@pytest.mark.usefixtures("small_chunks")
def test_the_same_command_goes_on_with_what_was_stopped(
    ready: Ready, tables: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    calls = stop_at(monkeypatch, 4, interrupt)
    with pytest.raises(KeyboardInterrupt):
        materialize(*ready, views=VIEWS)
    job = latest_job(tables, MATERIALIZE)
    assert job is not None
    assert (job.state, job.done) == ("interrupted", 3)
    assert f"`backbeat features resume {job.id}` goes on at its last checkpoint" in capsys.readouterr().err
    assert materialize(*ready, views=["user_profile"])["job"]["id"] != job.id, "other work is another job"
    cancelled = latest_job(tables, MATERIALIZE)
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
    calls = stop_at(monkeypatch, 2, lambda: cancel_job(tables, latest_job(tables, MATERIALIZE).id))  # type: ignore[union-attr]
    ended = materialize(*ready, views=VIEWS)
    assert (ended["outcome"], ended["job"]["state"], len(calls)) == ("cancelled", "cancelled", 2)
    with pytest.raises(Conflict, match="found a job that is cancelled"):
        resume_job(*ready, ended["job"]["id"])
    again = materialize(*ready, views=VIEWS)
    assert again["job"]["id"] != ended["job"]["id"]
    assert again["job"]["attempts"] == 1
    assert again["job"]["rows"] == sum(facts["rows"] for facts in again["job"]["detail"]["written"].values())


def test_a_view_at_work_is_refused_to_a_second_job(ready: Ready, tables: Database) -> None:
    snapshot = current_snapshot(ready[1]).id
    with new_job(tables, MATERIALIZE, snapshot, ["user_history"]) as first:
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
