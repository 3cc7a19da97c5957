"""Seconds from a push to the value online, beside Feast's own write of the same feature rows.

Run: ``python benchmarks/streaming.py [--json]``. A consumer runs in a process of its own on a simulated platform of
200,000 views; one event after another is pushed and looked for online. Feast's write computes nothing, lands nothing
and writes two of the views that an event changes.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
from _measure import Result, report

from contracts.clock import utc_now
from contracts.home import Home
from contracts.process import prepare_process
from contracts.settings import Settings, load_settings
from feature_repo.offline import current_snapshot
from feature_repo.online import OnlineFeatures
from feature_repo.store import open_store
from feature_repo.stream.push import push

SIZES = ("--users", "10000", "--videos", "4000", "--events", "200000", "--posts", "5000", "--listens", "20000")
EVENTS = 40
POLL_S = 0.002


def make_home(environment: dict[str, str]) -> None:
    """A platform whose features are online."""
    for command in (
        ("ingest", "simulate", *SIZES),
        ("features", "apply"),
        ("validate", "run"),
        ("features", "materialize"),
    ):
        subprocess.run([sys.executable, "-m", "backbeat", *command], env=environment, capture_output=True, check=True)


def seconds_to_online(settings: Settings, home: Home) -> list[float]:
    """From the call of push until a read shows the event, for one event after another."""
    online = OnlineFeatures(settings, home, current_snapshot(home).id)
    taken = []
    for number in range(EVENTS):
        user, video, moment = f"u{number}", f"v{number}", utc_now() - timedelta(milliseconds=1)
        row = {"user_id": user, "video_id": video, "kind": "view", "weight": 1.0, "event_time": moment}
        begun = time.perf_counter()
        push(settings, home, "interactions", pa.Table.from_pylist([row]))
        while not (history := online.user_history([user])[0]) or history[-1] != video:
            if time.perf_counter() - begun > 60:
                raise RuntimeError(f"event {number} never came online")
            time.sleep(POLL_S)
        if number:  # the first one warms both processes up
            taken.append(time.perf_counter() - begun)
    return taken


def feast_seconds(settings: Settings, home: Home) -> list[float]:
    """Feast's own write of the two rows that an event changes, already computed."""
    store = open_store(settings, home)
    taken = []
    for number in range(EVENTS):
        now = pd.Timestamp(utc_now())
        times = {"event_time": [now], "ingested_at": [now]}
        history = pd.DataFrame({"user_id": [f"u{number}"], "video_ids": [["v1"]], "event_times": [[1]], **times})
        hours = {name: [[1]] for name in ("hours", "hour_views", "hour_likes")}
        popularity = pd.DataFrame({"video_id": [f"v{number}"], "views": [1], "likes": [0], **hours, **times})
        begun = time.perf_counter()
        store.write_to_online_store("user_history", history)
        store.write_to_online_store("video_popularity", popularity)
        if number:
            taken.append(time.perf_counter() - begun)
    return taken


def main() -> None:
    """Measure."""
    prepare_process()
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "BACKBEAT_HOME": str(Path(directory).resolve() / "home")}
        make_home(environment)
        settings = load_settings(home=Path(environment["BACKBEAT_HOME"]))
        home = Home.open(settings)
        command = [sys.executable, "-m", "backbeat", "features", "consume"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as consumer:
            try:
                while "waiting for rows" not in consumer.stderr.readline():
                    if consumer.poll() is not None:
                        raise RuntimeError("the consumer did not start")
                ours = seconds_to_online(settings, home)
            finally:
                consumer.terminate()
        rival = feast_seconds(settings, home)
    median, longest, floor = statistics.median(ours), max(ours), statistics.median(rival)
    name = "FeatureStore.write_to_online_store"
    report(
        [
            Result("push to online, median", median, "s", name, floor, "≤ 1 s", median <= 1),
            Result("push to online, longest", longest, "s", name, floor, "≤ 1 s", longest <= 1),
        ]
    )


if __name__ == "__main__":
    main()
