"""What ``features.py`` measures: Feast stores on our parts and on Feast's own, and the rivals fed the same data."""

import gc
import sqlite3
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.quiet import quietly
from feature_repo.raw_tables import microseconds, numbered_ids, vector_lists
from feature_repo.stores.asof import OFFLINE_STORE_TYPE
from feature_repo.stores.engine import ENGINE_TYPE
from feature_repo.stores.rows import PackedRows

with quietly():
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Array, Float32

__all__ = [
    "DAY",
    "START",
    "as_plain_feast",
    "duckdb_join",
    "feature_store",
    "materialized",
    "polars_join",
    "raw_executemany",
    "raw_hset",
    "redis_rows",
    "remove_database",
    "same_answers",
    "source_table",
    "sql_rows",
    "timed",
]

START, DAY = datetime(2025, 1, 1, tzinfo=UTC), timedelta(days=1)


def source_table(rows: int, keys: int, entity: str, width: int, generator: np.random.Generator) -> pa.Table:
    """Two vectors per row; keys in turn, each with its rows spread over thirty days."""
    at = microseconds(START) + np.sort(generator.integers(0, 30 * DAY // timedelta(microseconds=1), rows))
    moments = pa.array(at, pa.int64()).cast(pa.timestamp("us", "UTC"))
    which = np.arange(rows) % keys
    columns = {f"{entity}_id": numbered_ids(entity[0], keys).take(pa.array(which))}
    for name in ("a", "b"):
        columns[name] = vector_lists(generator.standard_normal((rows, width), np.float32))
    table = pa.table(columns | {"event_time": moments, "ingested_at": moments})
    return table.take(pa.array(np.lexsort((at, which)))) if rows > keys else table


@contextmanager
def feature_store(
    folder: Path, tables: dict[str, pa.Table], online: dict[str, Any], ours: bool = True
) -> Iterator[FeatureStore]:
    """A Feast store with a view per table (entity → rows); on our stores and engine, or on Feast's own."""
    project = f"bench_{uuid.uuid4().hex[:10]}"
    objects: list[Any] = []
    for name, table in tables.items():
        path = folder / f"{name}.parquet"
        if not path.exists():
            pq.write_table(table, path, row_group_size=65_536, compression="zstd")
        entity = Entity(name=name, join_keys=[f"{name}_id"], value_type=ValueType.STRING)
        source = FileSource(
            name=name, path=str(path), timestamp_field="event_time", created_timestamp_column="ingested_at"
        )
        schema = [Field(name=feature, dtype=Array(Float32)) for feature in ("a", "b")]
        view = FeatureView(name=f"{name}_view", entities=[entity], schema=schema, source=source, ttl=timedelta(0))
        objects += [entity, view]
    with quietly():
        store = FeatureStore(
            config=RepoConfig(
                project=project,
                provider="local",
                registry={"registry_type": "file", "path": str(folder / f"{project}.pb")},
                online_store=online,
                offline_store={"type": OFFLINE_STORE_TYPE if ours else "duckdb"},
                batch_engine={"type": ENGINE_TYPE} if ours else "local",
                entity_key_serialization_version=3,
                materialization={"online_write_batch_size": 10_000},
            )
        )
        store.apply(objects)
    try:
        yield store
    finally:
        with quietly():
            store.teardown()


def as_plain_feast(store: FeatureStore, online: dict[str, Any]) -> FeatureStore:
    """The same project and the same data, read by a store of Feast's own."""
    config = store.config
    with quietly():
        return FeatureStore(
            config=RepoConfig(
                project=config.project,
                provider="local",
                registry={"registry_type": "file", "path": config.registry.path},
                online_store=online,
                entity_key_serialization_version=3,
            )
        )


def materialized(store: FeatureStore) -> None:
    """Plain ``FeatureStore.materialize``."""
    with quietly():
        store.materialize(START - DAY, START + 31 * DAY)


def redis_rows(packed: PackedRows, suffix: bytes) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The same keys and values as plain Python objects, in Feast's layout."""
    names = [b"aaaa", b"bbbb"]
    columns = [column.to_pylist() for column in packed.columns.values()]
    time_of_row = b"\x08\x80\xd6\xd4\xbb\x06\x10\x80\xd6\xd4\xbb"
    return [
        (key + b"raw" + suffix, {**dict(zip(names, values, strict=True)), b"_ts:video_view": time_of_row})
        for key, *values in zip(packed.keys.to_pylist(), *columns, strict=True)
    ]


def sql_rows(packed: PackedRows) -> list[tuple[Any, ...]]:
    """The same keys, times and values as plain Python objects."""
    columns = [column.to_pylist() for column in packed.columns.values()]
    return list(zip(packed.keys.to_pylist(), packed.event.tolist(), packed.known.tolist(), *columns, strict=True))


def raw_hset(client: Any, rows: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
    """Pipelines of 10,000 commands."""
    for start in range(0, len(rows), 10_000):
        with client.pipeline(transaction=False) as pipe:
            for key, mapping in rows[start : start + 10_000]:
                pipe.hset(key, mapping=mapping)
            pipe.execute()


def raw_executemany(path: Path, rows: list[tuple[Any, ...]]) -> None:
    """One transaction with the write-ahead log that our store has too."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE rows (entity_key BLOB PRIMARY KEY, event_us, known_us, a BLOB, b BLOB)")
    with connection:
        connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?)", rows)
    connection.close()


def remove_database(path: Path) -> None:
    """A SQLite file and its logs."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def polars_join(path: Path, frame: pd.DataFrame) -> pl.DataFrame:
    """The rows by time, which is the order Polars needs and leaves them in."""
    source = pl.read_parquet(path, columns=["video_id", "event_time", "a", "b"]).sort("event_time")
    request = pl.from_pandas(frame).with_columns(pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")))
    return request.sort("event_timestamp").join_asof(
        source, left_on="event_timestamp", right_on="event_time", by="video_id", strategy="backward"
    )


def duckdb_join(path: Path, frame: pd.DataFrame) -> pa.Table:
    """The rows as DuckDB returns them."""
    with duckdb.connect() as connection:
        connection.register("request", frame)
        return connection.sql(
            "SELECT r.video_id, r.event_timestamp, s.a, s.b FROM request r ASOF LEFT JOIN "
            f"read_parquet('{path}') s ON r.video_id = s.video_id AND r.event_timestamp >= s.event_time"
        ).to_arrow_table()


def same_answers(ours: pa.Table, theirs: pa.Table) -> None:
    """Whether the two agree on every row, by its first number."""

    def signature(table: pa.Table) -> pd.DataFrame:
        first = [None if vector is None else vector[0] for vector in table["a"].to_numpy()]
        keys = {"id": table["video_id"].to_numpy(), "at": table["event_timestamp"].cast(pa.timestamp("us", "UTC"))}
        return pd.DataFrame({**keys, "first": first}).sort_values(["id", "at", "first"], ignore_index=True)

    pd.testing.assert_frame_equal(signature(ours), signature(theirs), check_dtype=False)


def reset_peak() -> None:
    """Begin to measure peak memory anew (Linux)."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mib() -> float:
    """Highest resident memory since :func:`reset_peak`."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def timed(
    runs: Mapping[str, Callable[[], Any]], times: int = 5, before: Callable[[], Any] = lambda: None
) -> dict[str, tuple[float, float]]:
    """Median seconds of each, and peak memory above what the process held before, in MiB.

    They take turns, so that whatever else the machine does falls on all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    peaks: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(times):
        for name, run in runs.items():
            before()
            reset_peak()
            held, began = peak_mib(), time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
            peaks[name].append(peak_mib() - held)
    return {name: (statistics.median(seconds[name]), max(peaks[name])) for name in runs}
