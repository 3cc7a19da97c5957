"""Joins and materialization beyond one machine: our store and engine on Ray beside Feast's own on Ray and on Spark.

Run: ``python benchmarks/distributed.py [--json] [--only join|materialize] [--rivals ray,spark]``. All candidates get
two workers of this machine, the same data, and are warm: clusters are up and their workers have imported what they
need. Needs Redis on loopback; its database 9 is written and cleaned. Spark is measured where pyspark is importable and
Java is there; it is not one of our dependencies. Feast's engine on Ray gets fewer rows of both tables, which can only
help it, and rows/s are compared.
"""

import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from _features import DAY, START, source_table
from _measure import Result, report

from feature_repo.quiet import quietly
from feature_repo.raw_tables import numbered_ids
from feature_repo.stores.asof import OFFLINE_STORE_TYPE
from feature_repo.stores.engine import ENGINE_TYPE
from feature_repo.stores.ray_engine import RAY_ENGINE_TYPE
from feature_repo.stores.ray_offline import RAY_OFFLINE_STORE_TYPE
from feature_repo.stores.redis import REDIS_STORE_TYPE

with quietly():
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Array, Float32

ROWS, WIDTH, REQUESTS, RIVAL_ROWS, WORKERS = 100_000, 128, 200_000, 2_000, 2
SPARK = {
    "spark.master": f"local[{WORKERS}]",
    "spark.driver.memory": "4g",
    "spark.driver.maxResultSize": "3g",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": str(WORKERS),
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.ui.enabled": "false",
}
RAY = {"ray_conf": {"num_cpus": WORKERS, "include_dashboard": False}}
CANDIDATES: dict[str, tuple[dict[str, Any], Any]] = {
    "embedded": ({"type": OFFLINE_STORE_TYPE}, {"type": ENGINE_TYPE, "chunk_bytes": 2**24}),
    "ours on Ray": ({"type": RAY_OFFLINE_STORE_TYPE}, {"type": RAY_ENGINE_TYPE, "chunk_bytes": 2**24}),
    "Feast's Ray": ({"type": "ray", "storage_path": tempfile.gettempdir()} | RAY, {"type": "ray.engine"} | RAY),
    "Feast's Spark": ({"type": "spark", "spark_conf": SPARK}, {"type": "spark.engine", "spark_conf": SPARK}),
}
"""Name → offline store and engine."""


@contextmanager
def store_of(name: str, folder: Path, rows: int) -> Iterator[FeatureStore]:
    """A Feast store with one view of two vectors, in Redis online."""
    path = folder / f"video-{rows}.parquet"
    if not path.exists():
        table = source_table(rows, min(rows, 6_710) if "join" in folder.name else rows, "video", WIDTH, generator())
        pq.write_table(table, path, row_group_size=16_384, compression="zstd")
    entity = Entity(name="video", join_keys=["video_id"], value_type=ValueType.STRING)
    columns = {"timestamp_field": "event_time", "created_timestamp_column": "ingested_at"}
    if name == "Feast's Spark":
        from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

        source = SparkSource(name="video", path=str(path), file_format="parquet", **columns)
    else:
        source = FileSource(name="video", path=str(path), **columns)
    schema = [Field(name=feature, dtype=Array(Float32)) for feature in "ab"]
    view = FeatureView(name="video_view", entities=[entity], schema=schema, source=source, ttl=timedelta(0))
    offline, engine = CANDIDATES[name]
    project = f"bench_{uuid.uuid4().hex[:10]}"
    with quietly():
        config = RepoConfig(
            project=project,
            provider="local",
            registry={"registry_type": "file", "path": str(folder / f"{project}.pb")},
            online_store={"type": REDIS_STORE_TYPE, "connection_string": "127.0.0.1:6379,db=9"},
            offline_store=offline,
            batch_engine=engine,
            entity_key_serialization_version=3,
            materialization={"online_write_batch_size": 10_000},
        )
        store = FeatureStore(config=config)
        store.apply([entity, view])
    try:
        yield store
    finally:
        with quietly():
            store.teardown()


def generator() -> np.random.Generator:
    """The same numbers each time."""
    return np.random.default_rng(0)


def request(rows: int) -> pd.DataFrame:
    """Videos, some of which are not there, and instants."""
    draw = generator()
    asked = numbered_ids("v", 6_800).take(pa.array(draw.integers(0, 6_800, rows)))
    moments = START + pd.to_timedelta(draw.integers(0, 30 * 86_400, rows), unit="s")
    return pd.DataFrame({"video_id": asked.to_pylist(), "event_timestamp": moments})


def joined(store: FeatureStore, frame: pd.DataFrame) -> pa.Table:
    """The join as the plain Feast SDK gives it."""
    with quietly():
        return store.get_historical_features(frame, ["video_view:a", "video_view:b"]).to_arrow()


def seconds(run: Callable[[], Any], times: int) -> float:
    """Median wall-clock time."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return median(taken)


def join_rates(folder: Path, names: list[str]) -> dict[str, float]:
    """Rows/s of the join; ours must give what the embedded store gives."""
    rates, answers = {}, {}
    for name in names:
        own = name in ("embedded", "ours on Ray")
        small = name == "Feast's Ray"  # it has not joined 2,000 rows with 100,000 in five minutes
        frame = request(RIVAL_ROWS if small else REQUESTS)
        with store_of(name, folder, RIVAL_ROWS if small else ROWS) as store:
            joined(store, frame.head(100))
            rates[name] = len(frame) / seconds(lambda: joined(store, frame), 3 if own else 1)  # noqa: B023
            if own:
                answers[name] = joined(store, frame)
        sys.stderr.write(f"join, {name}: {rates[name]:,.0f} rows/s\n")
    if "ours on Ray" in answers and not answers["ours on Ray"].equals(answers["embedded"]):
        raise SystemExit("the rows on Ray are not those of the embedded store")
    return rates


def materialize_rates(folder: Path, names: list[str]) -> dict[str, float]:
    """Rows/s into Redis."""
    rates = {}
    for name in names:
        own = name in ("embedded", "ours on Ray")
        with store_of(name, folder, 200) as store, quietly():
            store.materialize(START - DAY, START + 31 * DAY)
        rows = RIVAL_ROWS if name == "Feast's Ray" else ROWS
        with store_of(name, folder, rows) as store:

            def run(store: FeatureStore = store) -> None:
                with quietly():
                    store.materialize(START - DAY, START + 31 * DAY)

            if own:
                run()  # every worker is to have imported Feast
            rates[name] = rows / seconds(run, 3 if own else 1)
            check_last(store, rows)
        sys.stderr.write(f"materialize, {name}: {rates[name]:,.0f} rows/s\n")
    return rates


def check_last(store: FeatureStore, rows: int) -> None:
    """Whether the last row is online."""
    online, view = store._get_provider().online_store, store.get_feature_view("video_view")
    _, present = online.read_matrix(store.config, view, [f"v{rows - 1}"], ["a", "b"], WIDTH)
    if not present.all():
        raise SystemExit("what was materialized is not online")


def results_of(what: str, rates: dict[str, float]) -> list[Result]:
    """What one machine loses by going through a cluster, and how the rivals do."""
    ours, embedded = rates["ours on Ray"], rates["embedded"]
    rules = [
        Result(f"{what}_embedded", ours, "rows/s", "embedded", embedded, "at least a tenth", 10 * ours >= embedded)
    ]
    for name in ("Feast's Ray", "Feast's Spark"):
        if name in rates:
            suffix = f"feast_{name.split()[-1].lower()}"
            rules.append(Result(f"{what}_{suffix}", ours, "rows/s", name, rates[name], "faster", ours > rates[name]))
    return rules


def main() -> None:
    """Run the parts asked for."""
    import ray

    parts = {"join": join_rates, "materialize": materialize_rates}
    if "--only" in sys.argv:
        wanted = sys.argv[sys.argv.index("--only") + 1]
        parts = {wanted: parts[wanted]}
    names = list(CANDIDATES)
    if "--rivals" in sys.argv:
        rivals = sys.argv[sys.argv.index("--rivals") + 1].split(",")
        names = [name for name in names if not name.startswith("Feast") or name.split()[-1].lower() in rivals]
    if "Feast's Spark" in names and (find_spec("pyspark") is None or shutil.which("java") is None):
        sys.stderr.write("Spark is skipped: pyspark is not importable, or there is no Java\n")
        names.remove("Feast's Spark")
    ray.init(num_cpus=WORKERS, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    results: list[Result] = []
    try:
        for what, rates in parts.items():
            folder = Path(tempfile.mkdtemp(prefix=f"backbeat-bench-{what}-"))
            try:
                results += results_of(what, rates(folder, names))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        ray.shutdown()
    report(results)


if __name__ == "__main__":
    main()
