"""Drives a running service with visitors, several at a time."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from contracts.clock import utc_now
from contracts.console import Advance, progress
from contracts.errors import ServiceUnavailable
from contracts.feedback import FeedbackReceipt
from contracts.surfaces import VIDEO_FEED
from feature_repo.simulator.platform import Platform
from serving.replay import service_status
from serving.traffic.appetite import Appetite, appetite_for
from serving.traffic.audience import Audience, Visit, audience_of
from serving.traffic.look import Act, Look
from serving.traffic.tally import Tally, TrafficResult

__all__ = ["Traffic", "drive"]

_MOST_EVENTS = 500
_UNANSWERED = 20
"""Requests in a row without an answer of any kind, after which nobody is there."""
_MOST_EXCLUDED = 10_000

Event = dict[str, Any]


@dataclass(frozen=True)
class Traffic:
    """How many come, how often, and how they behave."""

    requests: int | None = 1_000
    """Visits; None for no end but ``seconds``."""
    seconds: float | None = None
    """How long visitors come; None for no end but ``requests``."""
    rate: float | None = 50.0
    """Visits per second on average; None for as many as are let in."""
    concurrency: int = 16
    """Visitors who are let in at a time."""
    k: int = 20
    """Items per list."""
    surface: str = VIDEO_FEED
    users: int | None = None
    """How many of the platform's users may come; all if None."""
    strangers: float = 0.05
    """Share of visits by users that nobody knows."""
    patience: float = 0.9
    """Chance that a visitor goes on to the next item."""
    late: float = 0.01
    """Share of the events that are held back until everybody has left."""
    duplicates: float = 0.02
    """Share of the feedback that is sent twice."""
    seed: int = 0


def drive(platform: Platform, url: str, traffic: Traffic) -> TrafficResult:
    """Let users of a platform visit a service, and wait until all feedback is acknowledged.

    Equal seeds give equal visits; where the lists are equal too, equal events. Somebody's own visits come one after the
    other.

    Args:
        platform: The one that the service was made with.
        url: Where the service is.
        traffic: What is wanted; one of ``requests`` and ``seconds`` is given.

    Raises:
        BadInput: The platform has nobody who could ask for this.
        ServiceUnavailable: The service does not answer, or stops answering.
    """
    service_status(url, traffic.surface)
    audience = audience_of(platform, traffic.surface, traffic.seed, traffic.users, traffic.strangers)
    appetite = appetite_for(traffic.surface, platform, audience)
    try:
        return asyncio.run(_Drive(url, traffic, audience, appetite).run())
    except ExceptionGroup as several:  # of visits that were under way at once
        raise several.exceptions[0] from None


class _Drive:
    def __init__(self, url: str, traffic: Traffic, audience: Audience, appetite: Appetite) -> None:
        self._url = url
        self._traffic = traffic
        self._audience = audience
        self._appetite = appetite
        self._look = Look(traffic.patience, appetite.satisfied)
        self._rows = {f"{appetite.letter}{row}": row for row in range(len(appetite))}
        self._clicked: dict[int, list[str]] = defaultdict(list)
        self._held: list[tuple[str, list[Event]]] = []
        self._unanswered = 0
        self._tally = Tally(audience.known)

    async def run(self) -> TrafficResult:
        limits = httpx.Limits(max_connections=self._traffic.concurrency)
        client = httpx.AsyncClient(base_url=self._url, timeout=30.0, trust_env=False, limits=limits)
        began = time.perf_counter()
        with progress("visits", self._traffic.requests) as advance:
            async with client:
                await self._let_in(client, began, advance)
                seconds = time.perf_counter() - began
                for response_id, events in self._held:
                    await self._send(client, response_id, events)
        return self._tally.result(self._url, self._traffic.surface, seconds)

    async def _let_in(self, client: httpx.AsyncClient, began: float, advance: Advance) -> None:
        """Start each visit when it is due and there is a place, until it is enough."""
        places = asyncio.Semaphore(self._traffic.concurrency)
        own: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

        async def visit(one: Visit) -> None:
            try:
                async with own[one.user]:  # first come, first served
                    await self._visit(client, one)
            finally:
                places.release()
            advance()

        async with asyncio.TaskGroup() as group:
            for one in self._audience.visits(self._traffic.seed, self._traffic.rate):
                if one.number == self._traffic.requests:
                    return
                early = one.due_s - (time.perf_counter() - began)
                if early > 0:
                    await asyncio.sleep(early)
                await places.acquire()
                now = time.perf_counter() - began
                if self._traffic.seconds is not None and now > self._traffic.seconds:
                    return
                if self._traffic.rate is not None:
                    self._tally.behind_s = max(self._tally.behind_s, now - one.due_s)
                self._tally.sent += 1
                group.create_task(visit(one))

    async def _visit(self, client: httpx.AsyncClient, visit: Visit) -> None:
        body: dict[str, Any] = {"user_id": self._audience.name(visit.user), "k": self._traffic.k}
        if self._clicked[visit.user]:
            body["exclude"] = self._clicked[visit.user][-_MOST_EXCLUDED:]
        if self._traffic.surface != VIDEO_FEED:
            body["surface"] = self._traffic.surface
        if visit.video is not None:
            body["video_id"] = f"v{visit.video}"
        started = time.perf_counter()
        answer = await self._post(client, "/recommend", body)
        if answer is None:
            return
        self._tally.answered(visit.user, (time.perf_counter() - started) * 1e3)
        items = [item["item_id"] for item in answer["items"]]
        acts = self._watch(visit, items, answer)
        await self._tell(client, visit, answer["response_id"], items, acts)

    def _watch(self, visit: Visit, items: Sequence[str], answer: dict[str, Any]) -> list[Act]:
        """What the visitor does with the list."""
        rows = np.array([self._rows.get(item, -1) for item in items], np.int64)
        chances = self._appetite.chances(visit, np.maximum(rows, 0))
        chances.click[rows < 0] = 0.0
        acts = list(self._look.acts(visit.rng, chances))
        self._clicked[visit.user] += [items[act.place] for act in acts if act.kind == "click"]
        unknown = sum(rows[act.place] < 0 for act in acts if act.kind == "impression")
        self._tally.looked(visit.user, answer, acts, self._look.expected(chances), int(unknown))
        return acts

    async def _tell(
        self, client: httpx.AsyncClient, visit: Visit, response_id: str, items: Sequence[str], acts: Sequence[Act]
    ) -> None:
        """Send what was done: a little of it late, a little twice."""
        at = utc_now().isoformat()
        held = visit.rng.random(len(acts)) < self._traffic.late
        events: list[Event] = []
        later: list[Event] = []
        for act, late in zip(acts, held, strict=True):
            event = {"event_id": f"{act.kind}-{act.place}", "kind": act.kind, "item_id": items[act.place], "at": at}
            (later if late else events).append(event if act.seconds is None else {**event, "seconds": act.seconds})
        if later:
            self._held.append((response_id, later))
        await self._send(client, response_id, events)
        if visit.rng.random() < self._traffic.duplicates:
            await self._send(client, response_id, events)

    async def _send(self, client: httpx.AsyncClient, response_id: str, events: Sequence[Event]) -> None:
        for start in range(0, len(events), _MOST_EVENTS):
            part = events[start : start + _MOST_EVENTS]
            receipt = await self._post(client, "/feedback", {"response_id": response_id, "events": part})
            if receipt is None:
                self._tally.lost(len(part))
            else:
                self._tally.received(FeedbackReceipt.model_validate(receipt))

    async def _post(self, client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; None, and a count, where it is an error."""
        try:
            answer = await client.post(path, json=body)
        except httpx.TransportError as error:
            self._tally.failed(type(error).__name__)
            self._unanswered += 1
            if self._unanswered >= _UNANSWERED:
                raise ServiceUnavailable(
                    f"service {self._url}",
                    found=f"{_UNANSWERED} requests in a row without an answer: {error}",
                    expected="the recommender service, answering",
                    next_step="start it with `backbeat serve` and send the traffic again",
                ) from None
            return None
        self._unanswered = 0
        if not answer.is_success:
            self._tally.failed(_code(answer))
            return None
        found: dict[str, Any] = answer.json()
        return found


def _code(answer: httpx.Response) -> str:
    """Of the platform's own error, else the HTTP status."""
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"
