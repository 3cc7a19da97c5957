"""The Redis store beside Feast's own on the same rows, and among servers of several kinds."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from contracts.errors import BadInput
from feature_repo.quiet import quietly
from feature_repo.stores.rows import pack_table
from tests.feature_repo.stores.conftest import NOON, REDIS, values

with quietly():
    from feast import FeatureStore

pytestmark = pytest.mark.service
S = timedelta(seconds=1)


def by_feast(world: Any) -> FeatureStore:
    """The same project through Feast's own Redis store."""
    with quietly():
        config = world.store.config.model_copy(deep=True)
        config._online_store = None
        config.online_config = {"type": "redis", "connection_string": REDIS}
        return FeatureStore(config=config)


def test_feasts_own_store_reads_what_was_written(make_world: Any) -> None:
    world = make_world(values(), online="redis")
    world.write(*((f"u{n}", n, NOON + n * S) for n in range(5)), ("none", None, NOON))
    store = by_feast(world)
    assert type(store._get_provider().online_store).__name__ == "RedisOnlineStore"
    rows = [{"user_id": user} for user in ("u4", "nobody", "none", "u1")]
    answer = store.get_online_features(["values:count", "values:vector", "values:words"], rows).to_dict()
    assert answer["count"] == [4, None, None, 1]
    assert answer["vector"] == [[4, 0.5], None, None, [1, 0.5]]
    assert answer["words"] == [["w"], None, None, ["w"]]


def test_rows_that_feasts_own_store_wrote_are_judged(make_world: Any) -> None:
    world = make_world(values(), online="redis")
    store = by_feast(world)

    def feast_writes(count: int, moment: Any) -> None:
        store.write_to_online_store("values", values(("u", count, moment)).to_pandas())

    feast_writes(1, NOON)
    assert world.read("u") == [1]
    assert world.write(("u", 2, NOON - timedelta(microseconds=1))) == 0
    assert world.write(("u", 3, NOON)) == 1
    feast_writes(4, NOON + S)  # ours is stale now, and says nothing about this row
    assert world.write(("u", 5, NOON, NOON + 9 * S)) == 0
    assert world.write(("u", 6, NOON + S)) == 1
    assert world.read("u") == [6]


def test_a_view_leaves_the_other_views_of_its_entities(make_world: Any) -> None:
    first, second = make_world(values(), online="redis"), make_world(values(), online="redis")
    first.write(("u", 1, NOON))
    second.write(("u", 2, NOON))
    first.online.delete_table(first.store.config, first.view)
    assert (first.read("u"), second.read("u")) == ([None], [2])
    client = redis.Redis(db=9)
    assert not list(client.scan_iter(f"*{first.store.project}")), "no field is left behind"


def test_writers_race_and_the_newest_stays(make_world: Any) -> None:
    world = make_world(values(), online="redis")
    view, config = world.view, world.store.config
    turns = [values(*((f"u{n}", turn, NOON + turn * S) for n in range(30))) for turn in range(20)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda table: world.online.write_table(config, view, table), turns[::-1]))
    table = world.online.read_table(config, view, [f"u{n}" for n in range(30)], ["count"])
    assert set(table["count"].to_pylist()) == {19}


def test_many_batches_and_large_rows(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_repo.stores.redis._BATCH_BYTES", 2_000)
    monkeypatch.setattr("feature_repo.stores.redis._BATCH_ROWS", 7)
    world = make_world(values(), online="redis")
    rows = [(f"u{n}", n, NOON) for n in range(100)]
    assert world.online.write_table(world.store.config, world.view, values(*rows, width=600)) == 100
    matrix, present = world.online.read_matrix(world.store.config, world.view, ["u99", "u0"], "vector", 600)
    assert present.all()
    assert matrix[:, 0].tolist() == [99, 0]


def test_keys_expire_where_they_are_told_to(make_world: Any) -> None:
    world = make_world(values(), online="redis")
    world.store.config.online_store.key_ttl_seconds = 1000
    world.write(("u", 1, NOON))
    client = redis.Redis(db=9)
    [key] = client.scan_iter(f"*{world.store.project}")
    assert 0 < client.ttl(key) <= 1000


def test_reads_of_feast_hold_to_the_ttl_together(make_world: Any) -> None:
    world = make_world(values(), online="redis", ttl=timedelta(days=1))
    world.write(("old", 1, NOON))
    assert world.read("old") == [None], "noon of that day is long ago"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[int]:
    """Port of a Redis server that wants a password."""
    program = shutil.which("redis-server")
    assert program, "the tests marked `service` need Redis"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--requirepass", "secret", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port, password="secret")
    for _ in range(200):
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    yield port
    server.terminate()
    server.wait()


def test_passwords_and_lost_scripts(guarded: int, make_world: Any) -> None:
    world = make_world(values(), online="redis")
    world.store.config.online_store.connection_string = f"127.0.0.1:{guarded},password=secret,db=3"
    world.write(("u", 1, NOON))
    client = redis.Redis(port=guarded, password="secret", db=3)
    client.script_flush()
    client.connection_pool.disconnect()
    world.write(("u", 2, NOON + S))
    assert world.read("u") == [2]
    client.client_kill_filter(_type="normal", skipme=True)  # a connection of the pool that is gone is opened again
    assert world.read("u") == [2]
    assert client.dbsize() == 1


def test_what_the_server_refuses_is_raised(make_world: Any) -> None:
    world = make_world(values(), online="redis")
    client = redis.Redis(db=9)
    [key] = pack_table(world.view, values(("u", 1, NOON))).keys.to_pylist()
    client.set(key + world.store.project.encode(), "no hash")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        world.write(("u", 1, NOON))
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        world.online.read_matrix(world.store.config, world.view, ["v", "u"], "vector", 2)
    assert world.online.read_table(world.store.config, world.view, ["v"])["count"].to_pylist() == [None]


def test_clusters_are_refused(make_world: Any) -> None:
    world = make_world(values(), online="redis")
    cluster = SimpleNamespace(redis_type="redis_cluster")
    with pytest.raises(BadInput, match=r"online_store.redis_type: found redis_cluster; expected redis or"):
        world.online._pooled(SimpleNamespace(online_store=cluster))
