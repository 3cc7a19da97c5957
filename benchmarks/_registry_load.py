"""People who browse the registry's pages: a real server, and many browsers that read, think and go on."""

import asyncio
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from contracts.database import Database
from contracts.home import Home
from contracts.settings import Settings, environment_of_child
from contracts.surfaces import VIDEO_FEED
from registry.web.sessions import open_session
from registry.web.site import Site

__all__ = ["Load", "browse", "serving"]

_THINKING_S = (1.0, 3.0)
"""Between two pages of one person, drawn evenly."""


@dataclass
class Load:
    """What the browsers saw."""

    seconds: list[float] = field(default_factory=list)
    """From the request of a page to its last byte."""
    faults: list[str] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """The time within which that share of the pages came."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@contextmanager
def serving(settings: Settings, home: Home) -> Iterator[tuple[str, int]]:
    """``backbeat ui`` in a process of its own, as people start it, for as long as a block lasts: address and port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "backbeat", "ui", "--port", str(port), "--home", str(home.root), "--no-worker"]
    child = subprocess.Popen(
        command, env=environment_of_child(settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, child)
        yield url, port
    finally:
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=30)


def _wait(url: str, child: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if child.poll() is not None:
            raise RuntimeError(f"backbeat ui ended: {child.communicate()[1]}")
        try:
            if httpx.get(f"{url}/login").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError("backbeat ui did not answer within a minute")


def browse(
    settings: Settings,
    home: Home,
    url: str,
    port: int,
    people: int,
    seconds: float,
    numbers: Sequence[str],
    seed: int = 0,
) -> Load:
    """Have people browse, each in a session of their own, for some time.

    Args:
        settings: Of the home.
        home: Whose sessions are made.
        url: Of the server.
        port: Its port, by which its cookie is named.
        people: How many at once.
        seconds: How long.
        numbers: Versions to look at.
        seed: Of what they choose.
    """
    cookie = Site(settings, home, "127.0.0.1", port).cookie
    database = Database(settings, home)
    secrets = [open_session(database, settings, "owner", owner=True) for _ in range(people)]
    database.close()
    load = Load()

    async def all_of_them() -> None:
        end = time.monotonic() + seconds
        browsers = (_person(load, url, {cookie: secret}, end, numbers, seed + at) for at, secret in enumerate(secrets))
        await asyncio.gather(*browsers)

    asyncio.run(all_of_them())
    return load


async def _person(load: Load, url: str, cookies: dict[str, str], end: float, numbers: Sequence[str], seed: int) -> None:
    draw = random.Random(seed)
    async with httpx.AsyncClient(base_url=url, cookies=cookies, timeout=30) as browser:
        await asyncio.sleep(draw.uniform(0, _THINKING_S[1]))
        while time.monotonic() < end:
            path = _choice(draw, numbers)
            began = time.perf_counter()
            try:
                answer = await browser.get(path)
            except httpx.HTTPError as error:
                load.faults.append(f"{path}: {error!r}")
            else:
                load.seconds.append(time.perf_counter() - began)
                if answer.status_code != 200:
                    load.faults.append(f"{path}: {answer.status_code}")
            await asyncio.sleep(draw.uniform(*_THINKING_S))


def _choice(draw: random.Random, numbers: Sequence[str]) -> str:
    table, first, second = f"/versions/{VIDEO_FEED}", *draw.sample(numbers, 2)
    pages = {
        "/": 3,
        table: 3,
        f"{table}?sort=-primary&page={draw.randint(1, 20)}": 2,
        f"{table}?sort=-test_ndcg_at_10": 2,
        f"{table}?model=mf&author=ada": 1,
        f"{table}?q=no-bias": 1,
        f"{table}?least=0.2&sort=primary": 1,
        f"{table}/{first}": 3,
        f"/compare?surface={VIDEO_FEED}&version={first}&version={second}": 1,
        "/promotions": 1,
        "/features": 1,
        "/quality": 1,
        "/audit": 1,
    }
    return draw.choices(list(pages), weights=list(pages.values()))[0]
