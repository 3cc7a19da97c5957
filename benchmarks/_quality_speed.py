"""Seconds and peak memory of the suites on one large table, beside a hand-written pass in NumPy.

Every measurement is a process of its own: ``python _quality_speed.py STEP FOLDER ROWS`` writes a line of JSON.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _measure import Result, child_cpu_seconds
from _quality_numpy import compare_pass, numpy_pass

from contracts.database import Database
from contracts.embeddings import EmbeddingSpec
from contracts.home import Home
from contracts.settings import load_settings
from contracts.snapshot import SplitInstants
from feature_repo.offline import current_snapshot, read_snapshot, read_table, write_snapshot
from feature_repo.raw_tables import RawTables, assemble, microseconds, numbered_ids

__all__ = ["speed_results"]

WIDTH, USERS, DAYS, RUNS = 512, 400, 20, 100
GIB = 2**30
TIMES, MOST_GIB, MOST_LIST_S = 3.0, 6.0, 3.0


def speed_results(rows: int) -> list[Result]:
    """Measure in fresh processes; the first snapshot is accepted, the second measured.

    Args:
        rows: Vectors of 512 floats in a snapshot.
    """
    with tempfile.TemporaryDirectory() as directory:

        def step(name: str) -> dict[str, Any]:
            argv = [sys.executable, __file__, name, directory, str(rows)]
            done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            sys.stderr.write(f"{name}: {found}\n")
            return found

        step("first")
        step("run")
        step("second")
        ours, judged, rival = step("run"), step("judge"), step("numpy")
        listing = step("runs")
        home = ["--home", f"{directory}/home"]
        seconds = child_cpu_seconds([sys.executable, "-m", "backbeat", "validate", "list", "--limit", str(RUNS), *home])
    size = f"{rows:,} x {WIDTH}"
    return [
        Result(
            f"full suite on {size}, table in memory: measured, compared, judged",
            judged["seconds"],
            "s",
            "NumPy pass",
            rival["seconds"],
            f"≤ {TIMES:g} times",
            judged["seconds"] <= TIMES * rival["seconds"],
        ),
        Result(
            f"validate run on {size}: read, verified, judged, report and pages written",
            ours["seconds"],
            "s",
            "NumPy pass, file read",
            rival["seconds"] + rival["read"],
            f"≤ {TIMES:g} times",
            ours["seconds"] <= TIMES * (rival["seconds"] + rival["read"]),
        ),
        Result(
            f"validate run on {size}, peak memory",
            ours["gib"],
            "GiB",
            "NumPy pass",
            rival["gib"],
            f"≤ {MOST_GIB:g}",
            ours["gib"] <= MOST_GIB,
        ),
        Result(
            "Great Expectations contexts per run", ours["contexts"], "", "the rule", 1.0, "1", ours["contexts"] == 1
        ),
        Result(
            f"validate list of {RUNS} runs",
            seconds,
            "CPU s",
            "reading every report.json",
            listing["naive"],
            f"≤ {MOST_LIST_S:g}",
            seconds <= MOST_LIST_S,
        ),
        Result(
            f"page of {RUNS} runs written",
            listing["index"],
            "s",
            "reading every report.json",
            listing["naive"],
            "≤ 1",
            listing["index"] <= 1,
        ),
    ]


def raw(rows: int, newest: int) -> RawTables:
    """A data set whose items are ``newest - rows`` to ``newest``, in order of publication."""
    start = microseconds(load_start())
    items = np.arange(newest - rows, newest)
    day = 86_400_000_000
    published = start + items * (DAYS * day // (3 * rows))
    rng = np.random.default_rng(0)
    events = USERS * DAYS * 2
    times = start + (DAYS // 2 * day) + np.sort(rng.integers(0, DAYS // 2 * day, events))
    spec = EmbeddingSpec(
        modality="visual",
        encoder="speed",
        revision="1",
        preprocessing="none",
        width=WIDTH,
        dtype="float32",
        normalisation="none",
    )
    return assemble(
        users=numbered_ids("u", USERS),
        users_known=np.full(USERS, start),
        videos=numbered_ids("v", newest).slice(newest - rows),
        videos_published=published,
        user_rows=np.arange(events) % USERS,
        video_rows=rng.integers(0, rows, events),
        weights=np.ones(events, np.float32),
        event_times=times,
        vectors={"visual": (np.arange(rows), vectors(items))},
        specs={"visual": spec},
        split=SplitInstants(
            train_until=load_start() + pd.Timedelta(days=DAYS * 0.7),
            validation_until=load_start() + pd.Timedelta(days=DAYS * 0.85),
            nominal=False,
        ),
        dataset="speed",
        source="benchmarks/quality.py --speed",
    )


def load_start() -> pd.Timestamp:
    """When the period begins."""
    return pd.Timestamp("2025-01-01", tz="UTC")


def vectors(items: np.ndarray) -> np.ndarray:
    """The same vector for the same item, in blocks that are seeded by their number."""
    size = 10_000
    projection = np.random.default_rng(1).standard_normal((48, WIDTH)).astype(np.float32)
    found = np.empty((len(items), WIDTH), np.float32)
    for block in range(items[0] // size, items[-1] // size + 1):
        rng = np.random.default_rng([2, block])
        hidden, noise = rng.standard_normal((size, 48), np.float32), rng.standard_normal((size, WIDTH), np.float32)
        whole = np.tanh(0.3 * hidden @ projection) + np.float32(0.3) * noise
        mine = items // size == block
        found[mine] = whole[items[mine] % size]
    return found


def measured(work: Callable[[], object]) -> float:
    """Seconds of it."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def first(home: Home, rows: int) -> dict[str, Any]:
    """Ingest what is accepted."""
    with home.writing("benchmark"):
        write_snapshot(home, raw(rows, rows))
    return {}


def second(home: Home, rows: int) -> dict[str, Any]:
    """Ingest what is measured: five in a hundred items gone, five in a hundred new."""
    with home.writing("benchmark"):
        write_snapshot(home, raw(rows, rows + rows // 20))
    return {}


def run(home: Home, _rows: int) -> dict[str, Any]:
    """``validate run``, without the seconds that libraries take to import."""
    import great_expectations as gx

    import validation.examination
    import validation.judge
    import validation.pages
    import validation.pictures  # noqa: F401
    from validation.run import validate_snapshot
    from validation.texts import worst_sentences

    contexts, original = 0, gx.get_context

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal contexts
        contexts += 1
        return original(*args, **options)

    gx.get_context = counted
    settings = load_settings(home=home.root)
    started = time.perf_counter()
    with home.writing("benchmark"):
        report = validate_snapshot(settings, home)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "contexts": contexts, "passed": report.success, "findings": worst_sentences(report)}


def judge(home: Home, _rows: int) -> dict[str, Any]:
    """The suites alone, with the tables in memory."""
    from validation.baselines import choose_reference, load_baseline
    from validation.judge import judge
    from validation.material import Material

    snapshot, before = snapshots(home)
    database = Database(load_settings(home=home.root), home)
    reference = choose_reference(home, database, snapshot, before)
    assert reference is not None
    baseline = load_baseline(home, database, reference)
    database.close()
    tables = {name: read_table(home, snapshot, name) for name in snapshot.tables}
    now = snapshot.created_at
    return {"seconds": measured(lambda: judge(Material(snapshot, tables, now, baseline=baseline)))}


def numpy(home: Home, _rows: int) -> dict[str, Any]:
    """The rival, on the same file and with the same comparison."""
    snapshot, before = snapshots(home)

    def table(identity: str) -> tuple[np.ndarray, pd.Index, np.ndarray, pd.Index, np.ndarray]:
        manifest = read_snapshot(home, identity)
        embeddings = read_table(home, manifest, "embedding_visual")
        lists = embeddings["vector"].combine_chunks()
        matrix = lists.flatten().to_numpy().reshape(-1, WIDTH)
        videos = read_table(home, manifest, "videos")
        ids, owners = (pd.Index(t["video_id"].to_numpy(zero_copy_only=False)) for t in (embeddings, videos))
        times, published = (t["event_time"].cast("int64").to_numpy() for t in (embeddings, videos))
        return matrix, ids, times, owners, published

    old = numpy_pass(*table(before))
    del old["facts"]
    started = time.perf_counter()
    given = table(snapshot.id)
    read = time.perf_counter() - started
    return {"seconds": measured(lambda: compare_pass(old, numpy_pass(*given))), "read": read}


def runs(home: Home, _rows: int) -> dict[str, Any]:
    """Make it a hundred reports, then write the page that lists them."""
    import shutil

    from contracts.reports import ValidationReport, latest_report, past_reports, store_report
    from validation.past_runs import write_index

    snapshot, _ = snapshots(home)
    database = Database(load_settings(home=home.root), home)
    report = latest_report(database, snapshot.id)
    assert report is not None
    for number in range(RUNS):
        identity = f"{number:012x}"
        store_report(database, report.model_copy(update={"id": identity}))
        shutil.copytree(home.quality / report.id, home.quality / identity, ignore=shutil.ignore_patterns("profiles"))
    index = measured(lambda: write_index(home, past_reports(database)))
    paths = list(home.quality.glob("*/report.json"))
    naive = measured(lambda: [ValidationReport.model_validate_json(path.read_bytes()) for path in paths])
    database.close()
    return {"index": index, "naive": naive}


def snapshots(home: Home) -> tuple[Any, str]:
    """The current one, and the id of the other."""
    snapshot = current_snapshot(home)
    directories = (home.root / "offline").glob("*/snapshot.json")
    return snapshot, next(path.parent.name for path in directories if path.parent.name != snapshot.id)


STEPS: dict[str, Callable[[Home, int], dict[str, Any]]] = {
    step.__name__: step for step in (first, second, run, judge, numpy, runs)
}

if __name__ == "__main__":
    where = Home(Path(sys.argv[2]) / "home")
    facts = STEPS[sys.argv[1]](where, int(sys.argv[3]))
    facts["gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    sys.stdout.write(json.dumps(facts) + "\n")
