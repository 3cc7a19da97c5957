"""What the champion's latency suffers from shadows, and from a champion that is being loaded beside it.

Run: ``python benchmarks/shadow.py [--json] [--items 100000] [--seconds 1.5] [--rounds 20] [--only NAME …]``.

Services of one two-tower champion each (128 components, k = 20, records in SQLite) run beside each other, in processes
of their own: without a shadow, once more without one (which tells the noise), and with a shadow that works five times
as much, that is asked more than its queue holds, that raises at each request, that is killed by each 50th, and whose
lists make no sense. A client asks them in turns, by two connections that wait for each answer, and never two services
at once. All latencies of a service are taken together; a ratio is to the first one without a shadow. Every request has
to be answered, and each shadow has to know what became of each.

``swap``: a service that loads another version of the same size from disk after every ten seconds in which it is asked,
beside one that does not. ``swaps``: the same without a pause between one and the next, which nobody does; it is told.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this directory has a file with the name of a room
sys.path.append(str(Path(__file__).resolve().parent))

import numpy as np  # noqa: E402
from _champion import HISTORY, USERS, Histories, K, champion  # noqa: E402
from _measure import Result, report  # noqa: E402

CONNECTIONS, KILLED_EACH, LOOK_S = 2, 50, 0.05
MOST, MOST_SWAP = 1.05, 1.5
CASES = ("none", "control", "slow", "full", "crashing", "killed", "nonsense", "swap", "swaps")
PAUSES = {"swap": 10.0, "swaps": 0.0}
"""Seconds of requests between two swaps."""
WITHOUT = ("none", "control", *PAUSES)


def answers(how: str, ranker: Any) -> Callable[[Any], Any]:
    """What a shadow of a case does with a query."""
    asked = 0

    def slow(query: Any) -> Any:
        return [ranker.rank(query) for _ in range(5)][-1]

    def crashing(query: Any) -> Any:
        raise MemoryError(f"no room for {query.k} rows")

    def killed(query: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == KILLED_EACH:
            os.kill(os.getpid(), 9)
        return ranker.rank(query)

    def nonsense(query: Any) -> Any:
        return [replace(item, score=float("nan")) for item in ranker.rank(query)]

    return {"slow": slow, "full": slow, "crashing": crashing, "killed": killed, "nonsense": nonsense}[how]


def shadow(how: str, items: int) -> None:
    """Be the process of a shadow."""
    from contracts.process import prepare_process
    from serving.shadow_process import answer_until_closed, yield_to_others

    yield_to_others()
    prepare_process(1)
    import torch

    from serving.recommend import Ranker

    torch.set_num_threads(1)
    ranker = Ranker("2", champion(items, Path()))
    answer_until_closed(ranker, answers(how, ranker), sys.stdin.buffer, sys.stdout.buffer)


def serve(port: int, items: int, home_root: Path, how: str) -> None:
    """Run one service in this process."""
    from contracts.process import prepare_process

    prepare_process(1)
    import uvicorn

    sys.setswitchinterval(0.0005)  # as the service does
    from contracts.database import Database
    from contracts.home import Home
    from contracts.settings import load_settings
    from serving.app import build_app
    from serving.engine import Engine
    from serving.lineup import Lineup
    from serving.recommend import Ranker
    from serving.records import Recorder
    from serving.shadow import Shadow
    from serving.surfaces import Surfaces

    settings = load_settings(home=home_root, threads=1)

    def open_surfaces() -> Surfaces:
        recorder = Recorder(Database(settings, Home.open(settings)))
        shadows = ()
        if how not in WITHOUT:
            command = [sys.executable, __file__, "--shadow", how, str(items)]
            shadows = (
                Shadow("2", "mf", command, recorder.put, capacity=4 if how == "full" else 1_000, deadline_s=1.0),
            )
            shadows[0].settled(120)
        features = Histories(items)
        engine = Engine("video-feed", Lineup(Ranker("1", champion(items, home_root)), features, shadows), recorder)
        engine.warm_up([f"u{row}" for row in range(20)])
        if how in PAUSES:
            engine.follow(swapping(engine, items, home_root / "package", PAUSES[how]))
        return Surfaces({"video-feed": engine}, recorder.feedback, recorder.close)

    uvicorn.run(build_app(open_surfaces), host="127.0.0.1", port=port, log_level="error")


def written(items: int, directory: Path) -> None:
    """Write a package to a directory."""
    from types import SimpleNamespace

    from training.packages import write_package

    package = champion(items, directory)
    directory.mkdir(parents=True)
    history = np.random.default_rng(3).integers(0, items, (USERS, HISTORY))
    names = {"users": package.users.digest, "items": package.items.digest}
    frame: Any = SimpleNamespace(
        users=package.users, items=package.items, popularity=package.popularity, history=history, contexts={}
    )
    write_package(directory, package.recommender, frame, package.manifest.model_copy(update={"vocabularies": names}))


def brought_in(directory: Path, version: str) -> Any:
    """A ranker of a package, loaded from disk, proved and warmed up as the service does."""
    from serving.recommend import Query, Ranker
    from training.golden import check_golden
    from training.packages import load_package

    loaded = load_package(directory)
    check_golden(loaded)
    ranker = Ranker(version, loaded)
    for user in range(20):
        ranker.rank(Query(f"u{user}", (), (), K))
    return ranker


def swapping(engine: Any, items: int, directory: Path, pause_s: float) -> Any:
    """What finds another champion after a pause, loads it from disk as the service does, and has it take over."""
    from itertools import count

    from serving.following import Follower
    from serving.lineup import Lineup
    from serving.metrics import serving_metrics

    written(items, directory)

    class Loads:
        def champion(self, version: str) -> Lineup:
            return Lineup(brought_in(directory, version), Histories(items))

        def shadow(self, version: str) -> Any:
            raise AssertionError(f"the registry of this benchmark names a champion alone, not {version}")

        def challenger(self, version: str) -> Any:
            raise AssertionError(f"the registry of this benchmark names a champion alone, not {version}")

    numbers, answered, asked_s = count(2), 0, 0.0

    def holders() -> dict[str, str]:
        nonlocal answered, asked_s
        if engine.gatherer.answered > answered:  # while another service is asked, this one is to rest
            asked_s += LOOK_S
            answered = engine.gatherer.answered
            if asked_s >= pause_s:
                asked_s = 0.0
                return {"champion": str(next(numbers))}
        return {"champion": engine.lineup.champion.version}

    return Follower(engine, holders, Loads(), serving_metrics(), LOOK_S)


def load(port: int, seconds: float) -> list[float]:
    """Milliseconds of each answered request of a client that keeps connections busy."""
    from http.client import HTTPConnection

    taken: list[float] = []
    faults: list[str] = []

    def one(number: int) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        until, turn = time.perf_counter() + seconds, number
        while (began := time.perf_counter()) < until:
            connection.request("POST", "/recommend", json.dumps({"user_id": f"u{turn % USERS}", "k": K}))
            answer = connection.getresponse()
            body = answer.read()
            taken.append((time.perf_counter() - began) * 1e3)
            if answer.status != 200 or len(json.loads(body)["items"]) != K:
                faults.append(f"{answer.status} {body!r:.200}")
            turn += CONNECTIONS
        connection.close()

    clients = [threading.Thread(target=one, args=(number,)) for number in range(CONNECTIONS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    if faults:
        raise SystemExit(f"{len(faults)} requests failed: {faults[0]}")
    return taken


def status(port: int) -> Any:
    """Of the one surface."""
    with urlopen(f"http://127.0.0.1:{port}/status", timeout=30) as answer:
        return json.load(answer)["surfaces"]["video-feed"]


@contextmanager
def served(how: str, items: int) -> Iterator[int]:
    """The port of a service in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(port), str(items), home, how], stderr=subprocess.DEVNULL
        )
        try:
            until = time.monotonic() + 300
            while True:
                with suppress(OSError):
                    status(port)
                    break
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"the service {how!r} did not start")
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait(60)


def drained(port: int) -> None:
    """Wait until nothing is done beside the answers any more; a process that ended may wait for its next start."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        now = status(port)
        if now["records"]["pending"] == 0 and all(
            each["pending"] == 0 or each["process"] is None for each in now["shadows"]
        ):
            return
        time.sleep(0.05)


def results(items: int, seconds: float, rounds: int, cases: Sequence[str]) -> Iterator[Result]:
    """Each case beside the service without a shadow."""
    taken: dict[str, list[float]] = {case: [] for case in cases}
    with ExitStack() as stack:
        ports = {case: stack.enter_context(served(case, items)) for case in cases}
        for case in cases:
            load(ports[case], seconds)
            drained(ports[case])
        before = {case: status(ports[case])["shadow"] for case in cases}
        for number in range(rounds):
            for case in sorted(cases, key=lambda each, turn=number: (cases.index(each) * 5 + turn) % len(cases)):
                taken[case] += load(ports[case], seconds)
                drained(ports[case])
        after = {case: status(ports[case])["shadow"] for case in cases}
        swaps = {case: int(status(ports[case])["champion"]["version"]) - 1 for case in PAUSES if case in cases}
    own = {case: np.percentile(values, [50, 99]) for case, values in taken.items()}
    for case in cases:
        if case == "none":
            continue
        counts = f"; {swaps[case]} swaps" if case in swaps else ""
        if after[case] is not None:
            kinds = ("answered", "failed", "dropped", "late", "pending")
            became = {kind: after[case][kind] - before[case][kind] for kind in kinds}
            ended = after[case]["ended"] - before[case]["ended"]
            if sum(became.values()) != len(taken[case]):
                raise SystemExit(f"{case}: {len(taken[case])} requests, of which the shadow knows {became}")
            counts = f"; {', '.join(f'{count} {kind}' for kind, count in became.items() if count)}; ended {ended} times"
        most = {"swap": MOST_SWAP, "swaps": None}.get(case, MOST)
        for name, which in (("p50", 0), ("p99", 1)):
            yield Result(
                f"{case}: {name} of {len(taken[case])} requests{counts}",
                float(own[case][which]),
                "ms",
                "no shadow",
                float(own["none"][which]),
                "told" if most is None else f"at most {most:g} times",
                most is None or bool(own[case][which] <= most * own["none"][which]),
            )


def main() -> None:
    """Measure, or be one of the processes."""
    if sys.argv[1:2] == ["--serve"]:
        serve(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])
        return
    if sys.argv[1:2] == ["--shadow"]:
        shadow(sys.argv[2], int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=CASES[1:], default=CASES[1:])
    options = parser.parse_args()
    report(list(results(options.items, options.seconds, options.rounds, ("none", *options.only))))


if __name__ == "__main__":
    main()
