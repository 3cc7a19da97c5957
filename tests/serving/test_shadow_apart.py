"""Whatever a shadow does, the answers are those without it, none is lost, and its counts say what it did."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from contracts.database import Database
from contracts.home import Home
from contracts.messages import RecommendRequest
from contracts.platform import ResponseRow, ShadowRow
from contracts.settings import load_settings
from serving.engine import Engine
from serving.lineup import Lineup
from serving.recommend import Ranker
from serving.records import Recorder
from serving.shadow import Shadow
from training.packages import LoadedPackage

REQUESTS = [
    RecommendRequest(user_id=user, k=k, exclude=exclude)
    for user in ("u0", "u1", "stranger")
    for k in (1, 3, 6)
    for exclude in ([], ["v1", "v4"])
] * 5


def served(engine: Engine) -> list[Any]:
    """All answers but for what is random in them."""
    with closing(engine):
        answers = []
        for request in REQUESTS:
            answer = engine.answer(request)
            engine.aside(answer)
            answers.append(answer.response.model_dump(exclude={"response_id"}))
        return answers


class Setting:
    """Makes engines with one champion, and shadows that rank as they are told."""

    def __init__(
        self,
        database: Database,
        package: LoadedPackage,
        histories: Callable[..., Any],
        aside: Callable[..., list[str]],
    ) -> None:
        self._package = package
        self._aside = aside
        self._histories = histories
        self.database = database
        self.recorder = Recorder(database)

    def shadow(self, how: str, version: str = "2", **options: Any) -> Shadow:
        return Shadow(version, "hand-made", self._aside(how, version), self.recorder.put, **options)

    def engine(self, *shadows: Shadow) -> Engine:
        champion = Ranker("1", self._package)
        return Engine("video-feed", Lineup(champion, self._histories(u0=["v0"]), shadows), self.recorder)

    def rows(self) -> tuple[int, int, int]:
        """Served lists, shadow lists and shadow errors in the database."""
        with self.database.session() as session:
            count = select(func.count())
            return (
                session.scalar(count.select_from(ResponseRow)) or 0,
                session.scalar(count.select_from(ShadowRow).where(ShadowRow.error.is_(None))) or 0,
                session.scalar(count.select_from(ShadowRow).where(ShadowRow.error.is_not(None))) or 0,
            )


@pytest.fixture
def setting(
    database: Database, package: LoadedPackage, histories: Callable[..., Any], aside: Callable[..., list[str]]
) -> Setting:
    return Setting(database, package, histories, aside)


@pytest.fixture
def alone(
    package: LoadedPackage, histories: Callable[..., Any], aside: Callable[..., list[str]], tmp_path: Path
) -> list[Any]:
    """The answers without a shadow."""
    settings = load_settings(home=tmp_path / "alone")
    home = Home.open(settings)
    with home.writing("test"):
        return served(Setting(Database(settings, home), package, histories, aside).engine())


def ready(*shadows: Shadow) -> None:
    """Wait until all their processes answer."""
    deadline = time.monotonic() + 120
    while not all(shadow.status()["process"] for shadow in shadows):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_answers_are_those_without_shadows_whatever_these_do(setting: Setting, alone: list[Any]) -> None:
    hows = ("slow", "crashing", "not_a_number", "misshapen", "unknown", "too_long")
    shadows = [setting.shadow(how, version=str(number), deadline_s=600.0) for number, how in enumerate(hows, 2)]
    ready(*shadows)
    assert served(setting.engine(*shadows)) == alone
    count = len(REQUESTS)
    for shadow, how in zip(shadows, hows, strict=True):
        assert (shadow.answered, shadow.failed) == ((count, 0) if how == "slow" else (0, count)), how
        assert (shadow.dropped, shadow.late, shadow.unsampled, shadow.pending) == (0, 0, 0, 0), how
    assert setting.rows() == (count, count, 5 * count)


def test_a_process_that_is_killed_again_and_again_costs_the_shadow_only(setting: Setting, alone: list[Any]) -> None:
    shadow = setting.shadow("killed", deadline_s=600.0, first_wait_s=0.01)
    ready(shadow)
    engine = setting.engine(shadow)
    answers = []
    for request in REQUESTS[:24]:
        answer = engine.answer(request)
        engine.aside(answer)
        answers.append(answer.response.model_dump(exclude={"response_id"}))
    deadline = time.monotonic() + 120
    while shadow.ended < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    engine.close()
    assert answers == alone[:24]
    assert shadow.answered + shadow.failed + shadow.dropped == 24
    assert shadow.failed >= 2
    assert setting.rows() == (24, shadow.answered, shadow.failed)


def test_a_full_queue_costs_the_shadow_only(
    setting: Setting, alone: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shadow = setting.shadow("stuck", capacity=4, deadline_s=600.0)
    ready(shadow)
    engine = setting.engine(shadow)
    answers = []
    for request in REQUESTS:
        answer = engine.answer(request)
        engine.aside(answer)
        answers.append(answer.response.model_dump(exclude={"response_id"}))
    assert (shadow.dropped, shadow.pending) == (len(REQUESTS) - 4, 4)
    (tmp_path / "gate").touch()
    engine.close()
    assert answers == alone
    assert (shadow.answered, shadow.dropped, shadow.pending) == (4, len(REQUESTS) - 4, 0)
    assert setting.rows() == (len(REQUESTS), 4, 0)


def test_half_the_requests_are_answered_by_the_same_half_of_each_shadow(setting: Setting, alone: list[Any]) -> None:
    shadows = [setting.shadow("slow", version=version, sample=0.5, deadline_s=600.0) for version in ("2", "3")]
    ready(*shadows)
    assert served(setting.engine(*shadows)) == alone
    for shadow in shadows:
        assert shadow.answered + shadow.unsampled == len(REQUESTS)
    with setting.database.session() as session:
        answered = {
            version: set(session.scalars(select(ShadowRow.response_id).where(ShadowRow.version == version)))
            for version in ("2", "3")
        }
    assert answered["2"] == answered["3"]
    assert 0 < len(answered["2"]) < len(REQUESTS)
