"""A client that sends a champion requests of known users, and a few of strangers."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import numpy as np

from contracts.console import progress
from contracts.errors import ServiceUnavailable
from contracts.home import Home
from feature_repo.offline import current_snapshot, read_table

__all__ = ["ReplayResult", "replay", "service_status", "users_to_ask_for"]

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


def service_status(url: str) -> dict[str, Any]:
    """Ask a service what it serves.

    Raises:
        ServiceUnavailable: It does not answer, or is no service of ours.
    """
    with _client(url) as client:
        return _status(client)


def replay(home: Home, url: str, requests: int, k: int = 20, seed: int = 0) -> ReplayResult:
    """Send requests one after the other, then wait until the shadow has answered and everything is recorded.

    Args:
        home: Names the users.
        url: Where the service is.
        requests: How many to send.
        k: Items per request.
        seed: Of the choice of users.

    Raises:
        NotFound: The home has no snapshot.
        ServiceUnavailable: The service does not answer, or its queues do not empty.
    """
    users = users_to_ask_for(home, requests, seed)
    milliseconds = np.empty(requests)
    ok = 0
    with _client(url) as client, progress("requests", requests) as advance:
        _status(client)
        began = time.perf_counter()
        for number, user in enumerate(users):
            started = time.perf_counter()
            try:
                answer = client.post("/recommend", json={"user_id": user, "k": k})
            except httpx.TransportError as error:
                raise _unavailable(url, str(error)) from None
            milliseconds[number] = (time.perf_counter() - started) * 1e3
            ok += answer.is_success
            advance()
        seconds = time.perf_counter() - began
        status = _drained(client)
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


def _status(client: httpx.Client) -> dict[str, Any]:
    url = str(client.base_url).rstrip("/")
    try:
        status = client.get("/status").raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise _unavailable(url, str(error)) from None
    if not isinstance(status, dict) or "champion" not in status:
        raise _unavailable(url, "an answer of another program")
    return status


def _drained(client: httpx.Client) -> dict[str, Any]:
    deadline = time.monotonic() + _DRAIN_LIMIT_S
    while True:
        status = _status(client)
        shadow = status["shadow"] or {"pending": 0}
        pending = shadow["pending"] + status["records"]["pending"]
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
