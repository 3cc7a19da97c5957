"""A server that is asked without a pause while versions change, one is damaged, and the registry goes away."""

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest

from backbeat.cli import invoke
from contracts.home import Home
from contracts.settings import Settings
from registry.lifecycle import Standing
from registry.store import ModelStore
from serving.replay import service_status
from serving.server import Server, free_port
from tests.serving.waiting import until

SURFACE = "video-feed"


class Live:
    """A running service and its registry."""

    def __init__(self, settings: Settings, home: Home, versions: list[str], url: str) -> None:
        self.settings = settings
        self.home = home
        self.versions = versions
        self.url = url
        self.store = ModelStore(settings, home)

    def point(self, **aliases: str | None) -> None:
        self.store.assign(SURFACE, Standing(aliases=aliases, states={}))

    def until(self, look: Callable[[dict[str, Any]], Any], within_s: float = 90.0) -> Any:
        """What is looked for in the status, as soon as it is there."""
        return until(look, within_s, of=lambda: service_status(self.url))

    def metric(self, line: str) -> float:
        """Value of a metric, by its name and labels as they are shown."""
        shown = httpx.get(f"{self.url}/metrics", trust_env=False).text.splitlines()
        (value,) = [row.rsplit(" ", 1)[1] for row in shown if row.startswith(line + " ")]
        return float(value)

    @contextmanager
    def load(self) -> Iterator[Counter[str]]:
        """Requests by three clients for the length of the block; counts the versions that answered."""
        answered: Counter[str] = Counter()
        faults: list[str] = []
        done = threading.Event()

        def ask(user: str) -> None:
            with httpx.Client(base_url=self.url, timeout=60.0, trust_env=False) as client:
                while not done.is_set():
                    try:
                        answer = client.post("/recommend", json={"user_id": user, "k": 5}).raise_for_status().json()
                        assert len(answer["items"]) == 5
                        answered[answer["version"]] += 1
                    except Exception as error:  # noqa: BLE001 - told at the end of the block
                        faults.append(f"{type(error).__name__}: {error}")

        clients = [threading.Thread(target=ask, args=(user,)) for user in ("u1", "u2", "nobody")]
        for client in clients:
            client.start()
        try:
            yield answered
        finally:
            done.set()
            for client in clients:
                client.join()
        assert faults == []


@pytest.fixture(scope="module")
def live(train_home: Callable[..., tuple[Settings, Home, list[str]]]) -> Iterator[Live]:
    models: list[tuple[str, dict[str, Any], int]] = [
        ("mf", {"max_epochs": 1}, 0),
        ("popularity", {}, 0),
        ("mf", {"max_epochs": 1}, 1),
    ]
    settings, home, versions = train_home("following", models, serve_follow=0.2)
    ModelStore(settings, home).assign(SURFACE, Standing(aliases={"champion": versions[0]}, states={}))
    with Server(settings, home, "127.0.0.1", free_port()) as server:
        yield Live(settings, home, versions, server.url)


def test_no_request_fails_while_champions_and_shadows_change(live: Live) -> None:
    first, second, third = live.versions
    with live.load() as answered:
        for champion in (second, third, second, first):
            live.point(champion=champion)
            live.until(lambda status, wanted=champion: status["champion"]["version"] == wanted)
            so_far = answered[champion]
            live.until(lambda _, wanted=champion, so_far=so_far: answered[wanted] > so_far)
        live.point(shadow=second)
        live.until(lambda status: status["shadow"] and status["shadow"]["answered"] > 10)
        labels = f'outcome="answered",surface="video-feed",version="{second}"'
        assert live.metric(f"backbeat_shadow_queries_total{{{labels}}}") > 10
        live.point(shadow=None)
        live.until(lambda status: not status["shadows"])
    assert set(answered) == {first, second, third}
    assert live.metric('backbeat_serving_champion{surface="video-feed"}') == float(first)
    assert live.metric('backbeat_serving_swaps_total{outcome="rolled_back",surface="video-feed"}') >= 1


def test_a_damaged_version_is_refused_under_load(live: Live) -> None:
    first, second, _ = live.versions
    weights = live.store.package_path(live.store.get(SURFACE, second)) / "popularity.npy"
    sound = weights.read_bytes()
    # Two swaps away, so that the sound one is not kept any more.
    live.point(champion=live.versions[2])
    live.until(lambda status: status["champion"]["version"] == live.versions[2])
    live.point(champion=first)
    live.until(lambda status: status["champion"]["version"] == first)
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    try:
        with live.load() as answered:
            live.point(champion=second)
            (alert,) = live.until(lambda status: status["following"]["alerts"])
            assert (alert["kind"], alert["version"]) == ("champion", second)
            assert "popularity.npy" in alert["fault"]
            assert live.metric('backbeat_serving_alerts{kind="champion",surface="video-feed"}') == 1
        assert set(answered) == {first}
    finally:
        weights.write_bytes(sound)
        live.point(champion=first)
    live.until(lambda status: not status["following"]["alerts"])


def test_a_registry_that_goes_away_is_an_alert_and_nothing_else(live: Live) -> None:
    with closing(sqlite3.connect(live.home.mlflow_database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with live.load() as answered:
            (alert,) = live.until(lambda status: status["following"]["alerts"])
            assert alert["kind"] == "registry"
            assert "locked" in alert["fault"]
        assert answered
        other.execute("ROLLBACK")
    live.until(lambda status: not status["following"]["alerts"])


def test_a_withdrawn_video_leaves_the_lists_under_load_and_of_every_version(live: Live) -> None:
    first, second, _ = live.versions
    home = ["--home", str(live.home.root)]

    def served() -> list[str]:
        answer = httpx.post(f"{live.url}/recommend", json={"user_id": "u1", "k": 5}, trust_env=False)
        return [item["item_id"] for item in answer.raise_for_status().json()["items"]]

    gone = served()[0]
    with live.load():
        invoke(["videos", "withdraw", gone, "--reason", "deleted by its author", *home])
        live.until(lambda _: gone not in served())
        live.point(champion=second)
        live.until(lambda status: status["champion"]["version"] == second)
        assert gone not in served()
        live.point(champion=first)
        live.until(lambda status: status["champion"]["version"] == first)
        assert gone not in served()
        invoke(["videos", "admit", gone, "--reason", "a mistake", *home])
        live.until(lambda _: gone in served())
