"""Jobs: every move of their state, their locks, and what is left of one whose process is gone."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

import contracts.migrations
from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import Conflict, NotFound
from contracts.home import Home
from contracts.job_run import JobRun, new_job
from contracts.jobs import (
    MOVES,
    RESUMABLE,
    JobState,
    cancel_job,
    describe_job,
    find_job,
    latest_job,
    list_jobs,
    move_job,
    pause_job,
    queue_job,
    requeue_job,
    snapshots_done,
    state_of,
)
from contracts.platform import JobLockRow, JobRow, PlatformBase
from contracts.settings import Settings, load_settings


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def platform(request: pytest.FixtureRequest, home: Home) -> Iterator[Settings]:
    """Settings whose platform tables are in SQLite, and in a Postgres database of the test's own."""
    if request.param == "sqlite":
        yield load_settings(home=home.root)
        return
    with request.getfixturevalue("new_postgres")() as url:
        yield load_settings(home=home.root, profile="production", database_url=url)


@pytest.fixture
def tables(platform: Settings, home: Home) -> Iterator[Database]:
    database = Database(platform, home)
    yield database
    database.close()


def forced(database: Database, state: JobState, **values: Any) -> str:
    """A job in a state, however it came there."""
    job_id = queue_job(database, "materialize", "s", [])
    with database.session() as session:
        session.execute(sa.update(JobRow).where(JobRow.id == job_id).values(state=state, **values))
    return job_id


@pytest.mark.parametrize(("before", "after"), list(product(JobState, JobState)), ids=lambda s: str(s))
def test_a_job_moves_as_the_table_says_and_in_no_other_way(
    database: Database, before: JobState, after: JobState
) -> None:
    job_id = forced(database, before)
    row = find_job(database, job_id)
    if after in MOVES[before]:
        with database.session() as session:
            move_job(session, row, after)
        assert find_job(database, job_id).state == after
        with pytest.raises(Conflict, match=rf"job {job_id}: found that it is no longer {before}"):
            with database.session() as session:
                move_job(session, row, after)
    else:
        with pytest.raises(Conflict, match=rf"found a job that is {before}; expected one that may become {after}"):
            with database.session() as session:
                move_job(session, row, after)
        assert find_job(database, job_id).state == before


def test_the_states_that_end_are_the_ones_nothing_follows() -> None:
    assert {state for state, following in MOVES.items() if not following} == {JobState.DONE, JobState.CANCELLED}
    assert {state for state in MOVES if JobState.QUEUED in MOVES[state]} == RESUMABLE
    assert all(JobState.RUNNING in MOVES[state] for state in RESUMABLE)


@pytest.mark.parametrize(
    ("fault", "state"), [(None, "done"), (ValueError("no"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_a_job_records_how_it_ended(tables: Database, fault: BaseException | None, state: str) -> None:
    try:
        with new_job(tables, "materialize", "s", ["a"], {"force": True}) as run:
            run.detail["rows"] = 3
            at_work = latest_job(tables, "materialize")
            assert at_work is not None
            assert (at_work.state, state_of(at_work), at_work.pid) == ("running", "running", os.getpid())
            run.save({"at": 1}, done=1, total=4, rows=30)
            if fault is not None:
                raise fault
    except (ValueError, KeyboardInterrupt):
        pass
    row = latest_job(tables, "materialize", "s")
    assert row is not None
    told = describe_job(row)
    assert (told["state"], told["detail"], told["parameters"], told["subjects"]) == (
        state,
        {"rows": 3},
        {"force": True},
        ["a"],
    )
    assert (told["done"], told["total"], told["rows"], row.checkpoint) == (1, 4, 30, {"at": 1})
    assert told["rows_per_second"] > 0
    assert told["peak_memory"] > 1e6
    assert row.ended_at is not None
    assert (row.error is None) == (state != "failed")
    if row.error is not None:
        assert row.error["error"]["found"] == "ValueError: no"
    assert latest_job(tables, "materialize", "other") is None
    assert (latest_job(tables, "materialize", state="done") is None) == (state != "done")
    with tables.session() as session:
        assert session.query(JobLockRow).count() == 0


def test_an_error_of_ours_is_kept_as_its_json(database: Database) -> None:
    with pytest.raises(Conflict), new_job(database, "materialize", "s"):
        raise Conflict("thing", found="a", expected="b", next_step="c")
    row = latest_job(database, "materialize")
    assert row is not None
    assert row.error == {"error": {"code": "conflict", "subject": "thing", "found": "a", "expected": "b", "next": "c"}}


def test_a_second_job_is_refused_with_the_id_of_the_first(tables: Database) -> None:
    with new_job(tables, "materialize", "s", ["a", "b"]) as first:
        with pytest.raises(Conflict, match=rf"materialize b of snapshot s: found job {first.id} .*features jobs"):
            with new_job(tables, "materialize", "s", ["b", "c"]):
                pass
        queued = queue_job(tables, "materialize", "s", ["a"])
        with pytest.raises(Conflict, match=first.id), JobRun(tables, queued):
            pass
        for kind, snapshot, subject in (("materialize", "s", "c"), ("materialize", "t", "a"), ("encode", "s", "a")):
            with new_job(tables, kind, snapshot, [subject]):
                pass
    assert [(row.id, row.state) for row in list_jobs(tables, state="queued")] == [(queued, "queued")]
    assert len(list_jobs(tables)) == 5, "nothing is left of the one that was refused"
    with JobRun(tables, queued):
        pass
    with pytest.raises(Conflict, match="found a job that is done"), JobRun(tables, queued):
        pass


def test_of_many_at_once_one_gets_the_lock(tables: Database) -> None:
    tables.engine  # the tables are there before anybody hurries
    start, release = threading.Barrier(8), threading.Event()
    entered: list[str] = []
    refused: list[str] = []

    def hurry() -> None:
        start.wait()
        try:
            with new_job(tables, "materialize", "s", ["a", "b"]) as run:
                entered.append(run.id)
                release.wait(30)
        except Conflict as error:
            refused.append(str(error))
        if len(refused) == 7:
            release.set()

    threads = [threading.Thread(target=hurry) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == 1
    assert len(refused) == 7
    assert all(entered[0] in text for text in refused)


@pytest.mark.parametrize(
    ("ask", "state"), [(pause_job, JobState.PAUSED), (cancel_job, JobState.CANCELLED)], ids=["pause", "cancel"]
)
def test_a_worker_obeys_at_its_next_checkpoint(tables: Database, ask: Any, state: JobState) -> None:
    with new_job(tables, "materialize", "s", ["a"]) as run:
        run.save({"at": 1}, done=1, total=3, rows=10)
        assert ask(tables, run.id[:6]) == "running"
        run.save({"at": 2}, done=2, total=3, rows=20)
        raise AssertionError("not reached")
    assert run.state == state
    row = find_job(tables, run.id)
    assert (row.state, row.checkpoint, row.requested, row.error) == (state, {"at": 2}, None, None)
    if state is JobState.CANCELLED:
        with pytest.raises(Conflict, match="found a job that is cancelled"):
            cancel_job(tables, run.id)
        return
    with JobRun(tables, run.id) as again:
        assert (again.checkpoint, again.rows, again.total) == ({"at": 2}, 20, 3)
    row = find_job(tables, run.id)
    assert (row.state, row.attempts) == ("done", 2)


def test_what_waits_is_stopped_at_once(database: Database) -> None:
    job_id = queue_job(database, "materialize", "s", ["a"])
    assert pause_job(database, job_id) == "paused"
    with pytest.raises(Conflict, match="found a job that is paused"):
        pause_job(database, job_id)
    assert requeue_job(database, job_id) == job_id
    assert find_job(database, job_id).state == "queued"
    with pytest.raises(Conflict, match="found a job that is queued"):
        requeue_job(database, job_id)
    assert cancel_job(database, job_id) == "cancelled"
    for job in ("", "zzz"):
        with pytest.raises(NotFound, match=rf"job '{job}'.*backbeat features jobs"):
            pause_job(database, job)


def test_a_job_that_ends_while_somebody_asks_it_to_stop(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with new_job(database, "materialize", "s") as run:
        seen = find_job(database, run.id)
    monkeypatch.setattr("contracts.jobs.find_job", lambda *_: seen)
    with pytest.raises(Conflict, match="found that it has just ended"):
        pause_job(database, run.id)


KILLED = """
import sys, time
from contracts.database import Database
from contracts.home import Home
from contracts.job_run import new_job
from contracts.settings import Settings
settings = Settings.model_validate_json(sys.stdin.readline())
database = Database(settings, Home.open(settings))
with new_job(database, "materialize", "s", ["a", "b"]) as run:
    run.save({"at": 7}, done=1, total=2, rows=5)
    print(run.id, flush=True)
    time.sleep(60)
"""


def _killed(settings: Settings) -> str:
    """The id of a job whose process was killed."""
    told = settings.model_dump_json()
    if settings.database_url is not None:  # secrets are masked in the dump
        told = told.replace("**********", settings.database_url.get_secret_value())
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", KILLED], **pipes) as process:  # type: ignore[call-overload]
        process.stdin.write(told + "\n")
        process.stdin.flush()
        job_id = process.stdout.readline().strip()
        process.kill()
    return str(job_id)


@pytest.mark.parametrize("then", ["resume", "another", "cancel", "requeue"])
def test_a_killed_job_is_seen_and_gives_way(platform: Settings, tables: Database, then: str) -> None:
    job_id = _killed(platform)
    row = find_job(tables, job_id)
    assert (row.state, state_of(row), describe_job(row)["state"]) == ("running", "interrupted", "interrupted")
    if then == "resume":
        with JobRun(tables, job_id) as run:
            assert (run.checkpoint, run.rows) == ({"at": 7}, 5)
        assert (find_job(tables, job_id).state, find_job(tables, job_id).attempts) == ("done", 2)
    elif then == "another":
        with new_job(tables, "materialize", "s", ["b"]):
            assert find_job(tables, job_id).state == "interrupted"
    elif then == "cancel":
        assert cancel_job(tables, job_id) == "cancelled"
    else:
        requeue_job(tables, job_id)
        assert find_job(tables, job_id).state == "queued"
    with tables.session() as session:
        assert session.query(JobLockRow).count() == 0


def test_whose_job_was_taken_over_stops_without_touching_it(database: Database) -> None:
    with pytest.raises(Conflict, match="found that another process has taken it over"):
        with new_job(database, "materialize", "s", ["a"]) as run:
            with database.session() as session:
                session.execute(sa.update(JobRow).values(token="another", checkpoint={"at": 9}))
            run.save({"at": 1}, done=1, total=2, rows=3)
    row = find_job(database, run.id)
    assert (row.state, row.token, row.checkpoint) == ("running", "another", {"at": 9})
    with pytest.raises(Conflict, match="taken it over"):
        with new_job(database, "materialize", "t"):
            with database.session() as session:
                session.execute(sa.update(JobRow).values(token="another"))


def test_a_lock_whose_attempt_has_ended_holds_nobody_up(database: Database) -> None:
    with new_job(database, "materialize", "s", ["a"]) as run:
        pass
    with database.session() as session:
        session.add(JobLockRow(kind="materialize", snapshot="s", subject="a", job_id=run.id, token="old"))
    with new_job(database, "materialize", "s", ["a"]):
        pass


def test_the_last_snapshot_done_comes_first(database: Database) -> None:
    for snapshot, complete in (("a", True), ("b", True), ("a", True), ("c", False)):
        with new_job(database, "materialize", snapshot) as run:
            run.detail["complete"] = complete
    with pytest.raises(ValueError, match="no"), new_job(database, "materialize", "d"):
        raise ValueError("no")
    assert snapshots_done(database, "materialize") == ["a", "b"]
    assert snapshots_done(database, "other") == []


def _at_0001(settings: Settings, home: Home) -> sa.Engine:
    from contracts.addresses import database_url

    engine = sa.create_engine(database_url(settings, home))
    if engine.dialect.name == "sqlite":
        home.root.mkdir()
    config = Config()
    config.set_main_option("script_location", next(iter(contracts.migrations.__path__)))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        table = sa.Table("jobs", sa.MetaData(), autoload_with=connection)
        began = utc_now()
        for name, state in (("a" * 32, "done"), ("b" * 32, "running"), ("c" * 32, "failed")):
            ended = None if state == "running" else began
            row = {"id": name, "kind": "materialize", "snapshot": "s", "state": state, "detail": {"views": ["v"]}}
            connection.execute(table.insert().values(**row, started_at=began, ended_at=ended))
    return engine


def test_a_database_of_the_first_version_keeps_its_jobs(platform: Settings, home: Home) -> None:
    _at_0001(platform, home).dispose()
    database = Database(platform, home)
    rows = {row.state: row for row in list_jobs(database, "materialize", "s")}
    assert set(rows) == {"done", "interrupted", "failed"}, "what was left at work is known to have ended"
    for row in rows.values():
        assert (row.detail, row.parameters, row.checkpoint, row.subjects, row.rows) == ({"views": ["v"]}, {}, {}, [], 0)
        assert row.created_at == row.started_at
    assert snapshots_done(database, "materialize") == ["s"]
    with new_job(database, "materialize", "s", ["v"]) as run:
        run.save({}, done=1, total=1, rows=2**40)
    assert find_job(database, run.id).rows == 2**40
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), PlatformBase.metadata) == []
    config = Config()
    config.set_main_option("script_location", next(iter(contracts.migrations.__path__)))
    queue_job(database, "materialize", "s", [])
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        assert connection.execute(sa.text("select count(*) from jobs")).scalar() == 4
    database.close()
