"""Clients that ask a running service without a pause, and the process that answers them."""

import threading
import time
from pathlib import Path

import httpx

from contracts.home import Home

CLIENTS = 4


class Load:
    """Clients that ask until they are told to stop, and remember what they got."""

    def __init__(self, url: str, users: list[str]) -> None:
        self.ids: list[str] = []
        self._url = url
        self._users = users
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=10) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post("/recommend", json={"user_id": self._users[number], "k": 5})
                except httpx.TransportError:
                    time.sleep(0.05)
                    continue
                if answer.is_success:
                    self.ids.append(answer.json()["response_id"])


def worker_of(home: Home) -> int:
    """The process that writes the records now."""
    paths = list(home.logs.glob("writer.*.count"))
    assert len(paths) == 1
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            if paths[0].name in maps.read_text():
                return int(maps.parent.name)
        except OSError:
            continue
    raise AssertionError("nobody has mapped it")
