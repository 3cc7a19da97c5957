"""The service's path of a request beside a bare Starlette application that does the same matrix product and top-k.

Run: ``python benchmarks/serving.py [--json] [--items 100000] [--seconds 3] [--turns 3]``.

A two-tower champion of 128 components, k = 20. Both applications run under uvicorn, one worker each, in processes of
their own; both find candidates with the same exact index, on one thread. The champion's has the whole path: validation
of the body, histories of 50 videos (from memory: the online store has benchmarks of its own), exclusions, the
response's contract, records in SQLite. The client keeps eight connections busy, server and client share the machine,
and they are asked in turns; figures are medians over the turns. A second champion answers requests one by one, as where
nothing waits: what batches gain is measured against that, since requests that wait are a batch already.
"""

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # before this file, which has the name of a room

import numpy as np
from _champion import USERS, WIDTH, Histories, K, champion
from _measure import Result, report

CONNECTIONS, BATCH = 8, 256
LEAST_SHARE, LEAST_BATCH, MOST_OWN_MS = 0.7, 10.0, 2.0


def vectors(rows: int, seed: int) -> Any:
    """Normal vectors, ``[rows, 128]``."""
    return np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)


def bare(items: int) -> Any:
    """Starlette, an index, JSON."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from training.retrieval import ExactIndex

    index, users = ExactIndex(vectors(items, 0)), vectors(USERS, 1)

    async def recommend(request: Request) -> JSONResponse:
        body = await request.json()
        rows, scores = index.search(users[int(body["user_id"][1:])], body["k"])
        names = [f"v{row}" for row in rows.tolist()]
        return JSONResponse({"items": names, "scores": scores.tolist()})

    return Starlette(routes=[Route("/recommend", recommend, methods=["POST"])])


def ours(items: int, home_root: Path, alone: bool) -> Any:
    """The service's application with a champion made by hand; it answers each request alone, or what waits together."""

    from contracts.database import Database
    from contracts.home import Home
    from contracts.settings import load_settings
    from serving.app import build_app
    from serving.batching import Gathering
    from serving.engine import Engine
    from serving.lineup import Lineup
    from serving.recommend import Ranker
    from serving.records import Recorder
    from serving.surfaces import Surfaces

    package = champion(items, home_root)
    settings = load_settings(home=home_root)

    def open_surfaces() -> Surfaces:
        recorder = Recorder(Database(settings, Home.open(settings)))
        lineup, gathering = Lineup(Ranker("1", package), Histories(items)), Gathering(most=1) if alone else None
        engine = Engine("video-feed", lineup, recorder, gathering=gathering)
        engine.warm_up([f"u{row}" for row in range(20)])
        return Surfaces({"video-feed": engine}, recorder.feedback)

    return build_app(open_surfaces)


@contextmanager
def served(which: str, items: int, home: str) -> Iterator[int]:
    """The port of an application in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen([sys.executable, __file__, "--serve", which, str(port), str(items), home])
    try:
        until = time.monotonic() + 120
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the {which} application did not start")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def serve(which: str, port: int, items: int, home: str) -> None:
    """Run one application in this process."""
    import uvicorn

    from contracts.process import prepare_process

    prepare_process(1)
    if which != "bare":
        sys.setswitchinterval(0.0005)  # as the service does
    app = bare(items) if which == "bare" else ours(items, Path(home), alone=which == "one by one")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


def load(port: int, path: str, body: Callable[[int], object], seconds: float, connections: int) -> list[float]:
    """Seconds of each answered request of a client that keeps connections busy."""
    taken: list[float] = []

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        until, turn = time.perf_counter() + seconds, number
        while (began := time.perf_counter()) < until:
            content = json.dumps(body(turn)).encode()
            head = f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(content)}\r\n\r\n"
            writer.write(head.encode() + content)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"{path}: {answer!r:.200}")
            length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            taken.append(time.perf_counter() - began)
            turn += connections
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(one(number) for number in range(connections)))

    asyncio.run(all_of_them())
    return taken


def rate_of(port: int, path: str, body: Callable[[int], object], seconds: float, connections: int) -> float:
    """Answered requests a second."""
    began = time.perf_counter()
    return len(load(port, path, body, seconds, connections)) / (time.perf_counter() - began)


def single(number: int) -> object:
    """A request of one user."""
    return {"user_id": f"u{number % USERS}", "k": K}


def batch(number: int) -> object:
    """A request of 256 users."""
    return {"user_ids": [f"u{(number * BATCH + each) % USERS}" for each in range(BATCH)], "k": K}


def results(items: int, seconds: float, turns: int) -> Iterator[Result]:
    """Throughput beside the bare application, of batches beside single requests, and the path's own time."""
    rates: dict[str, list[float]] = {"ours": [], "one by one": [], "bare": [], "batch": []}
    alone: dict[str, list[float]] = {"ours": [], "bare": []}
    with ExitStack() as stack:
        ports = {}
        for name in ("ours", "one by one", "bare"):
            home = stack.enter_context(tempfile.TemporaryDirectory())
            ports[name] = stack.enter_context(served(name, items, home))
        for _ in range(turns):
            for name, port in ports.items():
                rates[name].append(rate_of(port, "/recommend", single, seconds, CONNECTIONS))
            for name in alone:
                alone[name].append(median(load(ports[name], "/recommend", single, seconds / 2, 1)) * 1e3)
            rates["batch"].append(BATCH * rate_of(ports["ours"], "/recommend/batch", batch, seconds, 2))
    rate = {name: median(values) for name, values in rates.items()}
    name = f"{items:,} items x {WIDTH}, k = {K}"
    yield Result(
        f"requests of a two-tower champion, {name}",
        rate["ours"],
        "1/s",
        "bare Starlette, same index",
        rate["bare"],
        f"at least {LEAST_SHARE}",
        rate["ours"] >= LEAST_SHARE * rate["bare"],
    )
    yield Result(
        f"the same, one by one, {name}",
        rate["one by one"],
        "1/s",
        "bare Starlette, same index",
        rate["bare"],
        f"at least {LEAST_SHARE}",
        rate["one by one"] >= LEAST_SHARE * rate["bare"],
    )
    yield Result(
        f"users in batches of {BATCH}, {name}",
        rate["batch"],
        "1/s",
        "single requests, one by one",
        rate["one by one"],
        f"at least {LEAST_BATCH:g} times",
        rate["batch"] >= LEAST_BATCH * rate["one by one"],
    )
    own = median(alone["ours"]) - median(alone["bare"])
    yield Result(
        "the platform's own work, p50 of one connection",
        own,
        "ms",
        "bare Starlette, same index",
        median(alone["bare"]),
        f"under {MOST_OWN_MS:g} ms",
        own < MOST_OWN_MS,
    )


def main() -> None:
    """Measure, or serve one application."""
    if sys.argv[1:2] == ["--serve"]:
        which, port, items, home = sys.argv[2:]
        serve(which, int(port), int(items), home)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    report(list(results(options.items, options.seconds, options.turns)))


if __name__ == "__main__":
    main()
