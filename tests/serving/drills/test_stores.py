"""The online store and the platform's database fail under a running service: answers go on, and say what is missing."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from contracts.settings import load_settings
from feature_repo.apply import apply_features
from feature_repo.materialize import materialize
from serving.server import free_port
from tests.serving.drills.conftest import Served, Site
from validation.run import validate_snapshot

pytestmark = pytest.mark.service


class Redis:
    """A Redis server of this test's own, that can be stopped and started."""

    def __init__(self, directory: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._directory = directory
        self.process = self._started()

    def _started(self) -> "subprocess.Popen[bytes]":
        import redis

        port = self.address.partition(":")[2]
        command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", str(self._directory)]
        process = subprocess.Popen([*command, "--save", "", "--appendonly", "yes"], stdout=subprocess.DEVNULL)
        client = redis.Redis.from_url(f"redis://{self.address}")
        for _ in range(200):
            try:
                client.ping()
                return process
            except redis.RedisError:
                time.sleep(0.05)
        raise AssertionError("Redis did not start")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def start(self) -> None:
        self.process = self._started()

    def empty(self) -> None:
        import redis

        redis.Redis.from_url(f"redis://{self.address}").flushall()


@dataclass(frozen=True)
class Production:
    """A service whose stores are servers."""

    served: Served
    redis: Redis
    database: str


@pytest.fixture(scope="module")
def production(
    trained: Site,
    tmp_path_factory: pytest.TempPathFactory,
    new_postgres: Callable[[], AbstractContextManager[str]],
) -> Iterator[Production]:
    home = trained.home
    redis = Redis(tmp_path_factory.mktemp("redis"))
    with new_postgres() as database:
        settings = load_settings(
            home=home.root,
            profile="production",
            device="cpu",
            threads=1,
            serve_follow=0.3,
            redis_url=redis.address,
            database_url=database,
            mlflow_url=f"sqlite:///{home.mlflow_database}",
            artifact_url=str(home.artifacts),
            feast_registry_url=f"sqlite:///{home.root}/production-registry.db",
        )
        site = replace(trained, settings=settings)
        with home.writing("test"):
            assert validate_snapshot(settings, home).success
            apply_features(settings, home)
            materialize(settings, home)
        with site.served() as served:
            yield Production(served, redis, database)
    redis.process.kill()
    redis.process.wait()


def missing(served: Served) -> list[dict[str, Any]]:
    answer = served.ask(k=5)
    assert answer.status_code == 200
    assert len(answer.json()["items"]) == 5
    found: list[dict[str, Any]] = answer.json()["missing"]
    return found


def whole(served: Served) -> bool:
    return not missing(served)


def test_an_online_store_that_is_down_costs_the_features_only(production: Production) -> None:
    served, redis = production.served, production.redis
    assert whole(served)
    redis.stop()
    assert served.until(lambda: missing(served))[0]["feature"] == "user_history"
    assert {answer["reason"] for _ in range(5) for answer in missing(served)} <= {"failed", "late"}
    redis.start()
    served.until(lambda: whole(served))


def test_an_online_store_that_hangs_costs_a_deadline_a_second(production: Production) -> None:
    served, redis = production.served, production.redis
    served.until(lambda: whole(served))
    redis.process.send_signal(signal.SIGSTOP)
    try:
        reasons = [missing(served)[0]["reason"] for _ in range(20)]
    finally:
        redis.process.send_signal(signal.SIGCONT)
    assert set(reasons) == {"late"}
    served.until(lambda: whole(served))


def test_an_empty_online_store_is_one_of_strangers(production: Production) -> None:
    served, redis = production.served, production.redis
    served.until(lambda: whole(served))
    redis.empty()
    answer = served.ask("u5", k=5)
    assert answer.status_code == 200
    assert len(answer.json()["items"]) == 5
    assert served.ask("nobody", k=5).status_code == 200


def test_a_database_that_is_down_refuses_feedback_and_loses_no_list(production: Production) -> None:
    served = production.served
    engine = create_engine(
        production.database.rpartition("/")[0] + "/postgres?sslmode=disable", isolation_level="AUTOCOMMIT"
    )
    name = production.database.rpartition("/")[2].partition("?")[0]
    before = served.ask(k=3).json()
    with engine.connect() as administrator:
        administrator.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        administrator.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :n"), {"n": name}
        )
        try:
            during = [served.ask(k=3) for _ in range(10)]
            assert {answer.status_code for answer in during} == {200}
            refused = served.feedback(before)
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "service_unavailable"
        finally:
            administrator.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    engine.dispose()
    for answer in (before, during[-1].json()):
        served.until(lambda answer=answer: served.feedback(answer).status_code == 200)
    assert served.status()["records"]["lost"] == 0
