"""The same features on Postgres and Redis, in a database and under a project of this test's own."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from pydantic import SecretStr

from contracts.database import Database
from contracts.errors import ServiceUnavailable
from contracts.home import Home
from contracts.settings import Settings, load_settings
from feature_repo.apply import apply_features
from feature_repo.frame import load_unjudged_frame
from feature_repo.materialize import materialize
from feature_repo.offline import write_snapshot
from feature_repo.online import OnlineFeatures
from feature_repo.simulator import simulate
from feature_repo.store import open_store, project_name

pytestmark = pytest.mark.service


@pytest.fixture
def production(
    tmp_path: Path, redis_address: str, new_postgres: Callable[[], AbstractContextManager[str]]
) -> Iterator[Settings]:
    with new_postgres() as url:
        yield load_settings(
            home=tmp_path / "home",
            profile="production",
            database_url=url,
            feast_registry_url=url,
            redis_url=redis_address,
        )


def test_the_road_on_servers(production: Settings, passed: Callable[..., None]) -> None:
    import redis

    home = Home.open(production)
    raw = simulate(users=30, videos=60, days=5, seed=uuid.uuid4().int % 2**32, events=300)
    database = Database(production, home)
    client = redis.Redis.from_url(f"redis://{production.redis_url.get_secret_value()}")
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
        try:
            assert apply_features(production, home)["outcome"] == "applied"
            assert apply_features(production, home)["outcome"] == "unchanged"
            passed(database, snapshot.id)
            assert materialize(production, home)["outcome"] == "materialized"
            assert materialize(production, home)["outcome"] == "unchanged"
            assert materialize(production, home, force=True)["outcome"] == "materialized"
            events = raw.tables["interactions"].to_pandas()
            expected = events.groupby("user_id")["video_id"].apply(lambda ids: ids.tolist()[-50:])
            online = OnlineFeatures(production, home, snapshot.id)
            assert online.user_history([*expected.index, "nobody"]) == [*expected, []]
            online.close()
            frame = load_unjudged_frame(production, home, "m3csr_v1")
            assert sorted(frame.modalities) == ["acoustic", "textual", "visual"]
            assert not (home.feast / "online.db").exists()
            assert not (home.feast / "registry.pb").exists()
        finally:
            store = open_store(production, home)
            store.teardown()
            database.close()
    project = project_name(snapshot.id).encode()
    assert not list(client.scan_iter(b"*" + project + b"*")), "nothing of the test stays in Redis"


def test_servers_that_do_not_answer(production: Settings, passed: Callable[..., None]) -> None:
    home = Home.open(production)
    nowhere = SecretStr("postgresql+psycopg://postgres@127.0.0.1:1/none?sslmode=disable")
    with pytest.raises(ServiceUnavailable, match=r"feature store: found .*BACKBEAT_FEAST_REGISTRY_URL"):
        open_store(production.model_copy(update={"feast_registry_url": nowhere}), home, "none")
    deaf = production.model_copy(update={"redis_url": SecretStr("127.0.0.1:1")})
    database = Database(production, home)
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, simulate(users=30, videos=60, days=5, seed=1, events=300))
        apply_features(deaf, home)
        passed(database, snapshot.id)
        with pytest.raises(ServiceUnavailable, match="BACKBEAT_REDIS_URL"):
            materialize(deaf, home)
    database.close()
