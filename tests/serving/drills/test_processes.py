"""A full disk, a killed worker, a clock that jumps, a damaged package, a registry that is gone: with real processes."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import create_engine, text

from contracts.errors import BadInput, ServiceUnavailable
from tests.serving.drills.conftest import Served, Site

_CLOCK = """
import os
from datetime import timedelta
from pathlib import Path
from contracts import clock
_true = clock.utc_now
clock.utc_now = lambda: _true() + timedelta(hours=float(Path(os.environ["DRILL_CLOCK"]).read_text()))
"""
"""Read by every process of the service as it starts: its clock is wrong by as many hours as a file says."""


class Clock:
    """Of the service's processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.jump(0)

    def jump(self, hours: float) -> None:
        """Be wrong by so much from now on."""
        scratch = self._path.with_suffix(".new")
        scratch.write_text(str(hours))
        scratch.replace(self._path)


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    return Clock(tmp_path_factory.mktemp("clock") / "hours")


@pytest.fixture(scope="module")
def served(trained: Site, clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    code = tmp_path_factory.mktemp("code")
    (code / "sitecustomize.py").write_text(_CLOCK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(code), prepend=os.pathsep)
        patch.setenv("DRILL_CLOCK", str(clock._path))
        with trained.served() as served:
            yield served


def recorded(site: Site) -> set[str]:
    engine = create_engine(f"sqlite:///{site.home.platform_database}")
    with engine.connect() as connection:
        found = set(connection.execute(text("SELECT id FROM responses")).scalars())
    engine.dispose()
    return found


def test_a_full_disk_refuses_feedback_and_loses_no_list(served: Served, trained: Site) -> None:
    (process,), nothing = served.workers(), (1, psutil.RLIM_INFINITY)
    sound = process.rlimit(psutil.RLIMIT_FSIZE)
    before = served.ask(k=3).json()
    process.rlimit(psutil.RLIMIT_FSIZE, nothing)
    try:
        during = [served.ask(k=3) for _ in range(10)]
        assert {answer.status_code for answer in during} == {200}
        refused = served.feedback(before)
        assert refused.status_code == 503, refused.text
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, sound)
    served.until(lambda: served.feedback(before).status_code == 200)
    served.until(lambda: {answer.json()["response_id"] for answer in during} <= recorded(trained))
    assert served.status()["records"]["lost"] == 0


def test_a_clock_that_jumps_changes_no_answer_and_moves_no_event(served: Served, clock: Clock, trained: Site) -> None:
    early = served.ask(k=3).json()
    try:
        clock.jump(24)
        answers = [served.ask(k=3).json() for _ in range(3)]
        assert [answer["items"] for answer in answers] == [early["items"]] * 3
        receipt = served.feedback(early).json()
        assert [event["late"] for event in receipt["events"]] == [True]
        ahead = served.feedback(answers[-1])  # of a list that was served tomorrow
        assert ahead.status_code == 400
        assert ahead.json()["error"]["code"] == "bad_input"
        clock.jump(-24)
        answers.append(served.ask(k=3).json())
        assert answers[-1]["items"] == early["items"]
        served.until(lambda: {answer["response_id"] for answer in answers} <= recorded(trained))
    finally:
        clock.jump(0)
    assert served.ask(k=3).json()["items"] == early["items"]


def test_a_killed_worker_is_started_again(served: Served) -> None:
    (process,) = served.workers()
    process.kill()
    process.wait(20)

    def answers() -> bool:
        try:
            return served.ask(k=3).status_code == 200
        except httpx.TransportError:
            return False

    served.until(answers, 120)
    assert process.pid not in [each.pid for each in served.workers()]


def test_a_champion_that_is_damaged_is_named_at_the_start(trained: Site) -> None:
    with trained.changed("weights.safetensors", lambda whole: whole[:-1] + b"\x7f"):
        with pytest.raises(BadInput, match=r"weights\.safetensors"), trained.served():
            pass


def test_a_registry_that_does_not_answer_is_named_at_the_start(trained: Site) -> None:
    with trained.without_registry(), pytest.raises(ServiceUnavailable, match="MLflow"), trained.served():
        pass
