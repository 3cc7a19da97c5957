"""The feature store beside its rivals: materialization, point-in-time joins, reads for serving, and memory.

Run: ``python benchmarks/features.py [--json] [--full] [--only materialize|join|read|million]``. Rivals run in the same
process on the same data: Feast's own engine and stores, Polars and DuckDB, and the raw client of each server given
the same bytes. Needs Redis on loopback; its database 9 is written and cleaned. ``--full`` adds a million rows of 512
floats (2 GB, some minutes).
"""

import gc
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import redis
from _features import (
    START,
    as_plain_feast,
    duckdb_join,
    feature_store,
    materialized,
    polars_join,
    raw_executemany,
    raw_hset,
    redis_rows,
    remove_database,
    same_answers,
    source_table,
    sql_rows,
    timed,
)
from _measure import Result, report

from feature_repo.raw_tables import numbered_ids
from feature_repo.stores.redis import REDIS_STORE_TYPE
from feature_repo.stores.rows import pack_table, table_name
from feature_repo.stores.sqlite import ONLINE_STORE_TYPE

ROWS, WIDTH, REQUESTS, CANDIDATES, READS = 100_000, 128, 200_000, 500, 400
REDIS = {"host": "127.0.0.1", "port": 6379, "db": 9}
CONNECTION = "127.0.0.1:6379,db=9"


def materialize_results(folder: Path, generator: np.random.Generator) -> list[Result]:
    """100,000 rows of two vectors into Redis and into SQLite."""
    tables = {"video": source_table(ROWS, ROWS, "video", WIDTH, generator)}
    return materialize_redis(folder, tables) + materialize_sqlite(folder, tables)


def materialize_redis(folder: Path, tables: dict[str, pa.Table]) -> list[Result]:
    """Against Feast's engine and store, and pipelines of HSET."""
    with feature_store(folder, tables, {"type": REDIS_STORE_TYPE, "connection_string": CONNECTION}) as store:
        client = redis.Redis(**REDIS)
        rows = redis_rows(pack_table(store.get_feature_view("video_view"), tables["video"]), b"raw")

        def emptied() -> None:
            drop_rows(store)
            client.delete(*(key for key, _ in rows))

        figures = timed({"ours": lambda: materialized(store), "raw": lambda: raw_hset(client, rows)}, before=emptied)
        materialized(store)
        check_last(store, tables["video"])
        emptied()
    with feature_store(folder, tables, {"type": "redis", "connection_string": CONNECTION}, ours=False) as store:
        figures |= timed({"feast": lambda: materialized(store)}, times=1)
    return materialize_figures("redis", "raw pipelined HSET", figures)


def materialize_sqlite(folder: Path, tables: dict[str, pa.Table]) -> list[Result]:
    """Against Feast's engine and store, and one executemany."""
    with feature_store(folder, tables, {"type": ONLINE_STORE_TYPE, "path": str(folder / "own.db")}) as store:
        path = folder / "raw.db"
        rows = sql_rows(pack_table(store.get_feature_view("video_view"), tables["video"]))

        def emptied() -> None:
            store._get_provider().online_store.close()
            remove_database(folder / "own.db")
            remove_database(path)

        runs = {"ours": lambda: materialized(store), "raw": lambda: raw_executemany(path, rows)}
        figures = timed(runs, before=emptied)
        materialized(store)
        check_last(store, tables["video"])
    with feature_store(folder, tables, {"type": "sqlite", "path": str(folder / "feast.db")}, ours=False) as store:
        figures |= timed({"feast": lambda: materialized(store)}, times=1)
    return materialize_figures("sqlite", "raw executemany", figures)


def drop_rows(store: Any) -> None:
    """Empty the view online."""
    online, view = store._get_provider().online_store, store.get_feature_view("video_view")
    online.update(store.config, [view], [], [], [], partial=True)


def check_last(store: Any, table: pa.Table) -> None:
    """Whether the last row comes back online."""
    view, last = store.get_feature_view("video_view"), table["video_id"][-1].as_py()
    matrix, _ = store._get_provider().online_store.read_matrix(store.config, view, [last], ["a", "b"], WIDTH)
    if matrix[0, WIDTH:].tolist() != table["b"][-1].as_py():
        raise SystemExit("what was materialized does not come back")


def materialize_figures(name: str, raw_name: str, figures: dict[str, tuple[float, float]]) -> list[Result]:
    """The three rules."""
    (own, peak), (raw, _), (feast, feast_peak) = figures["ours"], figures["raw"], figures["feast"]
    raw_name, engine = f"{raw_name} of the same bytes", "Feast's local engine and store"
    return [
        Result(f"materialize_{name}", ROWS / own, "rows/s", engine, ROWS / feast, "at least 6 times", 6 * own <= feast),
        Result(f"materialize_{name}_raw", own, "s", raw_name, raw, "at most 2 times", own <= 2 * raw),
        Result(f"materialize_{name}_peak", peak, "MiB", engine, feast_peak, "no more", peak <= feast_peak),
    ]


def join_results(folder: Path, generator: np.random.Generator) -> list[Result]:
    """200,000 requests against sources of two sizes."""
    return [result for rows in (6_710, 100_000) for result in join_of(rows, folder / str(rows), generator)]


def join_of(rows: int, folder: Path, generator: np.random.Generator) -> list[Result]:
    """Against Polars and DuckDB reading the same file; the answers are compared."""
    folder.mkdir()
    table = source_table(rows, 6_710, "video", WIDTH, generator)
    asked = numbered_ids("v", 6_800).take(pa.array(generator.integers(0, 6_800, REQUESTS)))  # some are not there
    moments = START + pd.to_timedelta(generator.integers(0, 30 * 86_400, REQUESTS), unit="s")
    frame = pd.DataFrame({"video_id": asked.to_pylist(), "event_timestamp": moments})
    path, features = folder / "video.parquet", ["video_view:a", "video_view:b"]
    with feature_store(folder, {"video": table}, {"type": ONLINE_STORE_TYPE, "path": str(folder / "own.db")}) as store:
        runs = {
            "ours": lambda: store.get_historical_features(frame, features).to_arrow(),
            "Polars join_asof": lambda: polars_join(path, frame),
            "DuckDB ASOF": lambda: duckdb_join(path, frame),
        }
        figures = timed(runs)
        same_answers(runs["ours"](), runs["DuckDB ASOF"]())
    rival = min((name for name in figures if name != "ours"), key=lambda name: figures[name][0])
    (seconds, peak), (other, other_peak) = figures["ours"], figures[rival]
    return [
        Result(f"join_{rows}", seconds, "s", rival, other, "at most 2 times", seconds <= 2 * other),
        Result(f"join_{rows}_peak", peak, "MiB", rival, other_peak, "told", True),
    ]


def read_results(folder: Path, generator: np.random.Generator) -> list[Result]:
    """One user and 500 candidates out of 20,000, two vectors each, into one array."""
    tables = {
        "user": source_table(1_000, 1_000, "user", WIDTH, generator),
        "video": source_table(20_000, 20_000, "video", WIDTH, generator),
    }
    client = redis.Redis(**REDIS)
    with feature_store(folder, tables, {"type": REDIS_STORE_TYPE, "connection_string": CONNECTION}) as store:
        materialized(store)
        plain = as_plain_feast(store, {"type": "redis", "connection_string": CONNECTION})
        online, config = store._get_provider().online_store, store.config
        user_view, video_view = store.get_feature_view("user_view"), store.get_feature_view("video_view")
        users = [["u7"] for _ in range(READS)]
        videos = [[f"v{n}" for n in generator.choice(20_000, CANDIDATES, replace=False).tolist()] for _ in range(READS)]
        names = [f"{table_name(config, video_view)}:raw:{n}".encode() for n in range(2 * (CANDIDATES + 1))]
        client.mset({name: generator.standard_normal(WIDTH, np.float32).tobytes() for name in names})

        def ours(turn: int) -> npt.NDArray[np.float32]:
            user, _ = online.read_matrix(config, user_view, users[turn], ["a", "b"], WIDTH)
            candidates, _ = online.read_matrix(config, video_view, videos[turn], ["a", "b"], WIDTH)
            return np.concatenate([user, candidates])

        def by_feast(turn: int) -> npt.NDArray[np.float32]:
            parts = []
            for entity, ids in (("user", users[turn]), ("video", videos[turn])):
                rows = [{f"{entity}_id": each} for each in ids]
                answer = plain.get_online_features([f"{entity}_view:a", f"{entity}_view:b"], rows).to_dict()
                parts.append(np.concatenate([np.array(answer[name], np.float32) for name in "ab"], axis=1))
            return np.concatenate(parts)

        def raw(_turn: int) -> npt.NDArray[np.float32]:
            return np.frombuffer(b"".join(client.mget(names)), np.float32).reshape(-1, 2 * WIDTH)

        np.testing.assert_array_equal(ours(0), by_feast(0))
        gc.collect()
        gc.freeze()
        own, mget = latencies([ours, raw], READS)
        (feast,) = latencies([by_feast], READS // 10)  # by itself, as a service reads: its garbage slows who comes next
        gc.unfreeze()
        client.delete(*names)
    p50, p99 = (float(np.percentile(own, share)) for share in (50, 99))
    mget_p50, mget_p99 = (float(np.percentile(mget, share)) for share in (50, 99))
    feast_p50 = float(np.percentile(feast, 50))
    return [
        Result(
            "read",
            p50,
            "ms",
            "get_online_features of Feast's own store and conversion",
            feast_p50,
            "an eighth",
            8 * p50 <= feast_p50,
        ),
        Result("read_raw", p50, "ms", "raw MGET and frombuffer", mget_p50, "at most 3 times", p50 <= 3 * mget_p50),
        Result("read_p99", p99, "ms", "its own median", p50, "at most 2 times", p99 <= 2 * p50),
        Result("mget_p99", mget_p99, "ms", "its own median", mget_p50, "told: how quiet the machine is", True),
    ]


def latencies(runs: list[Callable[[int], Any]], reads: int) -> list[list[float]]:
    """Milliseconds of each read of each, after a warm-up; they take turns."""
    for turn in range(10):
        for run in runs:
            run(turn)
    taken: list[list[float]] = [[] for _ in runs]
    for turn in range(reads):
        for run, times in zip(runs, taken, strict=True):
            began = time.perf_counter()
            run(turn)
            times.append((time.perf_counter() - began) * 1_000)
    return taken


def million_results(folder: Path, generator: np.random.Generator) -> list[Result]:
    """A million rows of 512 floats into SQLite, in a process of its own; written in groups as the views are."""
    table = source_table(65_536, 65_536, "video", 256, generator)
    with pq.ParquetWriter(folder / "video.parquet", table.schema, compression="zstd") as writer:
        for group in range(16):
            keys = pa.array([f"v{group}_{n}" for n in range(min(65_536, 1_000_000 - 65_536 * group))])
            writer.write_table(table.slice(0, len(keys)).set_column(0, "video_id", keys))
    said = subprocess.run(
        [sys.executable, __file__, "--child", str(folder)], check=True, capture_output=True, text=True
    ).stdout.split()
    seconds, peak = float(said[-2]), float(said[-1])
    return [
        Result("million_peak", peak, "MiB", "the job's cap", 2048, "below", peak < 2048),
        Result("million", 1_000_000 / seconds, "rows/s", "a minute and a half", 1_000_000 / 90, "told", True),
    ]


def million_child(folder: Path) -> None:
    """Materialize and tell seconds and the peak memory of this process."""
    schema = pq.read_schema(folder / "video.parquet")
    online = {"type": ONLINE_STORE_TYPE, "path": str(folder / "online.db")}
    with feature_store(folder, {"video": schema.empty_table()}, online) as store:
        began = time.perf_counter()
        materialized(store)
        seconds = time.perf_counter() - began
    sys.stdout.write(f"{seconds} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}\n")


def main() -> None:
    """Run the parts asked for."""
    if "--child" in sys.argv:
        million_child(Path(sys.argv[-1]))
        return
    parts = {"materialize": materialize_results, "join": join_results, "read": read_results}
    if "--full" in sys.argv or "million" in sys.argv:
        parts["million"] = million_results
    if "--only" in sys.argv:
        wanted = sys.argv[sys.argv.index("--only") + 1]
        parts = {wanted: parts[wanted]}
    results: list[Result] = []
    for run in parts.values():
        folder = Path(tempfile.mkdtemp(prefix="backbeat-bench-"))
        try:
            results += run(folder, np.random.default_rng(0))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    report(results)


if __name__ == "__main__":
    main()
