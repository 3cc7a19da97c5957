"""The real thing: two trained versions in a real registry, served by BentoML on loopback by `backbeat serve`."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from backbeat.cli import invoke
from contracts.database import Database
from contracts.errors import NotFound, ServiceUnavailable
from contracts.home import Home
from contracts.platform import ResponseRow
from contracts.settings import Settings, environment_of_child
from feature_repo.online import OnlineFeatures
from registry.lifecycle import Standing
from registry.store import ModelStore
from serving.comparison import compare
from serving.log_files import LogFiles
from serving.recommend import Query, Ranker
from serving.replay import service_status
from serving.server import Server, announced, free_port, running_server
from training.packages import load_package

SURFACE = "video-feed"


@dataclass(frozen=True)
class Platform:
    """A home with materialized features, MF as champion and popularity as shadow."""

    settings: Settings
    home: Home
    champion: str
    shadow: str

    def assign(self, **aliases: str | None) -> None:
        ModelStore(self.settings, self.home).assign(SURFACE, Standing(aliases=aliases, states={}))


@pytest.fixture(scope="module")
def platform(train_home: Callable[..., tuple[Settings, Home, list[str]]]) -> Platform:
    # It does not follow: these tests move aliases below a running service, and back.
    models: list[tuple[str, dict[str, Any], int]] = [("mf", {"max_epochs": 2}, 0), ("popularity", {}, 0)]
    settings, home, (champion, shadow) = train_home("platform", models, serve_follow=3600)
    made = Platform(settings, home, champion, shadow)
    made.assign(champion=made.champion, shadow=made.shadow)
    return made


@pytest.fixture(scope="module")
def url(platform: Platform) -> Iterator[str]:
    """Address of `backbeat serve`, which a Ctrl-C ends with everything it started."""
    command = [sys.executable, "-m", "backbeat", "serve", "--port", str(free_port()), "--json"]
    process = subprocess.Popen(
        command, env=environment_of_child(platform.settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    document = json.loads("".join(iter(lambda: process.stdout.readline().decode(), "}\n")) + "}")
    (supervisor,) = children(process.pid)
    (worker,) = children(supervisor)
    yield document["url"]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said.decode()
    assert said.decode().endswith("has been finished\n")
    assert not alive(supervisor)
    assert not alive(worker)
    assert running_server(platform.home) is None
    with closing(Database(platform.settings, platform.home)) as database, database.session() as session:
        recorded = set(session.scalars(select(ResponseRow.id)))
    files = LogFiles(platform.home.log_files).segments("responses")
    exported = [each for file in files for each in pq.read_table(file.path, partitioning=None)["id"].to_pylist()]
    assert sorted(exported) == sorted(recorded)
    assert len(exported) >= 60, "it was exported as it stopped"


def children(pid: int) -> set[int]:
    stats = ((path, path.read_text()) for path in Path("/proc").glob("[0-9]*/stat") if path.exists())
    return {int(path.parent.name) for path, text in stats if int(text.rsplit(")", 1)[1].split()[1]) == pid}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_it_is_healthy(url: str, platform: Platform) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert httpx.get(url + path).status_code == 200
    assert running_server(platform.home) == url
    status = service_status(url)
    assert (status["champion"]["model"], status["shadow"]["model"]) == ("mf", "popularity")


def test_an_answer_is_the_champions_list_without_the_users_history(url: str, platform: Platform) -> None:
    store = ModelStore(platform.settings, platform.home)
    version = store.get(SURFACE, "champion")
    package = load_package(store.package_path(version))
    history = OnlineFeatures(platform.settings, platform.home, package.manifest.snapshot).user_history(["u5"])[0]
    assert history
    expected = Ranker(version.version, package).rank(Query("u5", tuple(history), ("v9",), 10))
    answer = httpx.post(f"{url}/recommend", json={"user_id": "u5", "k": 10, "exclude": ["v9"]}).json()
    assert answer["version"] == platform.champion
    assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in expected]
    assert not {item["item_id"] for item in answer["items"]} & {*history, "v9"}


def test_an_unknown_user_gets_what_is_popular(url: str) -> None:
    answer = httpx.post(f"{url}/recommend", json={"user_id": "never seen", "k": 5}).json()
    assert [item["step"] for item in answer["items"]] == ["popular"] * 5
    assert sorted((item["score"] for item in answer["items"]), reverse=True) == [i["score"] for i in answer["items"]]


def test_errors_have_the_platforms_form(url: str) -> None:
    answer = httpx.post(f"{url}/recommend", content="{")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_input"
    assert httpx.get(f"{url}/recommend").status_code == 405


def test_a_hostile_pickle_is_only_a_malformed_body(url: str, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    for kind in ("application/vnd.bentoml+pickle", "application/octet-stream"):
        body = pickle.dumps(Hostile())
        answer = httpx.post(f"{url}/recommend", content=body, headers={"content-type": kind})
        assert answer.status_code == 400
    assert not (tmp_path / "ran").exists()


def test_replay_uses_the_running_service_and_report_compares(url: str, platform: Platform) -> None:
    home = str(platform.home.root)
    replayed = invoke(["shadow", "replay", "--requests", "60", "--home", home])
    assert (replayed["url"], replayed["sent"], replayed["ok"]) == (url, 60, 60)
    assert 0 < replayed["p50_ms"] <= replayed["p99_ms"]
    report = invoke(["shadow", "report", "--home", home])
    assert report["requests"] >= 60
    assert report["errors"] == 0
    assert 0 <= report["overlap@10"] <= 1
    status = invoke(["shadow", "status", "--home", home])
    assert status["service"]["url"] == url
    assert status["latest_report"]["id"] == report["id"]


def test_replay_does_not_use_a_service_that_a_promotion_left_behind(
    url: str, platform: Platform, capfd: pytest.CaptureFixture[str]
) -> None:
    platform.assign(champion=platform.shadow, shadow=None)
    try:
        replayed = invoke(["shadow", "replay", "--requests", "20", "--home", str(platform.home.root)])
    finally:
        platform.assign(champion=platform.champion, shadow=platform.shadow)
    assert replayed["url"] != url
    assert running_server(platform.home) == url
    assert (replayed["sent"], replayed["ok"]) == (20, 20)
    assert replayed["status"]["champion"]["version"] == platform.shadow
    assert replayed["status"]["shadow"] is None
    said = capfd.readouterr()
    assert f"serves version {platform.champion} on {SURFACE} and not version {platform.shadow} yet" in said.err
    assert "shadow: none" in said.out
    with pytest.raises(httpx.ConnectError):
        httpx.get(replayed["url"])


def test_a_damaged_shadow_leaves_the_champion_serving_and_no_worker_outlives_its_supervisor(
    platform: Platform, capfd: pytest.CaptureFixture[str]
) -> None:
    store = ModelStore(platform.settings, platform.home)
    # The other way round than in the tests above, so that there are no earlier requests to compare.
    platform.assign(champion=platform.shadow, shadow=platform.champion)
    weights = store.package_path(store.get(SURFACE, "shadow")) / "weights.safetensors"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + b"\x7f")
    try:
        others = children(os.getpid())
        with Server(platform.settings, platform.home, "127.0.0.1", free_port()) as server:
            status = service_status(server.url)
            assert status["shadow"] is None
            assert status["shadow_fault"]["version"] == platform.champion
            assert "weights.safetensors" in status["shadow_fault"]["fault"]
            with announced(platform.home, server.url):
                replayed = invoke(["shadow", "replay", "--requests", "5", "--home", str(platform.home.root)])
                assert (replayed["url"], replayed["ok"]) == (server.url, 5), "a second service could do no better"
                status = invoke(["shadow", "status", "--home", str(platform.home.root)])
                assert status["service"]["shadow_fault"] == replayed["status"]["shadow_fault"]
                with pytest.raises(NotFound, match=r"found a service that could not load version \d+: .*weights"):
                    invoke(["shadow", "report", "--home", str(platform.home.root)])
            said = capfd.readouterr()
            assert f"none; version {platform.champion} could not be loaded" in said.out
            assert "yet:" not in said.err
            (supervisor,) = children(os.getpid()) - others
            (worker,) = children(supervisor)
            assert "shadow version" in server.log.read_text()
            os.kill(supervisor, signal.SIGKILL)
            with pytest.raises(ServiceUnavailable, match=r"ended with code -9.*read .*serve.log"):
                server.wait()
            assert gone(worker, within_s=15)
    finally:
        weights.write_bytes(sound)
        platform.assign(champion=platform.champion, shadow=platform.shadow)


def test_what_keeps_the_worker_from_starting_reaches_the_caller(platform: Platform) -> None:
    platform.assign(champion=None)
    server = Server(platform.settings, platform.home, "127.0.0.1", free_port())
    try:
        with pytest.raises(NotFound, match=r"champion of video-feed or .*: found no version.*models promote best"):
            server.start()
    finally:
        platform.assign(champion=platform.champion)
    assert not list(platform.home.logs.glob("*.fault.json"))
    with closing(Database(platform.settings, platform.home)) as database:
        assert compare(database, SURFACE, platform.champion, platform.shadow)


def test_two_services_on_one_home_stop_in_any_order(url: str, platform: Platform) -> None:
    with Server(platform.settings, platform.home, "127.0.0.1", free_port()) as other:
        with announced(platform.home, other.url):
            assert running_server(platform.home) == other.url
        assert running_server(platform.home) == url
