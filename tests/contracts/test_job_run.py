"""Attempts at jobs whose process, database or parameters are not what they were."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import Conflict
from contracts.job_run import JobRun, new_job
from contracts.jobs import find_job, state_of
from contracts.liveness import STALE_AFTER, Holder, is_alive, myself
from contracts.platform import JobLockRow, JobRow


def test_a_job_that_could_not_record_its_end_gives_way(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process lives on; its heart has stopped."""
    with pytest.raises(ValueError, match="no"), new_job(database, "materialize", "s", ["a"]) as run:
        monkeypatch.setattr(Database, "session", _away)
        raise ValueError("no")
    monkeypatch.undo()
    assert state_of(find_job(database, run.id)) == "running", "for as long as its last heartbeat counts"
    with pytest.raises(Conflict, match=run.id), new_job(database, "materialize", "s", ["a"]):
        pass
    with database.session() as session:
        session.execute(sa.update(JobRow).values(heartbeat_at=utc_now() - STALE_AFTER - timedelta(seconds=1)))
    assert state_of(find_job(database, run.id)) == "interrupted"
    with new_job(database, "materialize", "s", ["a"]):
        pass
    assert find_job(database, run.id).state == "interrupted"


def _away(_: Database) -> Any:
    raise sa.exc.OperationalError("select", {}, Exception("server closed the connection"))


def test_a_subject_named_twice_is_locked_once(database: Database) -> None:
    with new_job(database, "materialize", "s", ["a", "a"]):
        with database.session() as session:
            assert session.query(JobLockRow).count() == 1


def test_an_attempt_may_have_other_parameters(database: Database) -> None:
    with pytest.raises(ValueError, match="no"), new_job(database, "materialize", "s", ["a"], {"m": 1, "f": 2}) as run:
        raise ValueError("no")
    with JobRun(database, run.id, {"m": 3}) as again:
        assert again.parameters == {"m": 3, "f": 2}
    assert find_job(database, run.id).parameters == {"m": 3, "f": 2}


def test_who_is_alive() -> None:
    me, now = myself(), utc_now()
    assert is_alive(me, None)
    assert is_alive(me, now)
    assert not is_alive(me, now - STALE_AFTER - timedelta(seconds=1)), "a process that outlives its work"
    boot, space, started = me.born.split(":")
    assert not is_alive(Holder(me.host, me.pid, f"{boot}:{space}:1"), now), "another process with the same number"
    assert not is_alive(Holder(me.host, me.pid, f"other:{space}:{started}"), now), "before the machine was started anew"
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert not is_alive(Holder(me.host, child.pid, me.born), now)
    for elsewhere in (Holder("elsewhere", me.pid, me.born), Holder(me.host, me.pid, f"{boot}:other:{started}")):
        assert is_alive(elsewhere, now)
        assert not is_alive(elsewhere, now - STALE_AFTER - timedelta(seconds=1))
        assert not is_alive(elsewhere, None)


def test_a_child_that_nobody_has_waited_for_counts_as_dead() -> None:
    me = myself()
    script = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as child:
        boot, space, _ = me.born.split(":")
        started = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
        holder = Holder(me.host, child.pid, f"{boot}:{space}:{started}")
        assert is_alive(holder, None)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(holder, None)
