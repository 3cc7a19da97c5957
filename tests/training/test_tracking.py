"""When MLflow is asked, and what is said where it is not there."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.errors import NotFound, ServiceUnavailable
from contracts.home import Home
from contracts.settings import Settings, load_settings
from training.tracking import Tracker


def _started(tracker: Tracker) -> None:
    with tracker.run("name", {}):
        raise AssertionError("the run must not start")


def _found(tracker: Tracker) -> None:
    tracker.find("video-feed", "key")


@pytest.mark.parametrize("use", [_started, _found])
def test_a_database_server_that_is_not_there_is_named_at_once(tmp_path: Path, use: Callable[[Tracker], None]) -> None:
    pytest.importorskip("psycopg")
    settings = load_settings(
        home=tmp_path / "home",
        profile="production",
        mlflow_url="postgresql+psycopg://me:secret@127.0.0.1:1/mlflow",
        artifact_url=str(tmp_path / "artifacts"),
    )
    tracker = Tracker(settings, Home.open(settings))
    started = time.monotonic()
    with pytest.raises(ServiceUnavailable, match=r"setting BACKBEAT_MLFLOW_URL, postgresql.*me:\*\*\*@127") as caught:
        use(tracker)
    assert time.monotonic() - started < 30
    assert "secret" not in str(caught.value)


def test_a_tracker_touches_nothing_before_it_is_used(settings: Settings, home: Home) -> None:
    Tracker(settings, home)
    assert not home.root.exists()


def test_production_needs_an_address(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home", profile="production")
    with pytest.raises(NotFound, match="setting BACKBEAT_MLFLOW_URL: found not set"):
        Tracker(settings, Home.open(settings))
