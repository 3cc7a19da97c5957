"""`backbeat package`: the Bento answers as `backbeat serve` does, also where no registry answers."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from backbeat.cli import invoke
from contracts.errors import NotFound, ServiceUnavailable
from contracts.settings import environment_of_child
from serving.packaging import exact_requirements
from serving.packed import Packed, served_settings
from serving.server import free_port
from tests.serving.drills.conftest import Served, Site

USERS = [*(f"u{number}" for number in range(12)), "nobody"]


def lists(served: Served) -> list[dict[str, Any]]:
    answers = [served.ask(user, k=7, exclude=["v3"]).json() for user in USERS]
    return [{name: value for name, value in answer.items() if name != "response_id"} for answer in answers]


@contextmanager
def bento_served(tag: str, site: Site, bentoml_home: str, log: Path) -> Iterator[Served]:
    """`bentoml serve TAG`, far from the checkout."""
    port = free_port()
    environment = {**environment_of_child(site.settings), "BENTOML_HOME": bentoml_home, "PYTHONSAFEPATH": "1"}
    del environment["BACKBEAT_SERVE_FOLLOW"]  # it is packed
    command = [sys.executable, "-m", "bentoml", "serve", tag, "--host=127.0.0.1", f"--port={port}"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, cwd=log.parent, stdout=out, stderr=out)
    served = Served(f"http://127.0.0.1:{port}", log)

    def ready() -> bool:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            return httpx.get(f"{served.url}/readyz", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False

    try:
        served.until(ready, 120)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_the_bento_answers_as_serve_does_and_without_a_registry(trained: Site, tmp_path: Path) -> None:
    with trained.served() as served:
        expected = lists(served)
        champion = served.status()["champion"]
    built = invoke(["package", "--workers", "2", "--home", str(trained.home.root)])
    assert built["champions"] == {"video-feed": trained.champion}
    assert invoke(["package", "--workers", "2", "--home", str(trained.home.root)])["tag"] == built["tag"]
    source = Path(built["path"]) / "src"
    assert not list(source.rglob("*.pyc"))
    packed = Packed.read(source / "packed")
    assert packed.settings["serve_workers"] == 2
    # MLflow does not answer, and the package that it names is gone: what is served is what was packed.
    log = tmp_path / "bento.log"
    with trained.without_package(), trained.without_registry():
        with bento_served(built["tag"], trained, built["bentoml_home"], log) as served:
            assert served.status()["champion"] == champion
            assert lists(served) == expected
            assert "registry" in [alert["kind"] for alert in served.status()["following"]["alerts"]]


def test_the_bento_says_what_it_needs(trained: Site, tmp_path: Path) -> None:
    requirements = dict(line.split("==") for line in exact_requirements())
    lock = Path(__file__).parents[3] / "requirements.lock"
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)$", lock.read_text(), flags=re.M))
    locked = {name.lower().replace("_", "-").replace(".", "-"): version for name, version in locked.items()}
    assert {"torch", "bentoml", "feast", "redis", "hiredis", "psycopg"} <= requirements.keys()
    assert not {"pytest", "ruff", "ray", "backbeat"} & requirements.keys()
    assert {name: locked.get(name) for name in requirements} == requirements


def test_what_the_environment_says_counts_more_than_what_was_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = Packed(Path("packed"), {}, {"serve_workers": 3, "serve_batch_most": 7})
    monkeypatch.setenv("BACKBEAT_SERVE_WORKERS", "2")
    settings = served_settings(packed)
    assert (settings.serve_workers, settings.serve_batch_most) == (2, 7)
    assert served_settings(None).serve_batch_most == 32


def test_nothing_is_packed_without_a_champion(trained: Site) -> None:
    trained.point(champion=None)
    try:
        with pytest.raises(NotFound, match="champion of"):
            invoke(["package", "--home", str(trained.home.root)])
    finally:
        trained.point(champion=trained.champion)


def test_a_package_that_is_gone_cannot_be_packed(trained: Site) -> None:
    with trained.without_package(), pytest.raises(ServiceUnavailable, match=r"the Bento: found .*no such directory"):
        invoke(["package", "--home", str(trained.home.root)])
