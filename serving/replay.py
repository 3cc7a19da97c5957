"""A client that sends a champion requests of known users, and a few of strangers."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import numpy as np

from contracts.console import progress
from contracts.errors import ServiceUnavailable
from contracts.home import Home
from contracts.surfaces import BACKGROUND_MUSIC, VIDEO_FEED
from feature_repo.offline import current_snapshot, read_table

__all__ = ["ReplayResult", "replay", "service_status", "users_to_ask_for", "whole_status"]

_STRANGERS = 0.05
"""Share of requests from users the platform has never seen."""

_DRAIN_LIMIT_S = 60.0
_POLL_S = 0.05


@dataclass(frozen=True)
class ReplayResult:
    """How the requests went."""

    url: str
    sent: int
    ok: int
    p50_ms: float
    """Median time from sending a request to having read its answer, in milliseconds, one request at a time."""
    p99_ms: float
    requests_per_s: float
    status: dict[str, Any]
    """What the service says of its versions and of the work beside the answers, after it has drained."""

    def as_dict(self) -> dict[str, Any]:
        """The result as one JSON document."""
        return asdict(self)


def service_status(url: str, surface: str = VIDEO_FEED) -> dict[str, Any]:
    """Ask a service who serves a surface.

    Raises:
        ServiceUnavailable: It does not answer, does not serve the surface, or is no service of ours.
    """
    with _client(url) as client:
        return _status(client, surface)


def whole_status(url: str) -> dict[str, Any]:
    """Ask a service about all its surfaces.

    Raises:
        ServiceUnavailable: It does not answer, or is no service of ours.
    """
    with _client(url) as client:
        return _whole(client)


def replay(home: Home, url: str, requests: int, k: int = 20, seed: int = 0, surface: str = VIDEO_FEED) -> ReplayResult:
    """Send requests one after the other, then wait until the shadow has answered and everything is recorded.

    Args:
        home: Names the users.
        url: Where the service is.
        requests: How many to send.
        k: Items per request.
        seed: Of the choice of users, and of videos where music is asked for them.
        surface: Whose champion is asked.

    Raises:
        NotFound: The home has no snapshot, or no video to ask for.
        ServiceUnavailable: The service does not answer, does not serve the surface, or its queues do not empty.
    """
    bodies = _bodies(home, requests, k, seed, surface)
    milliseconds = np.empty(requests)
    ok = 0
    with _client(url) as client, progress("requests", requests) as advance:
        _status(client, surface)
        began = time.perf_counter()
        for number, body in enumerate(bodies):
            started = time.perf_counter()
            try:
                answer = client.post("/recommend", json=body)
            except httpx.TransportError as error:
                raise _unavailable(url, str(error)) from None
            milliseconds[number] = (time.perf_counter() - started) * 1e3
            ok += answer.is_success
            advance()
        seconds = time.perf_counter() - began
        status = _drained(client, surface)
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return ReplayResult(
        url=url,
        sent=requests,
        ok=ok,
        p50_ms=round(float(p50), 3),
        p99_ms=round(float(p99), 3),
        requests_per_s=round(requests / seconds, 1),
        status=status,
    )


def users_to_ask_for(home: Home, count: int, seed: int) -> list[str]:
    """Users of the current snapshot drawn at random, one in twenty replaced by a user nobody knows.

    Raises:
        NotFound: The home has no snapshot.
    """
    table = read_table(home, current_snapshot(home), "users", columns=["user_id"])
    known = table["user_id"].to_numpy(zero_copy_only=False)
    generator = np.random.default_rng(seed)
    users = generator.choice(known, size=count)
    strangers = generator.random(count) < _STRANGERS
    users[strangers] = [f"stranger-{number}" for number in np.flatnonzero(strangers)]
    return [str(user) for user in users]


def _client(url: str) -> httpx.Client:
    # No proxy from the environment: the service is addressed directly.
    return httpx.Client(base_url=url, timeout=30.0, trust_env=False)


def _bodies(home: Home, count: int, k: int, seed: int, surface: str) -> list[dict[str, Any]]:
    bodies: list[dict[str, Any]] = [
        {"surface": surface, "user_id": user, "k": k} for user in users_to_ask_for(home, count, seed)
    ]
    if surface == BACKGROUND_MUSIC:
        table = read_table(home, current_snapshot(home), "videos", columns=["video_id"])
        videos = np.random.default_rng(seed).choice(table["video_id"].to_numpy(zero_copy_only=False), size=count)
        for body, video in zip(bodies, videos, strict=True):
            body["video_id"] = str(video)
    return bodies


def _whole(client: httpx.Client) -> dict[str, Any]:
    url = str(client.base_url).rstrip("/")
    try:
        status = client.get("/status").raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise _unavailable(url, str(error)) from None
    if not isinstance(status, dict) or "surfaces" not in status:
        raise _unavailable(url, "an answer of another program")
    return status


def _status(client: httpx.Client, surface: str) -> dict[str, Any]:
    status = _whole(client)
    found: dict[str, Any] | None = status["surfaces"].get(surface)
    if found is None:
        why = status["waiting"].get(surface, "it is not to be served")
        raise _unavailable(str(client.base_url).rstrip("/"), f"no surface {surface}: {why}")
    return found


def _drained(client: httpx.Client, surface: str) -> dict[str, Any]:
    deadline = time.monotonic() + _DRAIN_LIMIT_S
    while True:
        status = _status(client, surface)
        pending = sum(shadow["pending"] for shadow in status["shadows"]) + status["records"]["pending"]
        if pending == 0:
            return status
        if time.monotonic() > deadline:
            raise _unavailable(str(client.base_url), f"{pending} lists still waiting after {_DRAIN_LIMIT_S:.0f} s")
        time.sleep(_POLL_S)


def _unavailable(url: str, found: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"service {url}",
        found=found,
        expected="the recommender service, answering",
        next_step="start it with `backbeat serve`, or leave --url out to have one started",
    )
