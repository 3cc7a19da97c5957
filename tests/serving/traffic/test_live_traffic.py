"""Visitors of a real service: what they do is stored, counted, repeatable, and what was to be expected of them."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from backbeat.cli import invoke
from contracts.database import Database
from contracts.errors import BadInput, NotFound, ServiceUnavailable
from contracts.home import Home
from contracts.serving_rows import FeedbackRow
from contracts.settings import Settings, load_settings
from contracts.surfaces import BACKGROUND_MUSIC, MUSIC, VIDEO_FEED
from feature_repo.apply import apply_features
from feature_repo.materialize import materialize
from feature_repo.offline import current_snapshot, write_snapshot
from feature_repo.simulator import simulate
from feature_repo.simulator.generator import plan_of
from feature_repo.simulator.platform import Platform, grow
from feature_repo.simulator.recovery import recover
from registry.lifecycle import Standing
from registry.store import ModelStore
from serving.replay import service_status
from serving.server import Server, announced, free_port
from serving.traffic.drive import Traffic, drive
from tests.serving.waiting import until
from training.train import train
from validation.run import validate_snapshot


@dataclass(frozen=True)
class Place:
    settings: Settings
    home: Home
    world: Platform
    popularity: str
    mf: str

    def assign(self, champion: str, challenger: str) -> None:
        standing = Standing(aliases={"champion": champion, "challenger": challenger}, states={})
        ModelStore(self.settings, self.home).assign(VIDEO_FEED, standing)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A simulated platform with popularity as champion, and MF, which has a taste to offer."""
    root = tmp_path_factory.mktemp("traffic")
    settings = load_settings(home=root / "home", device="cpu", serve_follow=0.3, feedback_late=0.5)
    home = Home.open(settings)
    with home.writing("test"):
        write_snapshot(home, simulate(users=150, videos=120, music=160, days=10, seed=2, events=2_500))
    with home.writing("test"):
        apply_features(settings, home)
        assert validate_snapshot(settings, home).success
        materialize(settings, home)
        popularity = train(settings, home, "popularity", {}, seed=0).version
        mf = train(settings, home, "mf", {}, seed=0).version
        for surface, service in ((BACKGROUND_MUSIC, "adoptions_v1"), (MUSIC, "listens_v1")):
            version = train(settings, home, "popularity", {}, seed=0, service=service).version
            ModelStore(settings, home).assign(surface, Standing(aliases={"champion": version}, states={}))
    made = Place(settings, home, recover(home, current_snapshot(home)), popularity, mf)
    made.assign(popularity, mf)
    return made


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[Server]:
    made = Server(place.settings, place.home, "127.0.0.1", free_port())
    with made, announced(place.home, made.url):
        yield made


@pytest.fixture(scope="module")
def url(server: Server) -> str:
    return server.url


def events(place: Place) -> Counter[tuple[str, str]]:
    """Stored events by kind and item."""
    with closing(Database(place.settings, place.home)) as database, database.session() as session:
        rows = session.execute(select(FeedbackRow.kind, FeedbackRow.item_id))
        return Counter((kind, item) for kind, item in rows)


def test_all_events_are_stored_and_come_out_as_expected(place: Place, url: str) -> None:
    before = events(place)
    wanted = Traffic(requests=300, rate=None, strangers=0.1, late=0.05, duplicates=0.2, seed=3)
    result = drive(place.world, url, wanted)
    assert (result.sent, result.ok, result.failures) == (300, 300, {})
    assert 0 < result.strangers < result.users < 165
    assert result.p50_ms is not None
    assert result.p99_ms is not None
    assert 0 < result.p50_ms <= result.p99_ms
    fresh = events(place) - before
    assert result.events["stored"] == fresh.total()
    assert result.events["duplicate"] > 100
    assert result.events["late"] > 20, "by the half second that is late here"
    assert result.events["lost"] == result.unknown_items == 0
    (shown,) = result.shown
    assert (shown.model, shown.requests) == ("popularity", 300)
    assert shown.impressions == sum(count for (kind, _), count in fresh.items() if kind == "impression")
    error = (shown.true["ctr"] / shown.impressions) ** 0.5
    assert abs(shown.observed["ctr"] - shown.true["ctr"]) < 4 * error
    assert shown.observed.keys() == {"ctr", "like", "follow", "watch_time"}


def test_equal_seeds_do_the_same_whoever_is_let_in_first(place: Place, url: str) -> None:
    one, many, other = (
        drive(place.world, url, Traffic(requests=80, rate=None, users=15, concurrency=places, seed=seed))
        for places, seed in ((4, 8), (12, 8), (12, 9))
    )
    assert one.shown == many.shown != other.shown
    # What counts as late is a matter of the clock.
    assert {**one.events, "late": 0} == {**many.events, "late": 0}


def test_the_command_keeps_to_its_time_and_rate(place: Place, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    home = ("--home", str(place.home.root))
    document = invoke(["simulate", "traffic", "--minutes", "0.05", "--rate", "40", "--json", *home])
    printed, said = capsys.readouterr()
    assert json.loads(printed) == document
    assert document["url"] == url
    assert 60 < document["sent"] < 190, "120 in three seconds"
    assert document["seconds"] < 8
    assert "  visits " in said
    invoke(["simulate", "traffic", "--requests", "30", "--rate", "0", "--seed", "4", *home])
    text = capsys.readouterr().out
    assert "30 of 30 requests for video-feed answered" in text
    assert "popularity, version" in text


@pytest.mark.parametrize(
    ("surface", "kinds"),
    [(BACKGROUND_MUSIC, {"impression", "click"}), (MUSIC, {"impression", "click", "like", "share"})],
)
def test_music_is_asked_for_and_taken(place: Place, url: str, surface: str, kinds: set[str]) -> None:
    before = events(place)
    result = drive(place.world, url, Traffic(requests=150, rate=None, surface=surface, seed=6))
    fresh = events(place) - before
    assert (result.ok, result.surface, result.failures, result.unknown_items) == (150, surface, {}, 0)
    assert kinds >= {kind for kind, _ in fresh} >= kinds - {"share"}, "shares are rare"
    assert all(item.startswith("m") for _, item in fresh)
    (shown,) = result.shown
    error = (shown.true["ctr"] / shown.impressions) ** 0.5
    assert abs(shown.observed["ctr"] - shown.true["ctr"]) < 4 * error
    if surface == BACKGROUND_MUSIC:
        assert sum(count for (kind, _), count in fresh.items() if kind == "click") <= 150, "one piece for a video"


def test_nobody_clicks_what_the_platform_was_not_made_with(place: Place, url: str) -> None:
    smaller = grow(plan_of(users=150, videos=60, days=10, seed=2, events=2_000))
    before = events(place)
    result = drive(smaller, url, Traffic(requests=40, rate=None, k=100, patience=1.0, seed=1))
    fresh = events(place) - before
    (shown,) = result.shown
    assert result.unknown_items == sum(count for (kind, item), count in fresh.items() if int(item[1:]) >= 60)
    assert 0 < result.unknown_items < shown.impressions
    assert {kind for kind, item in fresh if int(item[1:]) >= 60} == {"impression"}


def test_what_a_service_refuses_is_counted(place: Place, url: str) -> None:
    result = drive(place.world, url, Traffic(requests=5, rate=None, k=501))
    assert (result.ok, result.p50_ms, result.shown) == (0, None, [])
    assert result.failures == {"bad_input": 5}


RULE = """
minimum_effect = 0.2
minimum_requests = 100
minimum_users = 30

[[guardrails]]
metric = "errors"
margin = 0.1
harm = "higher"
"""


@pytest.mark.parametrize(("better", "decision"), [(True, "promote"), (False, "reject")])
def test_a_verdict_is_what_is_true(place: Place, url: str, tmp_path: Path, *, better: bool, decision: str) -> None:
    champion, challenger = (place.popularity, place.mf) if better else (place.mf, place.popularity)
    place.assign(champion, challenger)
    home = ("--home", str(place.home.root))
    (tmp_path / "rule.toml").write_text(RULE)
    name = f"for-{decision}"
    invoke(["ab", "start", name, "--rule", str(tmp_path / "rule.toml"), "--reason", "a test", *home])
    until(lambda: (status := service_status(url))["champion"]["version"] == champion and status["experiment"])
    result = drive(place.world, url, Traffic(requests=700, rate=None, seed=5))
    one, other = result.shown
    assert [(each.arm, each.version) for each in (one, other)] == [("champion", champion), ("challenger", challenger)]
    assert (other.true["ctr"] > 1.5 * one.true["ctr"]) == better
    report = invoke(["ab", "report", name, *home])
    invoke(["ab", "stop", name, "--reason", "decided", *home])
    assert report["verdict"]["decision"] == decision
    (lift,) = (finding for finding in report["verdict"]["findings"] if finding["metric"] == "ctr")
    assert lift["low"] < other.true["ctr"] / one.true["ctr"] - 1 < lift["high"], "the interval has the truth in it"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (("--surface", "vidoe-feed"), NotFound, "'video-feed'"),
        (("--minutes", "0"), BadInput, "above 0"),
        (("--users", "151"), BadInput, "at most 150"),
        (("--url", "http://127.0.0.1:9"), ServiceUnavailable, "the recommender service, answering"),
    ],
)
def test_options_that_cannot_be(
    place: Place, url: str, options: tuple[str, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        invoke(["simulate", "traffic", *options, "--home", str(place.home.root)])


def test_a_service_that_ends_under_the_visitors(place: Place, server: Server) -> None:
    """The last test: nobody serves after it."""

    def end() -> None:
        time.sleep(1)
        server.stop()

    ending = threading.Thread(target=end)
    ending.start()
    with pytest.raises(ServiceUnavailable, match="20 requests in a row without an answer"):
        drive(place.world, server.url, Traffic(requests=None, seconds=60, rate=None))
    ending.join()
