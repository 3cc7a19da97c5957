"""Requests that wait for the ranking thread are answered together: one read of features, one matrix product."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Gatherer", "Gathering"]

_Asked = TypeVar("_Asked")
_Given = TypeVar("_Given")

_MEMORY = 0.9
"""Weight of what is known of the time that a request takes, when another one has been measured."""


@dataclass(frozen=True)
class Gathering:
    """How many requests are answered together."""

    most: int = 32
    """At most so many."""
    longest_s: float = 0.05
    """At most as many as are likely to be answered within so many seconds, and one at least."""
    wait_s: float = 0.0
    """How long the thread waits for company where it is free. Under load requests gather by themselves."""


@dataclass(frozen=True, eq=False)
class _Waiting(Generic[_Asked, _Given]):
    asked: _Asked
    future: "asyncio.Future[_Given]"
    loop: asyncio.AbstractEventLoop


class Gatherer(Generic[_Asked, _Given]):
    """Hands what waits to one thread, as many at a time as have gathered while that thread was busy.

    Args:
        executor: Of one thread; others may use it too.
        answer: Answers requests, in their order. Where it fails for several, each is asked alone, so that what is
            wrong with one stays its own.
        gathering: How many at a time.
    """

    def __init__(
        self, executor: Executor, answer: Callable[[Sequence[_Asked]], Sequence[_Given]], gathering: Gathering
    ) -> None:
        self._executor = executor
        self._answer = answer
        self._gathering = gathering
        self._waiting: deque[_Waiting[_Asked, _Given]] = deque()
        self._turning = False
        self._changing = threading.Lock()
        self._each_s = 0.0
        self.answered = 0
        """Requests."""
        self.turns = 0
        """Times that requests were answered; the fewer for their number, the more were answered together."""

    async def ask(self, asked: _Asked) -> _Given:
        """The answer; raises what is wrong with the request."""
        loop = asyncio.get_running_loop()
        one = _Waiting[_Asked, _Given](asked, loop.create_future(), loop)
        with self._changing:
            self._waiting.append(one)
            starts, self._turning = not self._turning, True
        if starts:
            self._executor.submit(self._turn)
        return await one.future

    def _turn(self) -> None:
        """Answer some of those that wait, let in what else the thread has to do, and come again for the others."""
        if self._gathering.wait_s and len(self._waiting) < self._gathering.most:
            time.sleep(self._gathering.wait_s)
        with self._changing:
            taken = [self._waiting.popleft() for _ in range(min(self._fitting(), len(self._waiting)))]
        began = time.perf_counter()
        given = self._given([each.asked for each in taken])
        each_s = (time.perf_counter() - began) / len(taken)
        self._each_s = each_s if not self.turns else _MEMORY * self._each_s + (1 - _MEMORY) * each_s
        self.turns += 1
        self.answered += len(taken)
        # Counted first: whoever has an answer finds it counted. One call into the event loop for all, as each wakes it.
        taken[0].loop.call_soon_threadsafe(_deliver, taken, given)
        with self._changing:
            self._turning = bool(self._waiting)
            if self._turning:
                self._executor.submit(self._turn)

    def _fitting(self) -> int:
        most, longest_s = self._gathering.most, self._gathering.longest_s
        return most if most * self._each_s <= longest_s else max(1, int(longest_s / self._each_s))

    def _given(self, asked: Sequence[_Asked]) -> "list[_Given | Exception]":
        try:
            return list(self._answer(asked))
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            if len(asked) == 1:
                return [error]
            return [given for each in asked for given in self._given([each])]


def _deliver(taken: "Sequence[_Waiting[_Asked, _Given]]", given: "Sequence[_Given | Exception]") -> None:
    for each, what in zip(taken, given, strict=True):
        if each.future.done():
            continue  # whoever asked has gone
        if isinstance(what, Exception):
            each.future.set_exception(what)
        else:
            each.future.set_result(what)
