"""The commands on jobs as a user types them."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from contracts.clock import parse_instant
from contracts.database import Database
from contracts.errors import BackbeatError, BadInput, Conflict, NotFound
from contracts.home import Home
from contracts.job_run import new_job
from contracts.jobs import find_job, latest_job, list_jobs
from contracts.materializing import MATERIALIZE
from contracts.settings import Settings
from feature_repo.commands import features
from feature_repo.materialization.repeats import done_by

app = typer.Typer()
app.add_typer(features, name="features")


@pytest.fixture
def run(ready: tuple[Settings, Home]) -> Any:
    """``run("jobs", …)``: the text of a command; ``run(…, as_json=True)``: its document."""

    def type_it(*words: str, as_json: bool = False, code: int = 0) -> Any:
        typed = ["features", *words, "--home", str(ready[1].root), *(["--json"] if as_json else [])]
        result = CliRunner().invoke(app, typed)
        if isinstance(result.exception, BackbeatError):
            raise result.exception
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if as_json else result.stdout

    return type_it


def test_a_job_from_the_queue_to_its_end(run: Any, tables: Database) -> None:
    assert "no jobs yet" in run("jobs")
    queued = run("materialize", "--queue", "--view", "user_profile", "--memory", "8GiB", as_json=True)
    job = queued["job"]["id"]
    assert (queued["outcome"], queued["views"], queued["job"]["parameters"]["memory"]) == (
        "queued",
        ["user_profile"],
        2**33,
    )
    assert f"job {job}  queued" in run("jobs", job[:5])
    assert "`backbeat features work --once` does it" in run("jobs", job)
    assert run("pause", job).strip() == f"job {job}: paused"
    assert f"`backbeat features resume {job}`" in run("jobs", job)
    assert run("work", "--once").strip() == "nothing is queued"
    assert f"job {job}: queued" in run("resume", job, "--queue")
    assert run("work", "--once", as_json=True) == {"jobs": [{"id": job, "state": "done"}]}
    told = run("jobs", job, as_json=True)
    assert (told["state"], told["rows"], told["done"]) == ("done", 60, told["total"])
    assert run("jobs", as_json=True) == {"jobs": [told]}
    text = run("jobs", job)
    for words in (f"job {job}  done", "60 rows", "iB at most", "attempt 1", "60 compared with offline"):
        assert words in text
    assert f"{job}  done" in run("jobs")
    assert run("jobs").rstrip().endswith("  materialize: user_profile")
    with pytest.raises(Conflict, match="found a job that is done"):
        run("cancel", job)
    assert run("cancel", run("materialize", "--queue", as_json=True)["job"]["id"]).strip().endswith(": cancelled")
    for words in ("jobs", "pause", "resume", "cancel"):
        with pytest.raises(NotFound, match=r"job 'nothing'.*backbeat features jobs"):
            run(words, "nothing")


def test_materialize_says_what_it_did(run: Any) -> None:
    dry = run("materialize", "--view", "user_profile", "--dry-run")
    assert "nothing written" in dry
    assert "60 rows to write, 60 of them change something" in dry
    assert run("materialize", "--view", "user_profile", "--dry-run", as_json=True)["would"] == {
        "user_profile": {"rows": 60, "change": 60}
    }
    text = run("materialize", "--view", "user_profile")
    for words in ("materialized", "60 rows", "60 sampled keys are online as they are offline"):
        assert words in text
    assert "unchanged" in run("materialize", "--view", "user_profile")
    status = run("status")
    for words in ("user_profile", "known until 20", "user_history", "missing", "backbeat features materialize"):
        assert words in status


def test_options_that_make_no_sense(run: Any) -> None:
    with pytest.raises(BadInput, match="options --dry-run and --queue: found both"):
        run("materialize", "--dry-run", "--queue")
    for text in ("yesterday", "2025-01-01", "2025-01-01T00:00:00"):
        with pytest.raises(BadInput, match=rf"option --until: found '{text}'; expected an instant with its zone"):
            run("materialize", "--until", text)
    with pytest.raises(BadInput, match="option --memory: found 'much'"):
        run("materialize", "--memory", "much")
    assert parse_instant("2026-01-31T14:00:00+02:00", "x").isoformat() == "2026-01-31T12:00:00+00:00"


def test_a_failed_job_says_why_and_what_next(run: Any, tables: Database) -> None:
    job = run("materialize", "--queue", "--memory", "1MiB", as_json=True)["job"]["id"]
    assert f"job {job}: failed" in run("work", "--once", code=1)
    text = run("jobs", job)
    for words in ("failed", "option --memory: found 1 MiB", "next", f"`backbeat features resume {job}`"):
        assert words in text


def _stopped(database: Database, kind: str, snapshot: str, subjects: list[str], **parameters: Any) -> str:
    with pytest.raises(KeyboardInterrupt), new_job(database, kind, snapshot, subjects, parameters) as begun:
        raise KeyboardInterrupt
    return begun.id


def _done(database: Database, kind: str, snapshot: str, subjects: list[str], **parameters: Any) -> str:
    with new_job(database, kind, snapshot, subjects, parameters) as begun:
        pass
    return begun.id


def test_a_stopped_job_that_a_later_one_has_done(run: Any, tables: Database) -> None:
    stopped = _stopped(tables, "encode", "s", ["video_visual_1"], encoder="resnet50")
    assert run("jobs", stopped, as_json=True)["done_by"] is None
    assert f"`backbeat features resume {stopped}`" in run("jobs", stopped)
    later = _done(tables, "encode", "t", ["video_visual_1"], encoder="resnet50")
    assert run("jobs", stopped, as_json=True)["done_by"] == later
    text = run("jobs", stopped)
    assert f"job {later} has done what was left" in text
    assert "features resume" not in text
    [first, second] = run("jobs").splitlines()
    assert first.startswith(f"{later}  done ")
    assert second.startswith(f"{stopped}  superseded ")
    assert second.endswith("  encode resnet50: video_visual_1")


def test_which_jobs_do_the_work_of_a_stopped_one(tables: Database) -> None:
    def told(job: str) -> str | None:
        return done_by(find_job(tables, job), list_jobs(tables))

    early, late = "2025-01-01T00:00:00+00:00", "2025-01-02T00:00:00+00:00"
    _done(tables, "materialize", "s", ["a", "b"])
    some = _stopped(tables, "materialize", "s", ["a", "b"], until=early)
    whole = _stopped(tables, "materialize", "s", ["a"], until=None)
    forced = _stopped(tables, "materialize", "s", ["a"], force=True, until=None)
    for other in (("t", ["a", "b"]), ("s", ["b"])):
        _done(tables, "materialize", *other)
    _stopped(tables, "materialize", "s", ["a", "b"])
    assert [told(job) for job in (some, whole, forced)] == [None] * 3
    until = _done(tables, "materialize", "s", ["a", "b"], until=late)
    assert [told(job) for job in (some, whole, forced)] == [until, None, None]
    last = _done(tables, "materialize", "s", ["a", "b", "c"], until=None)
    assert [told(job) for job in (some, whole, forced, last)] == [last, last, None, None]
    consumer = _stopped(tables, "stream", "d", ["d"])
    assert told(consumer) is None
    with new_job(tables, "stream", "d", ["d"]) as again:
        assert told(consumer) == again.id


def test_a_job_that_is_not_resumed_says_so(run: Any, tables: Database) -> None:
    consumer = _stopped(tables, "stream", "d", ["d"])
    assert "run the command that began it again" in run("jobs", consumer)
    many = _done(tables, "materialize", "s", ["a", "b", "c", "d", "e"])
    assert "materialize: a, b, c and 2 more" in next(line for line in run("jobs").splitlines() if many in line)


WORKER = """
import sys
from contracts.process import prepare_process
prepare_process()
from feature_repo.materialization import run
from feature_repo.materialization.online import OnlineView
run.chunk_bytes_below = lambda *_: 4000
inner, calls = OnlineView.write, []

def slowly(self, table):
    calls.append(1)
    if len(calls) == 3:
        print("at work", flush=True)
        import time
        time.sleep(60)
    return inner(self, table)

OnlineView.write = slowly
from feature_repo.commands import features
features(["work", "--home", sys.argv[1]], standalone_mode=False)
"""


def test_a_worker_that_is_stopped_leaves_its_job_to_be_resumed(
    run: Any, ready: tuple[Settings, Home], tables: Database, tmp_path: Path
) -> None:
    job = run("materialize", "--queue", as_json=True)["job"]["id"]
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(ready[1].root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "at work\n"
        assert f"job {job}: asked to pause" in run("pause", job)
        assert "(asked to pause)" in run("jobs", job)
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=60)
    row = latest_job(tables, MATERIALIZE)
    assert row is not None
    assert (row.id, row.state, row.done, row.requested) == (job, "interrupted", 2, None)
    assert f"job {job}  done" in run("resume", job)
    assert find_job(tables, job).attempts == 2
