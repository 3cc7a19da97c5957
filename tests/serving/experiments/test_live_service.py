"""A running service takes up an experiment, splits its users, and its users' clicks give a verdict."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from backbeat.cli import invoke
from contracts.clock import utc_now
from contracts.errors import BadInput, Conflict, NotFound
from contracts.home import Home
from contracts.settings import Settings
from registry.lifecycle import Standing
from registry.store import ModelStore
from serving.analysis.assignment import Assignment
from serving.replay import service_status
from serving.server import Server, free_port
from tests.serving.waiting import until

SURFACE = "video-feed"

RULE = """\
minimum_effect = 0.2
minimum_requests = 40
minimum_users = 10
guardrails = [{ metric = "errors", margin = 0.5, harm = "higher" }]
"""


class Live:
    """A running service and its home."""

    def __init__(self, home: Home, url: str, versions: list[str], rule: Path) -> None:
        self.home, self.url, self.rule = home, url, rule
        self.champion, self.challenger = versions

    def ab(self, *words: str) -> Any:
        """A command line, without its output."""
        return invoke(["ab", *words, "--home", str(self.home.root), "--json"])

    def until(self, look: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the status is as it should be."""
        until(look, 90, of=lambda: service_status(self.url))

    def visit(self, client: httpx.Client, user: str, likes: Callable[[int], bool]) -> dict[str, Any]:
        """Ask for a list, see all of it, and click what is liked."""
        served: dict[str, Any] = client.post("/recommend", json={"user_id": user, "k": 3}).raise_for_status().json()
        at = (utc_now() + timedelta(milliseconds=1)).isoformat()
        events = []
        for place, item in enumerate(served["items"]):
            kinds = ["impression", *(["click"] if likes(place) else [])]
            events += [
                {"event_id": f"{kind}-{place}", "kind": kind, "item_id": item["item_id"], "at": at} for kind in kinds
            ]
        body = {"response_id": served["response_id"], "events": events}
        client.post("/feedback", json=body).raise_for_status()
        return served


@pytest.fixture(scope="module")
def live(train_home: Callable[..., tuple[Settings, Home, list[str]]]) -> Iterator[Live]:
    models: list[tuple[str, dict[str, Any], int]] = [("popularity", {}, 0), ("mf", {"max_epochs": 1}, 0)]
    settings, home, versions = train_home("experiments", models, serve_follow=0.2)
    ModelStore(settings, home).assign(SURFACE, Standing(aliases={"champion": versions[0]}, states={}))
    rule = home.root / "rule.toml"
    rule.write_text(RULE)
    with Server(settings, home, "127.0.0.1", free_port()) as server:
        yield Live(home, server.url, versions, rule)


def test_an_ab_test_from_its_start_to_its_verdict(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    started = live.ab(
        "start", "spring", "--challenger", live.challenger, "--rule", str(live.rule), "--reason", "looks better"
    )
    assert json.loads(capsys.readouterr().out) == started
    assert started["rule"]["minimum_requests"] == 40
    live.until(lambda status: status["experiment"] is not None and status["experiment"]["name"] == "spring")
    arms = Assignment("spring", started["weights"])
    users = [f"visitor-{number}" for number in range(60)]
    with httpx.Client(base_url=live.url, timeout=60.0, trust_env=False) as client:
        for _ in range(2):
            for number, user in enumerate(users):
                # Every second user clicks an item, and one more where the challenger answers.
                likes = number % 2 + (arms.arm(user) == "challenger")
                served = live.visit(client, user, lambda place, likes=likes: place < likes)  # type: ignore[misc]
                assert (served["experiment"], served["arm"]) == ("spring", arms.arm(user))
                version = live.champion if served["arm"] == "champion" else live.challenger
                assert served["version"] == version
    report = live.ab("report")
    assert report["experiment"] == "spring"
    assert report["requests"] == 120
    assert [(arm["arm"], arm["requests"]) for arm in report["arms"]] == [("champion", 66), ("challenger", 54)]
    assert report["split"]["broken"] is False
    assert report["verdict"]["decision"] == "promote"
    assert report["verdict"]["sentence"].startswith("Promote: ctr +213.19% (+41.07% to ")
    assert report["verdict"]["split_p"] == report["split"]["always_valid_p"]
    capsys.readouterr()
    with pytest.raises(Conflict, match="spring runs"):
        live.ab("start", "second", "--challenger", live.challenger, "--reason", "impatient")
    ended = live.ab("stop", "spring", "--reason", "seen enough")
    assert ended["running"] is False
    live.until(lambda status: status["experiment"] is None)
    with httpx.Client(base_url=live.url, timeout=60.0, trust_env=False) as client:
        served = client.post("/recommend", json={"user_id": "u1", "k": 3}).json()
        assert (served["experiment"], served["arm"], served["version"]) == (None, None, live.champion)
    with pytest.raises(Conflict, match="ended by"):
        live.ab("stop", "spring", "--reason", "again")
    capsys.readouterr()
    assert [each["name"] for each in live.ab("list")["experiments"]] == ["spring"]


def test_interleaving_finds_whose_items_are_clicked(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    live.ab("start", "mixed", "--mode", "interleaving", "--challenger", live.challenger, "--reason", "prefer")
    live.until(lambda status: status["experiment"] is not None and status["experiment"]["name"] == "mixed")
    with httpx.Client(base_url=live.url, timeout=60.0, trust_env=False) as client:
        for number in range(20):
            served = live.visit(client, f"u{number % 10}", lambda place: place == 0)
            assert (served["arm"], served["version"]) == ("interleaved", live.champion)
    found = live.ab("report", "mixed")["preference"]
    assert found["requests"] == 20
    assert found["champion_wins"] + found["challenger_wins"] == 20, "the first item is always somebody's"
    live.ab("stop", "mixed", "--reason", "seen enough")


def test_a_challenger_that_is_not_there_is_refused_before_it_begins(live: Live) -> None:
    for said, error, words in (
        ("version '99'", NotFound, ["--challenger", "99"]),
        ("greater than 0", BadInput, ["--challenger", live.challenger, "--weight", "0"]),
        ("no mode of that name", NotFound, ["--mode", "abc"]),
        ("nothing there", NotFound, ["--rule", str(live.home.root / "no.toml")]),
        ("greater than 0", BadInput, ["--minimum-effect", "0"]),
    ):
        with pytest.raises(error, match=said):
            live.ab("start", "third", "--reason", "x", *words)
    with pytest.raises(NotFound, match="experiment on music"):
        live.ab("report", "--surface", "music")


def test_a_rule_file_that_is_none(live: Live, tmp_path: Path) -> None:
    broken = tmp_path / "rule.toml"
    broken.write_text("objective = ")
    with pytest.raises(BadInput, match="rule file"):
        live.ab("start", "third", "--reason", "x", "--rule", str(broken))
    broken.write_text('target = "ctr"')
    with pytest.raises(BadInput, match="target"):
        live.ab("start", "third", "--reason", "x", "--rule", str(broken))
