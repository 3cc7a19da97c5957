"""A small home with a champion, and services on copies of it in processes of their own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from contracts.clock import utc_now
from contracts.home import Home
from contracts.settings import Settings
from registry.lifecycle import Standing
from registry.store import ModelStore
from serving.server import Server, free_port
from tests.serving.waiting import until

SURFACE = "video-feed"


@dataclass(frozen=True)
class Site:
    """A home whose champion is MF; popularity is registered too."""

    settings: Settings
    home: Home
    champion: str
    other: str

    def point(self, **aliases: str | None) -> None:
        ModelStore(self.settings, self.home).assign(SURFACE, Standing(aliases=aliases, states={}))

    @property
    def package(self) -> Path:
        store = ModelStore(self.settings, self.home)
        return store.package_path(store.get(SURFACE, self.champion))

    @contextmanager
    def changed(self, name: str, change: Callable[[bytes], bytes]) -> Iterator[None]:
        """Another content of a file of the champion's package, for as long as a block lasts."""
        path = self.package / name
        whole = path.read_bytes()
        path.write_bytes(change(whole))
        try:
            yield
        finally:
            path.write_bytes(whole)

    @contextmanager
    def without_registry(self) -> Iterator[None]:
        """MLflow's database is none, for as long as a block lasts."""
        path = self.home.mlflow_database
        aside = path.rename(path.with_name("aside.db"))
        path.write_bytes(b"no database" * 1000)
        try:
            yield
        finally:
            aside.replace(path)

    @contextmanager
    def without_package(self) -> Iterator[None]:
        """The champion's package is gone, for as long as a block lasts."""
        path = self.package
        aside = path.rename(path.with_name("aside"))
        try:
            yield
        finally:
            aside.rename(path)

    @contextmanager
    def served(self, **changed: Any) -> "Iterator[Served]":
        settings = self.settings.model_copy(update=changed)
        with Server(settings, Home.open(settings), "127.0.0.1", free_port()) as server:
            yield Served(server.url, server.log)


@dataclass(frozen=True)
class Served:
    """A running service."""

    url: str
    log: Path

    def ask(self, user: str = "u5", **body: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/recommend", json={"user_id": user, **body}, timeout=30, trust_env=False)

    def feedback(self, answer: dict[str, Any]) -> httpx.Response:
        """A click on the first item of an answer."""
        event = {
            "event_id": "e",
            "kind": "click",
            "item_id": answer["items"][0]["item_id"],
            "at": utc_now().isoformat(),
        }
        body = {"response_id": answer["response_id"], "events": [event]}
        return httpx.post(f"{self.url}/feedback", json=body, timeout=60, trust_env=False)

    def workers(self) -> list[psutil.Process]:
        """The processes that answer."""
        (supervisor,) = [each for each in psutil.Process().children() if "serving.host" in each.cmdline()]
        return [each for each in supervisor.children() if "_bentoml_impl.worker.service" in each.cmdline()]

    def status(self) -> Any:
        return httpx.get(f"{self.url}/status", timeout=30, trust_env=False).json()["surfaces"][SURFACE]

    def until(self, look: Callable[[], Any], within_s: float = 60.0) -> Any:
        """What is looked for, as soon as it is there."""
        return until(look, within_s, told=lambda: self.log.read_text()[-2000:])


@pytest.fixture(scope="session")
def trained(train_home: Callable[..., tuple[Settings, Home, list[str]]]) -> Site:
    """Made once; who changes it puts it back."""
    models: list[tuple[str, dict[str, Any], int]] = [("mf", {"max_epochs": 2}, 0), ("popularity", {}, 0)]
    settings, home, (champion, other) = train_home("drills", models, threads=1, serve_follow=0.3)
    made = Site(settings, home, champion, other)
    made.point(champion=made.champion)
    return made
