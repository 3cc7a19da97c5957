"""A Feast store of one view over one file, on any offline store, online store and engine."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.quiet import quietly
from feature_repo.stores.asof import OFFLINE_STORE_TYPE
from feature_repo.stores.engine import ENGINE_TYPE
from feature_repo.stores.ray_engine import RAY_ENGINE_TYPE
from feature_repo.stores.ray_offline import RAY_OFFLINE_STORE_TYPE
from feature_repo.stores.redis import REDIS_STORE_TYPE
from feature_repo.stores.sqlite import ONLINE_STORE_TYPE

with quietly():
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Array, Float32, Int64, String

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
REDIS = "127.0.0.1:6379,db=9"
MAKE = Callable[..., "World"]

# To hold another store to the contract, add it here (and a mark where it needs a server).
OFFLINE: dict[str, dict[str, Any]] = {
    "asof": {"type": OFFLINE_STORE_TYPE},
    "duckdb": {"type": "duckdb"},
    "ray": {"type": RAY_OFFLINE_STORE_TYPE, "rows_per_task": 4},
}
ONLINE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "sqlite": lambda folder: {"type": ONLINE_STORE_TYPE, "path": str(folder / "online.db")},
    "redis": lambda _folder: {"type": REDIS_STORE_TYPE, "connection_string": REDIS},
}
ENGINES: dict[str, Any] = {
    "chunked": {"type": ENGINE_TYPE, "chunk_bytes": 200},
    "local": "local",
    "ray": {"type": RAY_ENGINE_TYPE, "chunk_bytes": 200},
}
MARKS = {"redis": pytest.mark.service}


def named(registry: dict[str, Any]) -> list[Any]:
    """The names of a registry as parameters, those that need a server marked."""
    return [pytest.param(name, marks=MARKS.get(name, ())) for name in registry]


@dataclass
class World:
    """One view ``values`` (count int64, vector and words as lists) of users, and the Feast store around it."""

    store: FeatureStore
    path: Path

    @property
    def view(self) -> FeatureView:
        return self.store.get_feature_view("values")

    @property
    def online(self) -> Any:
        return self.store._get_provider().online_store

    def materialize(self, end: datetime = NOON, start: datetime = NOON - timedelta(days=300)) -> None:
        with quietly():
            self.store.materialize(start, end, feature_views=["values"])

    def read(self, *users: str, feature: str = "count") -> list[Any]:
        """What the plain Feast SDK reads online."""
        rows = [{"user_id": user} for user in users]
        return list(self.store.get_online_features([f"values:{feature}"], rows).to_dict()[feature])

    def write(self, *rows: tuple[Any, ...]) -> int:
        """Write (user, count, event time, known, ...) by columns."""
        return int(self.online.write_table(self.store.config, self.view, values(*rows)))


def values(*rows: tuple[Any, ...], width: int = 2) -> pa.Table:
    """Rows (user, count, event time[, known]) with a vector and words made of the count; a count of None is null."""
    counts = [row[1] for row in rows]
    stamp = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "user_id": pa.array([row[0] for row in rows], pa.string()),
            "count": pa.array(counts, pa.int64()),
            "vector": pa.array(
                [None if c is None else [c, 0.5] * (width // 2) for c in counts], pa.list_(pa.float32())
            ),
            "words": pa.array([None if c is None else ["w"] * (c % 3) for c in counts], pa.list_(pa.string())),
            "event_time": pa.array([row[2] for row in rows], stamp),
            "ingested_at": pa.array([row[3] if len(row) > 3 else row[2] for row in rows], stamp),
        }
    )


@pytest.fixture
def make_world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MAKE]:
    """``make_world(table, offline="asof", online="sqlite", engine="chunked", ttl=None, extra=())``."""
    made: list[World] = []

    def make(
        table: pa.Table,
        offline: str = "asof",
        online: str = "sqlite",
        engine: str = "chunked",
        ttl: timedelta | None = None,
        extra: tuple[Any, ...] = (),
        **view: Any,
    ) -> World:
        if "ray" in (offline, engine):
            request.getfixturevalue("ray_cluster")
        folder = tmp_path / uuid.uuid4().hex[:8]
        folder.mkdir()
        pq.write_table(table, folder / "values.parquet", row_group_size=3)
        user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
        fields = {"count": Int64, "vector": Array(Float32), "words": Array(String)}
        source = FileSource(
            name="values",
            path=str(folder / "values.parquet"),
            timestamp_field="event_time",
            created_timestamp_column="ingested_at",
        )
        feature_view = FeatureView(
            name="values",
            entities=[user],
            schema=[Field(name=name, dtype=dtype) for name, dtype in fields.items()],
            source=source,
            ttl=ttl,
            **view,
        )
        with quietly():
            config = RepoConfig(
                project=f"contract_{uuid.uuid4().hex[:12]}",
                provider="local",
                registry={"registry_type": "file", "path": str(folder / "registry.pb"), "cache_ttl_seconds": 0},
                online_store=ONLINE[online](folder),
                offline_store=OFFLINE[offline],
                batch_engine=ENGINES[engine],
                entity_key_serialization_version=3,
                materialization={"online_write_batch_size": 2},
            )
            store = FeatureStore(config=config)
            store.apply([user, feature_view, *(each(feature_view) for each in extra)])
        made.append(World(store, folder / "values.parquet"))
        return made[-1]

    yield make
    for world in made:
        with quietly():
            world.store.teardown()
