"""Surfaces come into a running process when they can, and say why they do not."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from contracts.database import Database
from contracts.errors import BadInput, NotFound, ServiceUnavailable
from contracts.surfaces import Surface
from serving.engine import Engine
from serving.feedback import FeedbackLog
from serving.lineup import Lineup
from serving.metrics import serving_metrics
from serving.opening import Opener
from serving.recommend import Ranker
from serving.records import Recorder
from serving.surfaces import Surfaces

INTERVAL_S = 2.0


class Setting:
    """A registry of champions, engines of one hand-made version, and a clock."""

    def __init__(self, ranker: Ranker, features: Callable[[], Any], recorder: Recorder, required: bool) -> None:
        self.champions: dict[str, str] = {}
        self.broken: set[str] = set()
        self.registry_answers = True
        self.tried: list[tuple[str, str]] = []
        self.now = 0.0
        self._make = lambda surface: Engine(surface, Lineup(ranker, features()), recorder)
        self.surfaces = Surfaces({}, recorder.feedback, recorder.close)
        self.opener = Opener(
            self.surfaces,
            ("video-feed", "music"),
            required,
            self.champion,
            self.open,
            serving_metrics(),
            INTERVAL_S,
            lambda: self.now,
        )

    def champion(self, surface: Surface) -> str | None:
        if not self.registry_answers:
            raise ServiceUnavailable("registry", found="silence", expected="an answer", next_step="start it")
        return self.champions.get(surface)

    def open(self, surface: Surface, version: str) -> Engine:
        self.tried.append((surface, version))
        if version in self.broken:
            raise BadInput("golden request", found="3 items", expected="10 items", next_step="train again")
        return self._make(surface)

    def alerts(self, surface: str) -> float:
        return REGISTRY.get_sample_value("backbeat_serving_alerts", {"surface": surface, "kind": "champion"}) or 0.0


@pytest.fixture
def make(ranker: Ranker, histories: Callable[..., Any], database: Database) -> Iterator[Callable[..., Setting]]:
    made: list[Setting] = []

    def make(required: bool = False) -> Setting:
        made.append(Setting(ranker, histories, Recorder(database), required))
        return made[-1]

    yield make
    for each in made:
        each.opener.close()
        each.surfaces.close()


def test_those_with_a_champion_serve_and_the_others_say_why_not(make: Callable[..., Setting]) -> None:
    setting = make()
    setting.champions = {"video-feed": "1"}
    assert setting.opener.look() == []
    assert setting.surfaces.engine("video-feed").surface == "video-feed"
    with pytest.raises(NotFound, match=r"surface music: found no version is champion; expected one of video-feed"):
        setting.surfaces.engine("music")
    with pytest.raises(NotFound, match="surface background-music: found not served here"):
        setting.surfaces.engine("background-music")
    assert setting.surfaces.status()["waiting"] == {"music": "no version is champion"}
    assert setting.alerts("music") == 0, "nobody asked for it"


def test_a_surface_asked_for_by_name_without_a_champion_is_an_alert(make: Callable[..., Setting]) -> None:
    setting = make(required=True)
    setting.champions = {"video-feed": "1"}
    setting.opener.look()
    assert setting.alerts("music") == 1
    setting.champions["music"] = "1"
    setting.opener.look()
    assert setting.surfaces.engine("music").surface == "music"
    assert setting.surfaces.status()["waiting"] == {}


def test_a_refused_champion_is_tried_again_ever_more_seldom(make: Callable[..., Setting]) -> None:
    setting = make()
    setting.champions, setting.broken = {"video-feed": "1", "music": "4"}, {"4"}
    (fault,) = setting.opener.look()
    assert isinstance(fault, BadInput)
    assert setting.alerts("music") == 1
    with pytest.raises(ServiceUnavailable, match="version 4: golden request"):
        setting.surfaces.engine("music")
    setting.tried.clear()
    for second in range(1, 30):
        setting.now = float(second)
        setting.opener.look()
    assert len(setting.tried) == 3, "after 4, 8 and 16 seconds"
    setting.champions["music"] = "5"
    assert setting.opener.look() == []
    assert setting.tried[-1] == ("music", "5"), "another one at once"
    assert setting.surfaces.engine("music")


def test_a_registry_that_is_silent_is_said_at_the_start(make: Callable[..., Setting]) -> None:
    setting = make()
    setting.registry_answers = False
    with pytest.raises(ServiceUnavailable):
        setting.opener.look()


def test_it_looks_by_itself(
    ranker: Ranker, histories: Callable[..., Any], database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    setting = Setting(ranker, histories, Recorder(database), required=False)
    opener = Opener(setting.surfaces, ("music",), False, setting.champion, setting.open, serving_metrics(), 0.01)
    setting.registry_answers = False
    opener.start()
    while "cannot tell whether other surfaces" not in caplog.text:
        pass
    setting.registry_answers, setting.champions = True, {"music": "1"}
    while "music" not in setting.surfaces.engines:
        pass
    opener.close()
    setting.surfaces.close()


def test_what_is_shared_goes_last(ranker: Ranker, histories: Callable[..., Any], database: Database) -> None:
    said: list[str] = []
    recorder = Recorder(database)
    engine = Engine("video-feed", Lineup(ranker, histories()), recorder)
    close = engine.close
    engine.close = lambda: (said.append("engine"), close())[-1]  # type: ignore[method-assign]
    surfaces = Surfaces({"video-feed": engine}, FeedbackLog(database), lambda: said.append("shared"))
    surfaces.before_closing(lambda: said.append("opener"))
    surfaces.feedback.close()
    surfaces.close()
    assert said == ["opener", "engine", "shared"]
