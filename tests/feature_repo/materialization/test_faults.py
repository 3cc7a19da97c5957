"""Materialization when something is wrong: values, stores, views, memory, the registry, and the worker's view of it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from contracts.database import Database
from contracts.errors import BadInput, Conflict, HomeBusy, NotFound, ValidationFailed
from contracts.home import Home
from contracts.job_run import new_job
from contracts.jobs import JobState, cancel_job, find_job, latest_job, pause_job, queue_job, requeue_job
from contracts.materializing import MATERIALIZE
from contracts.platform import JobRow
from feature_repo.materialization import registry
from feature_repo.materialization.online import OnlineView
from feature_repo.materialization.sources import newest, sources_of
from feature_repo.materialization.watermarks import online_views
from feature_repo.materialization.worker import resume_job, work
from feature_repo.materialize import (
    materialize,
    queue_materialization,
)
from feature_repo.offline import current_snapshot
from feature_repo.status import feature_status
from feature_repo.store import open_store
from tests.feature_repo.materialization.steps import VIEWS, Ready, freshness, stop_at


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
    job = latest_job(tables, MATERIALIZE)
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
    stop_at(monkeypatch, 8, lambda: pause_job(tables, latest_job(tables, MATERIALIZE).id))  # type: ignore[union-attr]
    job = materialize(*ready, views=VIEWS)["job"]
    for path in ready[1].feast.glob("online.db*"):
        path.unlink()
    done = resume_job(*ready, job["id"])
    assert done["state"] == "done"
    assert done["rows"] == sum(len(rows) for rows in online_rows(ready[1]).values())
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


def test_too_little_memory_and_the_same_command_with_more(ready: Ready, tables: Database) -> None:
    with pytest.raises(BadInput, match=r"option --memory: found 10 MiB; expected at least .* [MG]iB"):
        materialize(*ready, views=VIEWS, memory=10 * 2**20)
    job = latest_job(tables, MATERIALIZE)
    assert job is not None
    assert job.state == "failed"
    done = materialize(*ready, views=VIEWS, memory=2**33, seed=7)
    assert (done["outcome"], done["job"]["id"], done["job"]["attempts"]) == ("materialized", job.id, 2)
    assert done["job"]["parameters"] == job.parameters | {"memory": 2**33, "seed": 7}


def test_a_view_named_twice_is_one(ready: Ready) -> None:
    done = materialize(*ready, views=["user_profile", "user_profile"])
    assert (done["outcome"], done["views"]) == ("materialized", ["user_profile"])


def test_a_file_that_was_computed_again_is_written_again(
    ready: Ready, tables: Database, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same keys and times with other values, as after clusters were fitted anew."""
    [source] = sources_of(open_store(*ready), ["video_popularity"])
    table, path = pq.read_table(source.path), tmp_path / "again.parquet"
    shutil.copy2(source.path, path)
    monkeypatch.setattr("feature_repo.materialization.run.sources_of", lambda *_: [replace(source, path=path)])
    half = newest(path, "event_time") - timedelta(days=2)  # type: ignore[operator]
    materialize(*ready, views=[source.name], until=half)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        stop_at(patch, 1, interrupt)
        with pytest.raises(KeyboardInterrupt):
            materialize(*ready, views=[source.name])
    again = table.set_column(table.column_names.index("views"), "views", pc.add(table["views"], 1000))
    pq.write_table(again, path)
    for _ in range(2):  # in the middle of a job, and after one
        done = materialize(*ready, views=[source.name])
        assert done["outcome"] == "materialized"
        assert done["job"]["detail"]["written"][source.name]["from"] is None
        keys = pc.unique(table[source.key]).to_pylist()
        read = OnlineView(open_store(*ready), source).read(keys, source.known_until())  # type: ignore[arg-type]
        assert min(read["views"].to_pylist()) >= 1000
        assert materialize(*ready, views=[source.name])["outcome"] == "unchanged"
        pq.write_table(again.set_column(again.column_names.index("views"), "views", pc.add(again["views"], 1)), path)


def test_status_says_that_a_file_was_computed_again(ready: Ready, tables: Database, monkeypatch: Any) -> None:
    definitions = materialize(*ready, views=["user_profile"])["definitions"]
    monkeypatch.setattr("feature_repo.status.definitions_digest", lambda *_: definitions)
    assert freshness(ready, "user_profile")["state"] == "online"
    monkeypatch.setattr("feature_repo.status.file_stamp", lambda _: "1:2")
    assert freshness(ready, "user_profile")["state"] == "outdated"


@pytest.mark.usefixtures("small_chunks")
def test_what_was_lost_before_the_first_chunk_is_written_again(
    ready: Ready, tables: Database, online_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    [source] = sources_of(open_store(*ready), ["user_history"])
    half = newest(source.path, "event_time") - timedelta(hours=4)  # type: ignore[operator]
    materialize(*ready, views=["user_history"], until=half)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        stop_at(patch, 1, interrupt)
        with pytest.raises(KeyboardInterrupt):
            materialize(*ready, views=["user_history"])
    job = latest_job(tables, MATERIALIZE)
    assert job is not None
    assert (job.done, job.checkpoint["views"]["user_history"]["start"]) == (0, half.isoformat())
    for path in ready[1].feast.glob("online.db*"):
        path.unlink()
    monkeypatch.setattr("feature_repo.materialization.run.check_sample", lambda *_: 0)  # it may not draw what lacks
    done = materialize(*ready, views=["user_history"])
    assert done["job"]["id"] == job.id
    keys = set(pq.read_table(source.path, columns=[source.key])[source.key].to_pylist())
    assert len(online_rows(ready[1])["user_history"]) == len(keys)


def test_whose_job_was_taken_over_does_not_say_that_a_view_is_online(
    ready: Ready, tables: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_over(*_: Any) -> int:
        with tables.session() as session:
            session.query(JobRow).update({"token": "another"})
        return 0

    monkeypatch.setattr("feature_repo.materialization.run.check_sample", taken_over)
    with pytest.raises(Conflict, match="taken it over"):
        materialize(*ready, views=["user_profile"])
    assert online_views(tables, current_snapshot(ready[1]).id)["user_profile"].watermark is None


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


def test_features_that_are_gone(ready: Ready, tables: Database) -> None:
    queued = queue_materialization(*ready, views=VIEWS)["job"]["id"]
    shutil.rmtree(ready[1].feast)
    assert work(*ready, once=True) == [(queued, JobState.FAILED)]
    assert find_job(tables, queued).error["error"]["code"] == "not_found"  # type: ignore[index]


def test_a_job_of_a_kind_that_nobody_here_goes_on_with(ready: Ready, tables: Database) -> None:
    with pytest.raises(ValueError, match="no"), new_job(tables, "stream", "s") as run:
        raise ValueError("no")
    with pytest.raises(BadInput, match=rf"job {run.id}: found a job of the kind 'stream'; expected one of the kinds"):
        resume_job(*ready, run.id)
    queue_job(tables, "stream", "s", [])
    assert work(*ready, once=True) == [], "nor does a worker"
