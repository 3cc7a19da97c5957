"""A Redis of the test's own that goes away in the middle, comes back empty, and is filled by the same job."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from contracts.database import Database
from contracts.errors import ServiceUnavailable
from contracts.home import Home
from contracts.jobs import latest_job
from contracts.materializing import MATERIALIZE
from contracts.settings import Settings, load_settings
from feature_repo.apply import apply_features
from feature_repo.materialization.check import check_sample
from feature_repo.materialization.online import OnlineView
from feature_repo.materialization.sources import sources_of
from feature_repo.materialize import materialize
from feature_repo.offline import current_snapshot
from feature_repo.store import open_store
from tests.feature_repo.materialization.steps import VIEWS

pytestmark = pytest.mark.service


class Redis:
    """A server that keeps nothing on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]

    def start(self) -> None:
        import redis

        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, cwd=self.directory, stdout=subprocess.DEVNULL)
        self.client = redis.Redis(port=self.port)
        for _ in range(200):
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.05)
        raise AssertionError("redis-server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server")
    server = Redis(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("returns", ["empty", "never left"])
def test_redis_goes_away_in_the_middle(
    server: Redis,
    ready: tuple[Settings, Home],
    passed: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    returns: str,
) -> None:
    local, home = ready
    url = f"sqlite:///{home.root}/production.db"
    settings = load_settings(
        home=local.home,
        profile="production",
        database_url=url,
        feast_registry_url=f"sqlite:///{home.root}/registry.db",
        redis_url=f"127.0.0.1:{server.port}",
    )
    database = Database(settings, home)
    passed(database, current_snapshot(home).id)
    with home.writing("test"):
        apply_features(settings, home)
    written, calls = OnlineView.write, list[int]()

    def write(self: OnlineView, table: pa.Table) -> int:
        calls.append(len(table))
        if len(calls) == 6:
            if returns == "empty":
                server.kill()
            else:
                import redis

                raise redis.ConnectionError("Connection reset by peer")
        return written(self, table)

    monkeypatch.setattr(OnlineView, "write", write)
    with pytest.raises(ServiceUnavailable, match=r"feature store: found .*; expected .*Redis to answer"):
        materialize(settings, home, views=VIEWS)
    job = latest_job(database, MATERIALIZE)
    assert job is not None
    assert (job.state, job.done) == ("failed", 5)
    assert job.error is not None
    assert job.error["error"]["code"] == "service_unavailable"
    if returns == "empty":
        server.start()
    done = materialize(settings, home, views=VIEWS)["job"]
    assert (done["id"], done["state"], done["done"]) == (job.id, "done", done["total"])
    assert len(calls) == done["total"] + (6 if returns == "empty" else 1)
    store = open_store(settings, home)
    rows: dict[str, Any] = {}
    for source in sources_of(store, VIEWS):
        until = source.known_until()
        assert until is not None
        rows[source.name] = check_sample(source, OnlineView(store, source), until, seed=0, keys=10**6)
    assert done["rows"] == sum(rows.values())
    database.close()
