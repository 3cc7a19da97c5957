"""The SQLite store among threads, and files of another age."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from feature_repo.quiet import quietly
from feature_repo.stores.rows import table_name
from tests.feature_repo.stores.conftest import NOON, values

with quietly():
    from feast import FeatureView, Field
    from feast.types import Int64


def counts(world: Any, users: list[str]) -> list[Any]:
    return list(world.online.read_table(world.store.config, world.view, users, ["count"])["count"].to_pylist())


def test_threads_share_a_store(make_world: Any) -> None:
    world = make_world(values())
    view, config = world.view, world.store.config
    users = [f"u{n}" for n in range(50)]

    def write(turn: int) -> None:
        world.online.write_table(
            config, view, values(*((user, turn, NOON + timedelta(seconds=turn)) for user in users))
        )

    def read(_turn: int) -> set[Any]:
        return set(world.online.read_table(config, view, users, ["count"])["count"].to_pylist())

    write(0)
    with ThreadPoolExecutor(8) as pool:
        writes = [pool.submit(write, turn) for turn in range(1, 12)]
        reads = [pool.submit(read, turn) for turn in range(40)]
        for done in writes:
            done.result()
        assert all(len(done.result()) == 1 for done in reads), "no reader sees half of a transaction"
    assert counts(world, ["u0", "u49"]) == [11, 11]


def test_readers_do_not_wait_for_a_writer(make_world: Any) -> None:
    world = make_world(values())
    world.write(("u", 1, NOON))
    with world.online._writing(world.store.config) as connection:
        connection.execute(f'UPDATE "{table_name(world.store.config, world.view)}" SET f_count = NULL')
        seen: list[Any] = []
        reader = threading.Thread(target=lambda: seen.extend(counts(world, ["u"])))
        reader.start()
        reader.join(20)
        assert seen == [1]
    assert counts(world, ["u"]) == [None]


def test_a_failed_write_leaves_nothing(make_world: Any) -> None:
    world = make_world(values())
    world.write(("u", 1, NOON))
    with pytest.raises(RuntimeError, match="power"), world.online._writing(world.store.config) as connection:
        connection.execute(f'DELETE FROM "{table_name(world.store.config, world.view)}"')
        raise RuntimeError("power")
    assert counts(world, ["u"]) == [1]


def test_a_lost_file_is_made_again(make_world: Any) -> None:
    world = make_world(values())
    world.write(("u", 1, NOON))
    world.online.close()
    path = world.online._get_db_path(world.store.config)
    for suffix in ("", "-wal", "-shm"):
        world.path.with_name(f"online.db{suffix}").unlink(missing_ok=True)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        world.read("u")
    world.write(("v", 2, NOON))
    assert world.read("u", "v") == [None, 2]
    assert path == str(world.path.with_name("online.db"))


def test_the_layout_of_feast_gives_way(make_world: Any) -> None:
    world = make_world(values())
    name = table_name(world.store.config, world.view)
    with world.online._writing(world.store.config) as connection:
        connection.execute(f'DROP TABLE "{name}"')
        connection.execute(f'CREATE TABLE "{name}" (entity_key BLOB, feature_name TEXT, value BLOB)')
    assert world.write(("u", 1, NOON)) == 1
    assert world.read("u") == [1]


def test_a_new_feature_becomes_a_column(make_world: Any) -> None:
    world = make_world(values())
    world.write(("u", 1, NOON))
    view = world.view
    more = FeatureView(
        name="values",
        entities=[world.store.get_entity("user")],
        schema=[*view.features, Field(name="more", dtype=Int64)],
        source=view.batch_source,
    )
    with quietly():
        world.store.apply([more])
    assert world.read("u") == [1]
    assert world.read("u", feature="more") == [None]


def test_more_ids_than_one_statement_takes(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feature_repo.stores.sqlite._KEYS_AT_ONCE", 3)
    world = make_world(values())
    world.write(*((f"u{n}", n, NOON) for n in range(10)))
    assert counts(world, [f"u{n}" for n in range(10)]) == list(range(10))


def test_a_second_project_in_the_file_is_left_alone(make_world: Any) -> None:
    first, second = make_world(values()), make_world(values())
    config = second.store.config
    config.online_store.path = first.store.config.online_store.path
    second.write(("u", 2, NOON))
    first.write(("u", 1, NOON))
    with quietly():
        first.store.teardown()
    assert second.read("u") == [2]
