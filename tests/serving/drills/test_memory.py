"""Requests of all kinds leave nothing behind in the process that answers; `benchmarks/endurance.py` asks 50,000."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil

from tests.serving.drills.conftest import Served, Site

WARM, MORE, CLIENTS = 1_000, 1_500, 4


def requests_of(number: int) -> tuple[str, dict[str, Any], int]:
    """Path, body and the status to come."""
    if number % 50 == 49:
        return "/recommend/batch", {"user_ids": [f"u{each}" for each in range(40)], "k": 10}, 200
    if number % 10 == 9:
        return "/recommend", {"user_id": f"u{number}", "k": -number}, 400
    return "/recommend", {"user_id": f"u{number % 130}", "k": 5 + number % 20, "exclude": [f"v{number % 60}"]}, 200


def ask(served: Served, first: int, count: int) -> None:
    clients = threading.local()

    def one(number: int) -> None:
        if not hasattr(clients, "client"):
            clients.client = httpx.Client(base_url=served.url, timeout=60, trust_env=False)
        path, body, status = requests_of(number)
        assert clients.client.post(path, json=body).status_code == status

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(one, range(first, first + count)))


def test_memory_stays_where_it_is(trained: Site) -> None:
    with trained.served() as served:
        (worker,) = served.workers()
        ask(served, 0, WARM)
        before = worker.memory_info().rss
        ask(served, WARM, MORE)
        assert worker.memory_info().rss <= 1.1 * before
        assert psutil.pid_exists(worker.pid)
