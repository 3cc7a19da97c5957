"""The commands where little or nothing is served."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from backbeat.cli import invoke
from contracts.addresses import mlflow_tracking_url
from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import NotFound
from contracts.home import Home
from contracts.platform import ResponseRow, ShadowRow
from contracts.settings import load_settings

SURFACE = "video-feed"

Assign = Callable[..., None]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Assign]:
    """A home with versions 1 and 2 of the surface, and a way to say who holds which alias."""
    settings = load_settings(home=tmp_path_factory.mktemp("registered") / "home")
    home = Home.open(settings)
    with home.writing("test"):
        client = MlflowClient(mlflow_tracking_url(settings, home))
        client.create_registered_model(SURFACE)
        for _ in range(2):
            client.create_model_version(SURFACE, (home.artifacts / "package").as_uri())

    def assign(**aliases: str | None) -> None:
        for alias in ("champion", "shadow"):
            client.delete_registered_model_alias(SURFACE, alias)
            if alias in aliases:
                client.set_registered_model_alias(SURFACE, alias, aliases[alias])

    return home, assign


@pytest.mark.parametrize("command", ["serve", "shadow replay", "shadow report", "shadow status"])
def test_a_home_that_is_not_there(tmp_path: Path, command: str) -> None:
    with pytest.raises(NotFound, match=r"nothing there.*backbeat demo"):
        invoke([*command.split(), "--home", str(tmp_path / "home")])
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("command", ["serve", "shadow replay", "shadow report", "shadow status"])
def test_no_champion(registered: tuple[Home, Assign], command: str) -> None:
    home, assign = registered
    assign()
    with pytest.raises(NotFound, match=r"champion of video-feed.*models promote best --to champion"):
        invoke([*command.split(), "--home", str(home.root)])


def test_a_report_without_a_shadow_says_so(registered: tuple[Home, Assign], capsys: pytest.CaptureFixture[str]) -> None:
    home, assign = registered
    assign(champion="1")
    document = invoke(["shadow", "report", "--home", str(home.root)])
    assert document == {"surface": SURFACE, "champion": "1", "shadow": None, "overlap@10": None}
    assert "no version is shadow" in capsys.readouterr().out


def test_a_report_before_any_request(registered: tuple[Home, Assign]) -> None:
    home, assign = registered
    assign(champion="2", shadow="1")
    with pytest.raises(NotFound, match="backbeat shadow replay"):
        invoke(["shadow", "report", "--home", str(home.root)])


def test_report_and_status(registered: tuple[Home, Assign], capsys: pytest.CaptureFixture[str]) -> None:
    home, assign = registered
    assign(champion="1", shadow="2")
    status = invoke(["shadow", "status", "--home", str(home.root)])
    assert (status["champion"], status["shadow"], status["service"], status["latest_report"]) == ("1", "2", None, None)
    items = [{"item_id": "v1", "score": 1.0, "step": "ranked"}]
    with Database(load_settings(home=home.root), home).session() as session:
        session.add(
            ResponseRow(id="r", at=utc_now(), surface=SURFACE, version="1", user_id="u", items=items, latency_ms=2.0)
        )
        session.add(ShadowRow(response_id="r", version="2", at=utc_now(), items=items, latency_ms=3.0, error=None))
    report = invoke(["shadow", "report", "--k", "5", "--home", str(home.root)])
    assert (report["requests"], report["overlap@5"], report["rank_biased_overlap"]) == (1, 1.0, 1.0)
    assert report["verdict"]["decision"] == "hold"
    status = invoke(["shadow", "status", "--home", str(home.root)])
    assert status["latest_report"]["id"] == report["id"]
    said = capsys.readouterr().out
    assert "overlap@5" in said
    assert "rank-biased overlap 1.000" in said
    assert "Hold: ctr not measured: there is no feedback" in said
    assert "none is running on this home" in said


def test_the_status_shows_all_shadows_and_what_could_not_be_followed(
    registered: tuple[Home, Assign], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, assign = registered
    assign(champion="1", shadow="2")
    counts = {"answered": 5, "failed": 1, "dropped": 2, "late": 3, "unsampled": 0, "pending": 0}
    alert = {"kind": "champion", "version": "7", "fault": "weights altered", "since": "2026-01-31T12:00:00+00:00"}
    status = {
        "champion": {"version": "1", "model": "mf"},
        "shadows": [{"version": version, "model": "mf", **counts} for version in ("2", "3")],
        "shadow_faults": [{"version": "4", "fault": "no such package"}],
        "following": {"alerts": [alert, {**alert, "kind": "shadow", "version": "4"}]},
    }
    monkeypatch.setattr("serving.server.running_server", lambda _: "http://127.0.0.1:1")
    monkeypatch.setattr("serving.replay.whole_status", lambda _: {"surfaces": {SURFACE: status}, "waiting": {}})
    invoke(["shadow", "status", "--home", str(home.root)])
    said = " ".join(capsys.readouterr().out.split())
    assert "mf, version 2; 5 answered, 1 failed, 5 dropped; mf, version 3; 5 answered" in said
    assert "version 4 could not be loaded: no such package" in said
    assert said.count("alert since 2026-01-31T12:00:00 UTC: weights altered") == 1
