"""Plain ``FeatureStore.materialize`` through our engine, into our stores and into others."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.errors import NotFound
from feature_repo.quiet import quietly
from tests.feature_repo.stores.conftest import NOON, ONLINE, values

with quietly():
    from feast import BatchFeatureView, Field
    from feast.infra.compute_engines.local.compute import LocalComputeEngine
    from feast.types import Int64

S = timedelta(seconds=1)


def test_other_online_stores_get_rows_as_feast_gives_them(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ONLINE, "stock", lambda folder: {"type": "sqlite", "path": str(folder / "stock.db")})
    world = make_world(values(*((f"u{n}", n, NOON) for n in range(9)), ("u0", 10, NOON - S)), online="stock")
    assert type(world.online).__name__ == "SqliteOnlineStore"
    world.materialize()
    assert world.read("u0", "u8", "nobody") == [0, 8, None]


def test_incremental_windows_join(make_world: Any) -> None:
    world = make_world(values(("a", 1, NOON), ("a", 2, NOON + S), ("a", 3, NOON + 2 * S)))
    with quietly():
        world.store.materialize(NOON, NOON)  # the start belongs to the window, as in Feast
        assert world.read("a") == [1]
        world.store.materialize_incremental(NOON + S)
        assert world.read("a") == [2]
        world.store.materialize(NOON + 2 * S, NOON + 2 * S)
    assert world.read("a") == [3]


def test_what_goes_wrong_is_raised(make_world: Any) -> None:
    world = make_world(values(("a", 1, NOON)))
    world.path.unlink()
    with pytest.raises(NotFound, match="source values: found no file"):
        world.materialize()


def test_naive_times_in_a_file_are_utc(make_world: Any) -> None:
    world = make_world(values(("a", 1, NOON), ("a", 2, NOON + S)))
    table = pq.read_table(world.path)
    for name in ("event_time", "ingested_at"):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.timestamp("ms")))
    pq.write_table(table, world.path)
    world.materialize()
    assert world.read("a") == [1]


def test_views_that_feast_transforms_are_left_to_its_engine(make_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(values(("a", 1, NOON)))
    asked: list[str] = []
    theirs = LocalComputeEngine._materialize_one

    def seen(self: Any, registry: Any, task: Any, **options: Any) -> Any:
        asked.append(task.feature_view.name)
        return theirs(self, registry, task, **options)

    monkeypatch.setattr(LocalComputeEngine, "_materialize_one", seen)
    doubled = BatchFeatureView(
        name="doubled",
        mode="python",
        entities=[world.store.get_entity("user")],
        schema=[Field(name="count", dtype=Int64)],
        source=world.view.batch_source,
        udf=double,
        udf_string="double",
        online=True,
    )
    with quietly():
        world.store.apply([doubled])
        world.materialize()
        assert asked == []
        with suppress(Exception):  # whatever Feast's engine makes of it, it was asked
            world.store.materialize(NOON - S, NOON, feature_views=["doubled"])
    assert asked == ["doubled"]


def double(frame: Any) -> Any:
    return frame.assign(count=frame["count"] * 2)
