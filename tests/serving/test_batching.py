"""Requests that wait are answered together, each as it would be alone; what is wrong with one stays its own."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from contracts.database import Database
from contracts.errors import BadInput
from contracts.messages import Filters, RecommendRequest
from serving.app import build_app
from serving.batching import Gatherer, Gathering
from serving.engine import Engine
from serving.lineup import Lineup
from serving.recommend import Ranker
from serving.records import Recorder
from serving.surfaces import Surfaces


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


class Doubling:
    """Doubles numbers, remembers how many at a time, and refuses 13."""

    def __init__(self) -> None:
        self.taken: list[list[int]] = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, asked: Sequence[int]) -> list[int]:
        assert self.free.wait(10)
        self.taken.append(list(asked))
        if 13 in asked:
            raise ValueError("13")
        return [2 * each for each in asked]


def together(gatherer: Gatherer[int, int], busy: Doubling, asked: Sequence[int]) -> list[Any]:
    """What each is answered that asks while the thread is busy with the first."""

    async def ask() -> list[Any]:
        busy.free.clear()
        tasks = [asyncio.create_task(gatherer.ask(each)) for each in asked]
        await asyncio.sleep(0.05)
        busy.free.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(ask())


def test_what_gathers_while_the_thread_is_busy_is_answered_together(executor: ThreadPoolExecutor) -> None:
    doubling = Doubling()
    gatherer = Gatherer(executor, doubling, Gathering(most=4, longest_s=10))
    assert together(gatherer, doubling, range(8)) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert doubling.taken[0][0] == 0
    assert max(map(len, doubling.taken)) == 4
    assert [each for turn in doubling.taken for each in turn] == list(range(8))
    assert (gatherer.answered, gatherer.turns) == (8, len(doubling.taken))


def test_one_that_is_wrong_fails_alone(executor: ThreadPoolExecutor) -> None:
    doubling = Doubling()
    answers = together(Gatherer(executor, doubling, Gathering(longest_s=10)), doubling, [1, 12, 13, 14])
    assert answers[:2] + answers[3:] == [2, 24, 28]
    assert isinstance(answers[2], ValueError)


def test_no_more_are_taken_than_can_be_answered_in_time(executor: ThreadPoolExecutor) -> None:
    taken: list[int] = []

    def slow(asked: Sequence[int]) -> list[int]:
        taken.append(len(asked))
        time.sleep(0.02 * len(asked))
        return list(asked)

    async def ask(gatherer: Gatherer[int, int]) -> None:
        await gatherer.ask(0)
        await asyncio.gather(*(gatherer.ask(each) for each in range(12)))

    asyncio.run(ask(Gatherer(executor, slow, Gathering(longest_s=0.07))))
    assert max(taken) <= 3
    assert sum(taken) == 13


def test_company_is_waited_for_where_that_is_wanted(executor: ThreadPoolExecutor) -> None:
    doubling = Doubling()

    async def ask(gatherer: Gatherer[int, int]) -> None:
        first = asyncio.create_task(gatherer.ask(1))
        await asyncio.sleep(0.02)
        assert await asyncio.gather(first, gatherer.ask(2)) == [2, 4]

    asyncio.run(ask(Gatherer(executor, doubling, Gathering(wait_s=0.5))))
    assert doubling.taken == [[1, 2]]


def test_who_no_longer_waits_does_not_disturb_the_others(executor: ThreadPoolExecutor) -> None:
    doubling = Doubling()

    async def ask(gatherer: Gatherer[int, int]) -> int:
        doubling.free.clear()
        gone = asyncio.create_task(gatherer.ask(1))
        other = asyncio.create_task(gatherer.ask(2))
        await asyncio.sleep(0.05)
        gone.cancel()
        doubling.free.set()
        return await other

    assert asyncio.run(ask(Gatherer(executor, doubling, Gathering()))) == 4


def test_lists_are_those_of_each_request_alone(
    database: Database, ranker: Ranker, histories: Callable[..., Any]
) -> None:
    features = histories(u0=["v0"])
    engine = Engine("video-feed", Lineup(ranker, features), Recorder(database))
    asked = [
        RecommendRequest(user_id="u0", k=2),
        RecommendRequest(user_id="u1", k=4, exclude=["v3"]),
        RecommendRequest(user_id="nobody", k=3),
        RecommendRequest(user_id="u0", k=5),
    ]
    alone = [engine.answer(each).response for each in asked]
    reads = features.reads
    together = [answer.response for answer in engine.answer_all(asked)]
    assert features.reads == reads + 1
    for one, other in zip(alone, together, strict=True):
        assert one.model_dump(exclude={"response_id"}) == other.model_dump(exclude={"response_id"})
    with pytest.raises(BadInput, match="filters"):
        engine.answer_all([asked[0], RecommendRequest(user_id="u0", filters=Filters(longest=3))])
    engine.close()


def test_a_request_that_waits_too_long_is_refused_and_the_next_is_answered(
    database: Database, ranker: Ranker, histories: Callable[..., Any]
) -> None:
    free = threading.Event()
    recorder = Recorder(database)
    engine = Engine("video-feed", Lineup(ranker, histories(u0=["v0"])), recorder)
    surfaces = Surfaces({"video-feed": engine}, recorder.feedback)
    with TestClient(build_app(lambda: surfaces, longest_s=0.3)) as client:
        busy = engine.executor.submit(free.wait, 30)
        refused = client.post("/recommend", json={"user_id": "u0"})
        assert refused.status_code == 503
        assert refused.json()["error"]["found"] == "no answer within 0.3 s"
        free.set()
        assert busy.result()
        assert client.post("/recommend", json={"user_id": "u0"}).status_code == 200
