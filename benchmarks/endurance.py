"""Whether the service's memory grows: resident memory of its process before and after many requests.

Run: ``python benchmarks/endurance.py [--json] [--requests 50000] [--items 5000]``.

The application of ``benchmarks/serving.py`` in a process of its own: single requests of many users, known and not, with
exclusions, and one refused body in ten. A tenth of the requests comes before the first reading, so that caches and the
allocator's arenas have their size. The rival is the process itself at that moment.
"""

import argparse
import asyncio
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType

sys.path.append(str(Path(__file__).resolve().parent))

import psutil
from _measure import Result, report

MOST_GROWTH = 1.10
CONNECTIONS = 8


def serving_benchmark() -> ModuleType:
    """``benchmarks/serving.py``, which has the name of a room."""
    specification = importlib.util.spec_from_file_location("serving_benchmark", Path(__file__).with_name("serving.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def body(number: int, items: int) -> bytes:
    """The body of a request; every tenth is to be refused."""
    if number % 10 == 9:
        return json.dumps({"user_id": f"u{number}", "k": -number}).encode()
    known = number % 3 != 0
    exclude = [f"v{(number * 7 + each) % items}" for each in range(number % 5)]
    return json.dumps(
        {"user_id": f"{'u' if known else 'stranger'}{number % 1_000}", "k": 20, "exclude": exclude}
    ).encode()


async def ask(port: int, first: int, count: int, items: int) -> None:
    """Requests ``first`` to ``first + count``, over a few connections."""

    async def one(turn: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(first + turn, first + count, CONNECTIONS):
            content = body(number, items)
            head = f"POST /recommend HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(content)}\r\n\r\n"
            writer.write(head.encode() + content)
            answer = await reader.readuntil(b"\r\n\r\n")
            expected = b"HTTP/1.1 400" if number % 10 == 9 else b"HTTP/1.1 200"
            if not answer.startswith(expected):
                raise SystemExit(f"request {number}: {answer!r:.200}")
            length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
        writer.close()

    await asyncio.gather(*(one(turn) for turn in range(CONNECTIONS)))


def grown(requests: int, items: int) -> Result:
    """Resident memory after all requests, beside that after a tenth of them."""
    serving = serving_benchmark()
    with tempfile.TemporaryDirectory() as home, serving.served("ours", items, home) as port:
        (process,) = psutil.Process().children()
        asyncio.run(ask(port, 0, requests // 10, items))
        before = process.memory_info().rss / 2**20
        asyncio.run(ask(port, requests // 10, requests - requests // 10, items))
        after = process.memory_info().rss / 2**20
    return Result(
        f"resident memory after {requests:,} requests",
        after,
        "MiB",
        "after a tenth of them",
        before,
        f"at most {MOST_GROWTH:g} times",
        after <= MOST_GROWTH * before,
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--items", type=int, default=5_000)
    options = parser.parse_args()
    report([grown(options.requests, options.items)])


if __name__ == "__main__":
    main()
