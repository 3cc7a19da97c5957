"""A running engine follows the aliases: it swaps, goes back, refuses, and goes on when the registry does not answer."""

import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from contracts.database import Database
from contracts.errors import BadInput, ServiceUnavailable
from contracts.messages import RecommendRequest
from serving.engine import Engine
from serving.following import Follower, is_shadow
from serving.lineup import Lineup
from serving.metrics import serving_metrics
from serving.recommend import Ranker
from serving.records import Recorder
from serving.shadow import Shadow
from tests.serving.waiting import until
from training.packages import LoadedPackage


class Registry:
    """Aliases that a test moves."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {"champion": "1"}
        self.down = False

    def holders(self) -> dict[str, str]:
        if self.down:
            raise ServiceUnavailable("MLflow", found="no answer", expected="one", next_step="run `backbeat doctor`")
        return dict(self.aliases)


class Packages:
    """Loads the hand-made package under any number, but for those said to be broken."""

    def __init__(
        self,
        package: LoadedPackage,
        histories: Callable[..., Any],
        record: Callable[..., None],
        aside: Callable[..., list[str]],
    ) -> None:
        self._aside = aside
        self._package = package
        self._histories = histories
        self._record = record
        self.broken: set[str] = set()
        self.unloadable: set[str] = set()
        """Whose process ends before it is ready."""
        self.loaded: list[str] = []

    def champion(self, version: str) -> Lineup:
        return Lineup(self._ranker(version), self._histories())

    def shadow(self, version: str) -> Shadow:
        self._load(version)
        ends = [sys.executable, "-c", "raise SystemExit(7)"]
        command = ends if version in self.unloadable else self._aside(version=version)
        return Shadow(version, "hand-made", command, self._record, first_wait_s=0.5)

    def _ranker(self, version: str) -> Ranker:
        self._load(version)
        return Ranker(version, replace(self._package))

    def _load(self, version: str) -> None:
        self.loaded.append(version)
        if version in self.broken:
            raise BadInput("golden request", found="3 items", expected="10 items", next_step="train again")


class Setting:
    """An engine that serves version 1, its registry, and a clock that stands still."""

    def __init__(
        self,
        database: Database,
        package: LoadedPackage,
        histories: Callable[..., Any],
        aside: Callable[..., list[str]],
    ) -> None:
        recorder = Recorder(database)
        self.registry = Registry()
        self.packages = Packages(package, histories, recorder.put, aside)
        self.engine = Engine("video-feed", self.packages.champion("1"), recorder)
        self.now = 0.0
        self.waits = True
        self.follower = self.another(1.0)

    def another(self, interval_s: float) -> Follower:
        metrics = serving_metrics()
        return Follower(self.engine, self.registry.holders, self.packages, metrics, interval_s, lambda: self.now)

    def look(self, **aliases: str) -> str:
        """Move aliases, look once, wait for the shadows, and say which version answers."""
        self.registry.aliases = {name.replace("_", "-"): version for name, version in aliases.items()}
        self.follower.look()
        if any(name.startswith("shadow") for name in aliases) and self.waits:
            self.follower.await_shadows(60)
        return self.engine.answer(RecommendRequest(user_id="u0", k=1)).response.version

    def alerts(self) -> list[tuple[str, str | None]]:
        return [(alert["kind"], alert["version"]) for alert in self.follower.status()["alerts"]]

    def shadows(self) -> list[str]:
        return [shadow["version"] for shadow in self.engine.status()["shadows"]]


@pytest.fixture
def setting(
    database: Database, package: LoadedPackage, histories: Callable[..., Any], aside: Callable[..., list[str]]
) -> Iterator[Setting]:
    made = Setting(database, package, histories, aside)
    yield made
    made.follower.close()
    made.engine.close()


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_new_champion_takes_over_and_the_old_one_is_kept(setting: Setting) -> None:
    swapped = metric("backbeat_serving_swaps_total", surface="video-feed", outcome="swapped")
    assert setting.look(champion="1") == "1"
    assert setting.follower.status()["kept"] is None
    assert setting.look(champion="2") == "2"
    assert setting.follower.status()["kept"] == {"version": "1", "model": "hand-made"}
    assert metric("backbeat_serving_swaps_total", surface="video-feed", outcome="swapped") == swapped + 1
    assert metric("backbeat_serving_champion", surface="video-feed") == 2


def test_an_alias_that_goes_back_is_followed_without_loading(setting: Setting) -> None:
    back = metric("backbeat_serving_swaps_total", surface="video-feed", outcome="rolled_back")
    setting.look(champion="2")
    assert setting.packages.loaded == ["1", "2"]
    assert setting.look(champion="1") == "1"
    assert setting.look(champion="2") == "2"
    assert setting.packages.loaded == ["1", "2"]
    assert metric("backbeat_serving_swaps_total", surface="video-feed", outcome="rolled_back") == back + 2


def test_of_the_versions_before_only_the_last_is_kept(setting: Setting) -> None:
    first = setting.engine.lineup
    features, gone = first.features, weakref.ref(first.champion.package)
    del first
    setting.look(champion="2")
    assert gone() is not None
    assert not features.closed
    setting.look(champion="3")
    assert gone() is None, "its memory is given back without a round of the garbage collector"
    assert features.closed
    assert not setting.engine.lineup.features.closed
    assert setting.follower.status()["kept"]["version"] == "2"


def test_a_version_that_does_not_prove_itself_changes_nothing_and_raises_an_alert(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    refused = metric("backbeat_serving_swaps_total", surface="video-feed", outcome="refused")
    setting.packages.broken = {"2"}
    assert setting.look(champion="2") == "1"
    assert setting.alerts() == [("champion", "2")]
    assert "golden request" in setting.follower.status()["alerts"][0]["fault"]
    assert "alert: champion version 2: golden request" in caplog.text
    assert metric("backbeat_serving_swaps_total", surface="video-feed", outcome="refused") == refused + 1
    assert metric("backbeat_serving_alerts", surface="video-feed", kind="champion") == 1
    assert setting.look(champion="1") == "1"
    assert setting.alerts() == []
    assert metric("backbeat_serving_alerts", surface="video-feed", kind="champion") == 0


def test_a_refused_version_is_tried_again_at_growing_intervals(setting: Setting) -> None:
    setting.packages.broken = {"2"}
    tries = []
    for second in range(16):
        setting.now = float(second)
        setting.look(champion="2")
        tries.append(setting.packages.loaded.count("2"))
    assert tries == [1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4]
    setting.packages.broken = set()
    assert setting.look(champion="2") == "1"
    setting.now = 100.0
    assert setting.look(champion="2") == "2"
    assert setting.alerts() == []


def test_without_a_champion_the_last_one_goes_on(setting: Setting) -> None:
    assert setting.look() == "1"
    assert setting.alerts() == [("champion", None)]
    assert "version 1 serves" in setting.follower.status()["alerts"][0]["fault"]
    assert setting.look(champion="1") == "1"
    assert setting.alerts() == []


def test_while_the_registry_is_down_the_service_goes_on_and_says_so(setting: Setting) -> None:
    setting.look(champion="2", shadow="1")
    answered = setting.follower.status()["registry_answered_at"]
    setting.registry.down = True
    assert setting.look(champion="3") == "2"
    assert setting.shadows() == ["1"]
    assert setting.alerts() == [("registry", None)]
    assert "MLflow: found no answer" in setting.follower.status()["alerts"][0]["fault"]
    assert setting.follower.status()["registry_answered_at"] == answered
    setting.registry.down = False
    assert setting.look(champion="3") == "3"
    assert setting.alerts() == []


def test_shadows_join_and_leave(setting: Setting) -> None:
    threads = set(threading.enumerate())
    setting.look(champion="1", shadow="2", shadow_new="3", shadow_old="4", challenger="5")
    assert setting.shadows() == ["2", "3", "4"]
    leaving = setting.engine.lineup.shadows[1]
    setting.look(champion="1", shadow="2", shadow_old="4")
    assert setting.shadows() == ["2", "4"]
    assert leaving.close(), "it has stopped already"
    assert setting.packages.loaded == ["1", "2", "3", "4"]
    setting.look(champion="1")
    assert setting.shadows() == []
    assert set(threading.enumerate()) <= threads


def test_a_shadow_that_is_promoted_shadows_itself_at_no_time(setting: Setting) -> None:
    setting.look(champion="1", shadow="2")
    assert setting.look(champion="2", shadow="2") == "2"
    assert setting.shadows() == []


def test_a_shadow_that_cannot_be_loaded_keeps_nobody_from_serving(setting: Setting) -> None:
    setting.packages.broken = {"2"}
    assert setting.look(champion="1", shadow="2", shadow_b="3") == "1"
    assert setting.shadows() == ["3"]
    assert setting.engine.status()["shadow_fault"]["version"] == "2"
    assert setting.alerts() == [("shadow", "2")]
    setting.packages.broken, setting.now = set(), 100.0
    setting.look(champion="1", shadow="2", shadow_b="3")
    assert setting.shadows() == ["2", "3"]
    assert setting.engine.status()["shadow_faults"] == []
    assert setting.alerts() == []


def test_a_shadow_that_loads_holds_nobody_up_and_is_asked_once_it_has(setting: Setting) -> None:
    setting.waits = False
    assert setting.look(champion="2", shadow="3") == "2"
    assert (setting.shadows(), setting.alerts()) == ([], [])
    setting.follower.await_shadows(60)
    assert setting.shadows() == ["3"]


def test_a_shadow_whose_process_ends_is_an_alert_until_it_runs_again(setting: Setting) -> None:
    setting.look(champion="1", shadow="2")
    (shadow,) = setting.engine.lineup.shadows
    before = shadow.status()["process"]
    os.kill(before, signal.SIGKILL)
    until(lambda: shadow.fault)
    setting.look(champion="1", shadow="2")
    assert setting.shadows() == ["2"], "what it misses is counted"
    until(lambda: shadow.status()["process"] not in (None, before))
    assert setting.look(champion="1", shadow="2") == "1"
    assert setting.alerts() == []
    assert setting.engine.status()["shadow"]["ended"] == 1


def test_a_shadow_whose_process_cannot_load_is_an_alert(setting: Setting) -> None:
    setting.packages.unloadable = {"2"}
    assert setting.look(champion="1", shadow="2", shadow_b="3") == "1"
    assert setting.shadows() == ["3"]
    assert setting.alerts() == [("shadow", "2")]
    assert setting.engine.status()["shadow_faults"] == [{"version": "2", "fault": "its process ended with code 7"}]
    setting.look(champion="1", shadow_b="3")
    assert setting.alerts() == []


def test_no_request_fails_while_versions_change(setting: Setting) -> None:
    setting.waits = False
    answered: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            answer = setting.engine.executor.submit(setting.engine.answer, RecommendRequest(user_id="u1", k=3)).result()
            setting.engine.aside(answer)
            assert [item.item_id for item in answer.response.items] == ["v3", "v4", "v5"]
            answered.append(answer.response.version)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for number in range(2, 14):
            setting.registry.down = number % 3 == 0
            setting.look(champion=str(number), shadow=str(number - 1), shadow_b=str(number + 100))
            so_far = len(answered)
            while len(answered) < so_far + 8 and not any(each.done() for each in asking):
                time.sleep(0.001)
        done.set()
        for each in asking:
            each.result()  # raises where a request failed
    assert list(dict.fromkeys(answered))[-8:] == ["2", "4", "5", "7", "8", "10", "11", "13"]


def test_it_looks_by_itself_until_it_is_closed(setting: Setting) -> None:
    setting.engine.follow(setting.another(0.01))
    swapped = threading.Event()
    swap = setting.engine.swap

    def tell(lineup: Lineup) -> None:
        swap(lineup)
        swapped.set()

    setting.engine.swap = tell  # type: ignore[method-assign]
    setting.registry.aliases = {"champion": "2"}
    assert swapped.wait(30)
    assert setting.engine.status()["following"]["kept"]["version"] == "1"
    setting.engine.close()
    assert "follower" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("alias", "aside"), [("shadow", True), ("shadow-2", True), ("shadows", False), ("champion", False)]
)
def test_which_aliases_answer_aside(alias: str, aside: bool) -> None:
    assert is_shadow(alias) is aside
