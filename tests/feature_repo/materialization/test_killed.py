"""kill -9 in the middle of a materialization, at every kind of place, and the same rows as without it afterwards."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.database import Database
from contracts.errors import Conflict
from contracts.home import Home
from contracts.jobs import describe_job, latest_job, state_of
from contracts.materializing import MATERIALIZE
from contracts.settings import Settings
from feature_repo.materialization.worker import resume_job
from feature_repo.materialize import materialize
from tests.feature_repo.materialization.steps import VIEWS

SCRIPT = """
import json, os, signal, sys
from contracts.process import prepare_process
prepare_process()
from contracts.home import Home
from contracts.job_run import JobRun
from contracts.settings import load_settings
from feature_repo.materialization import check, run
from feature_repo.materialization.online import OnlineView
from feature_repo.materialize import materialize
from feature_repo.stores.sqlite import NewestSqliteOnlineStore
run.chunk_bytes_below = lambda *_: 4000

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def counted(owner, name, number, before=None, after=None):
    inner, calls = getattr(owner, name), []
    def wrapped(*arguments, **options):
        calls.append(name)
        if len(calls) == number and before:
            before(*arguments)
        answer = inner(*arguments, **options)
        if len(calls) == number and after:
            after(*arguments)
        return answer
    setattr(owner, name, wrapped)

def in_the_transaction(store, config, *_):
    steps = []
    store._get_conn(config).set_progress_handler(lambda: steps.append(1) or (len(steps) > 3 and die()), 20)

def hang(*_):
    print("at work", flush=True)
    signal.pause()

PLACES = {
    "before a chunk": lambda n: counted(OnlineView, "write", n, before=lambda *_: die()),
    "in the transaction": lambda n: counted(NewestSqliteOnlineStore, "store_rows", n, before=in_the_transaction),
    "after a chunk": lambda n: counted(OnlineView, "write", n, after=lambda *_: die()),
    "after a checkpoint": lambda n: counted(JobRun, "save", n, after=lambda *_: die()),
    "in the check": lambda n: counted(run, "check_sample", n, before=lambda *_: die()),
    "before the registry knows": lambda n: counted(run, "record_interval", n, before=lambda *_: die()),
    "before the watermark": lambda n: counted(run, "set_watermark", n, before=lambda *_: die()),
    "after the watermark": lambda n: counted(run, "set_watermark", n, after=lambda *_: die()),
    "hang": lambda n: counted(OnlineView, "write", n, before=hang),
}
for line in sys.stdin:
    place, number, root = json.loads(line)
    if (child := os.fork()) == 0:
        settings = load_settings(home=root)
        PLACES[place](number)
        materialize(settings, Home.open(settings), views=%r)
        os._exit(0)
    if place == "hang":
        print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Kills:
    """A process that forks off a materialization for each line it is told, so that Feast is imported only once."""

    def __init__(self) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([sys.executable, "-c", SCRIPT % VIEWS], text=True, **pipes)

    def tell(self, place: str, number: int, home: Home) -> None:
        import json

        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([place, number, str(home.root)]) + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="module")
def kills() -> Iterator[Kills]:
    kills = Kills()
    yield kills
    kills.process.kill()
    kills.process.communicate()


@pytest.fixture(scope="module")
def undisturbed(
    copied: Callable[[Path], tuple[Settings, Home]],
    online_rows: Callable[[Home], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Any, dict[str, Any]]:
    """Rows online, and the job, of a run that nobody disturbed."""
    settings, home = copied(tmp_path_factory.mktemp("undisturbed") / "home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("feature_repo.materialization.run.chunk_bytes_below", lambda *_: 4000)
        job = materialize(settings, home, views=VIEWS)["job"]
    return online_rows(home), job


PLACES = [
    ("before a chunk", 1),
    ("before a chunk", 6),
    ("in the transaction", 2),
    ("in the transaction", 7),
    ("after a chunk", 3),
    ("after a chunk", 8),
    ("after a checkpoint", 1),
    ("after a checkpoint", 5),
    ("in the check", 2),
    ("before the registry knows", 1),
    ("before the watermark", 4),
    ("after the watermark", 6),
]


@pytest.mark.parametrize(("place", "number"), PLACES, ids=[f"{place} {number}" for place, number in PLACES])
def test_a_killed_job_is_resumed_without_losing_or_doubling_a_row(
    place: str,
    number: int,
    kills: Kills,
    ready: tuple[Settings, Home],
    tables: Database,
    undisturbed: tuple[Any, dict[str, Any]],
    online_rows: Callable[[Home], Any],
) -> None:
    rows, job = undisturbed
    kills.tell(place, number, ready[1])
    assert kills.line() == "-9"
    killed = latest_job(tables, MATERIALIZE)
    assert killed is not None
    assert (killed.state, state_of(killed)) == ("running", "interrupted")
    assert killed.done < job["total"] or place.endswith("watermark") or place == "in the check"
    known = killed.rows
    again = resume_job(*ready, killed.id) if number % 2 else materialize(*ready, views=VIEWS)["job"]
    assert (again["state"], again["id"], again["attempts"]) == ("done", killed.id, 2)
    assert again["rows"] == job["rows"] >= known
    assert (again["done"], again["total"]) == (job["total"], job["total"])
    assert {view: facts["rows"] for view, facts in again["detail"]["written"].items()} == {
        view: facts["rows"] for view, facts in job["detail"]["written"].items()
    }
    assert online_rows(ready[1]) == rows
    assert materialize(*ready, views=VIEWS)["outcome"] == "unchanged"


def test_two_processes_at_once(
    kills: Kills, ready: tuple[Settings, Home], tables: Database, undisturbed: Any, online_rows: Callable[[Home], Any]
) -> None:
    import os
    import signal

    kills.tell("hang", 2, ready[1])
    first = {kills.line(), kills.line()}
    [pid] = first - {"at work"}
    running = latest_job(tables, MATERIALIZE)
    assert running is not None
    told = describe_job(running)
    assert (told["state"], told["pid"], told["done"]) == ("running", int(pid), 1)
    for attempt in (lambda: materialize(*ready, views=VIEWS), lambda: resume_job(*ready, running.id)):
        with pytest.raises(Conflict, match=running.id):
            attempt()
    os.kill(int(pid), signal.SIGKILL)
    assert kills.line() == "-9"
    assert materialize(*ready, views=VIEWS)["job"]["id"] == running.id
    assert online_rows(ready[1]) == undisturbed[0]
