"""A running engine takes up the experiment that is there, and goes on without where it cannot."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, ServiceUnavailable
from contracts.experiments import Experiment, default_rule
from contracts.messages import RecommendRequest
from serving.engine import Engine
from serving.following import Follower
from serving.lineup import Lineup
from serving.metrics import serving_metrics
from serving.recommend import Ranker
from serving.records import Recorder
from training.packages import LoadedPackage


class Setting:
    """Version 1 serves; what runs and what can be loaded is for a test to say."""

    def __init__(self, database: Database, package: LoadedPackage, histories: Callable[..., Any]) -> None:
        self._package, self._histories = package, histories
        self.running: Experiment | None = None
        self.champion_is = "1"
        self.broken: set[str] = set()
        self.registry_down = self.database_down = False
        self.loaded: list[str] = []
        self.now = 0.0
        self.engine = Engine("video-feed", self.champion("1"), Recorder(database))
        metrics = serving_metrics()
        self.follower = Follower(
            self.engine, self.holders, self, metrics, 1.0, lambda: self.now, experiments=self.experiments
        )

    def holders(self) -> dict[str, str]:
        if self.registry_down:
            raise ServiceUnavailable("MLflow", found="no answer", expected="one", next_step="wait")
        return {"champion": self.champion_is}

    def experiments(self) -> Experiment | None:
        if self.database_down:
            raise ServiceUnavailable("database", found="no answer", expected="one", next_step="wait")
        return self.running

    def champion(self, version: str) -> Lineup:
        return Lineup(Ranker(version, replace(self._package)), self._histories())

    def shadow(self, version: str) -> Any:
        raise AssertionError(f"nobody is shadow, version {version} least of all")

    def challenger(self, version: str) -> Ranker:
        self.loaded.append(version)
        if version in self.broken:
            raise BadInput("golden request", found="3 items", expected="10 items", next_step="train again")
        return Ranker(version, replace(self._package))

    def start(self, name: str, challenger: str | None = "2", champion: str = "1") -> None:
        mode: Any = "exploration" if challenger is None else "ab"
        values = {"epsilon": 0.5, "top": 4} if challenger is None else {"weight": 0.5}
        self.running = Experiment(
            name=name,
            surface="video-feed",
            mode=mode,
            champion=champion,
            challenger=challenger,
            rule=default_rule(mode),
            started_at=utc_now(),
            started_by="ada",
            reason="why not",
            **values,
        )

    def look(self) -> str | None:
        """Look once, and say which experiment requests are part of."""
        self.follower.look()
        return self.engine.answer(RecommendRequest(user_id="u0", k=2)).response.experiment

    def alerts(self) -> list[tuple[str, str | None, str]]:
        return [(a["kind"], a["version"], a["fault"]) for a in self.follower.status()["alerts"]]


@pytest.fixture
def setting(database: Database, package: LoadedPackage, histories: Callable[..., Any]) -> Iterator[Setting]:
    setting = Setting(database, package, histories)
    yield setting
    setting.engine.close()
    setting.follower.close()


def test_it_begins_goes_on_and_ends(setting: Setting) -> None:
    assert setting.look() is None
    setting.start("first")
    assert setting.look() == "first"
    live = setting.engine.lineup.experiment
    assert setting.look() == "first"
    assert setting.engine.lineup.experiment is live, "nothing is loaded again"
    setting.running = None
    assert setting.look() is None
    setting.start("second", challenger=None)
    assert setting.look() == "second"
    setting.start("third", challenger="3")
    assert setting.look() == "third"
    assert setting.loaded == ["2", "3"]
    assert setting.alerts() == []


def test_a_challenger_that_cannot_be_loaded_is_an_alert_and_tried_again(setting: Setting) -> None:
    setting.broken = {"2"}
    setting.start("first")
    assert setting.look() is None
    assert setting.look() is None
    assert setting.loaded == ["2"], "not at every look"
    ((kind, version, fault),) = setting.alerts()
    assert (kind, version) == ("experiment", "2")
    assert "golden request" in fault
    setting.broken = set()
    setting.now = 10.0
    assert setting.look() == "first"
    assert setting.alerts() == []


def test_one_that_is_refused_leaves_nothing_of_the_one_before(setting: Setting) -> None:
    setting.start("first")
    assert setting.look() == "first"
    setting.broken = {"3"}
    setting.start("second", challenger="3")
    assert setting.look() is None
    setting.running = None
    assert setting.look() is None
    assert setting.alerts() == []


@pytest.mark.parametrize("challenger", ["2", None])
def test_with_another_champion_nobody_takes_part(setting: Setting, challenger: str | None) -> None:
    setting.start("first", challenger)
    assert setting.look() == "first"
    setting.champion_is = "7"
    assert setting.look() is None
    ((kind, version, fault),) = setting.alerts()
    assert (kind, version) == ("experiment", challenger or "1")
    assert "about champion 1; while 7 serves" in fault
    setting.champion_is = "1"
    assert setting.look() == "first", "also where the one before was kept with its experiment"
    assert setting.alerts() == []


def test_while_nobody_answers_what_runs_goes_on(setting: Setting) -> None:
    setting.start("first", challenger=None)
    assert setting.look() == "first"
    setting.database_down = True
    assert setting.look() == "first"
    assert [(kind, version) for kind, version, _ in setting.alerts()] == [("experiment", None)]
    setting.database_down = False
    setting.registry_down = True
    setting.running = None
    assert setting.look() is None, "its end does not wait for the registry"
    assert [kind for kind, _, _ in setting.alerts()] == ["registry"]
