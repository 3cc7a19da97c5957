"""Rows that must not get into an online store, and questions that it cannot answer."""

import asyncio
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts.errors import BadInput, NotFound
from feature_repo.quiet import quietly
from feature_repo.stores.rows import pack_table
from tests.feature_repo.stores.conftest import NOON, ONLINE, named, values

with quietly():
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.types import Array, Float32, Int64

ROW = ("u", 1, NOON)


def spoiled(column: str, array: Any) -> pa.Table:
    table = values(ROW)
    return table.set_column(table.column_names.index(column), column, array)


@pytest.mark.parametrize(
    ("column", "array", "message"),
    [
        ("event_time", pa.array([NOON.replace(tzinfo=None)]), r"event_time with type timestamp\[us\]; .*a time zone"),
        ("event_time", pa.array([None], pa.timestamp("us", "UTC")), "event_time with 1 nulls"),
        ("ingested_at", pa.array([3]), "ingested_at with type int64"),
        ("count", pa.array(["one"]), "count of type string; expected count of type int64"),
        ("vector", pa.array([[1.0, 2.0, 3.0]]), "vector of width 3; expected vectors of width 2, as declared"),
        ("vector", pa.array([[1.0, None]]), "1 nulls inside lists"),
        ("user_id", pa.array([None], pa.string()), "key column user_id: found 1 nulls"),
    ],
)
def test_rows_that_are_refused(make_world: Any, column: str, array: Any, message: str) -> None:
    world = make_world(values(), tags={"width": "2"})
    with pytest.raises(BadInput, match=message):
        world.online.write_table(world.store.config, world.view, spoiled(column, array))
    assert world.read("u") == [None]


def test_columns_that_are_missing(make_world: Any) -> None:
    world = make_world(values())
    with pytest.raises(BadInput, match="rows for view values: found no column event_time, words"):
        world.online.write_table(world.store.config, world.view, values(ROW).drop_columns(["words", "event_time"]))


def test_columns_of_near_types_are_cast(make_world: Any) -> None:
    world = make_world(values())
    wide = spoiled("vector", pa.FixedSizeListArray.from_arrays(pa.array([1, 0.5], pa.float32()), 2))
    double = spoiled("vector", pa.array([[1, 0.5]], pa.list_(pa.float64())))
    expected = pack_table(world.view, values(ROW))
    for table in (wide, double, values(ROW).drop_columns(["ingested_at"])):
        packed = pack_table(world.view, table)
        assert packed.columns["vector"].equals(expected.columns["vector"])
        np.testing.assert_array_equal(packed.known, expected.known)


@pytest.mark.parametrize("online", named(ONLINE))
def test_questions_that_cannot_be_answered(make_world: Any, online: str) -> None:
    world = make_world(values(), online=online)
    world.write(ROW)
    config, view = world.store.config, world.view
    with pytest.raises(BadInput, match="online features values:vector: found vectors of another width; expected 3"):
        world.online.read_matrix(config, view, ["u"], "vector", 3)
    with pytest.raises(NotFound, match="feature of values 'vectors'"):
        world.online.read_matrix(config, view, ["u"], "vectors", 2)
    with pytest.raises(NotFound, match="feature of values 'counts'"):
        world.online.read_table(config, view, ["u"], ["counts"])


def test_a_view_of_two_keys_goes_feasts_way(make_world: Any, tmp_path: Any) -> None:
    world = make_world(values())
    entities = [Entity(name=n, join_keys=[f"{n}_id"], value_type=ValueType.STRING) for n in ("user", "video")]
    view = FeatureView(
        name="pairs",
        entities=entities,
        schema=[Field(name="count", dtype=Int64), Field(name="vector", dtype=Array(Float32), vector_length=2)],
        source=FileSource(name="pairs", path=str(tmp_path / "pairs.parquet"), timestamp_field="event_time"),
        ttl=timedelta(0),
    )
    with quietly():
        world.store.apply([*entities, view])
    view = world.store.get_feature_view("pairs")
    with pytest.raises(BadInput, match="view pairs: found join keys user_id, video_id; expected one join key"):
        world.online.read_table(world.store.config, view, ["u"])
    keys = [Value(string_val="a"), Value(string_val="b")]
    row = (EntityKey(join_keys=["user_id", "video_id"], entity_values=keys), {"count": Value(int64_val=7)}, NOON, None)
    told: list[int] = []
    world.online.online_write_batch(world.store.config, view, [row], told.append)
    assert told == [1]
    asked = [{"user_id": "a", "video_id": "b"}, {"user_id": "b", "video_id": "a"}]
    answer = world.store.get_online_features(["pairs:count", "pairs:vector"], asked).to_dict()
    assert answer["count"] == [7, None]
    assert answer["vector"] == [None, None]


@pytest.mark.parametrize("online", named(ONLINE))
def test_part_of_a_row_leaves_the_rest(make_world: Any, online: str) -> None:
    world = make_world(values(), online=online)
    world.write(("u", 1, NOON))
    key = EntityKey(join_keys=["user_id"], entity_values=[Value(string_val="u")])
    data = [(key, {"count": Value(int64_val=9)}, NOON + timedelta(seconds=1), None)]
    if online == "redis":
        asyncio.run(world.online.online_write_batch_async(world.store.config, world.view, data, None))
    else:
        world.online.online_write_batch(world.store.config, world.view, data, None)
    assert world.read("u") == [9]
    assert world.read("u", feature="vector") == [[1, 0.5]]
