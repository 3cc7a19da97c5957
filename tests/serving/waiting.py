"""Waiting for what another thread or process is about to do."""

import inspect
import time
from collections.abc import Callable
from typing import Any

_LONGEST_PAUSE_S = 0.1


def until(
    look: Callable[..., Any],
    within_s: float = 60.0,
    *,
    of: Callable[[], Any] | None = None,
    told: Callable[[], object] | None = None,
) -> Any:
    """What is looked for, as soon as it is there.

    Args:
        look: Gives it; what is false is not it yet.
        within_s: Seconds until the test fails.
        of: Asked before each look, which is given the answer: a status.
        told: What else there is to say where the test fails: the end of a log.
    """
    deadline, pause_s = time.monotonic() + within_s, 0.005
    while True:
        given = [] if of is None else [of()]
        if found := look(*given):
            return found
        if time.monotonic() > deadline:
            facts = [f"not within {within_s:g} s: {_source(look)}", *map(repr, given), *([str(told())] if told else [])]
            raise AssertionError("\n".join(facts))
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _source(look: Callable[..., Any]) -> str:
    return (
        inspect.getsource(look).strip()
        if getattr(look, "__name__", "") == "<lambda>"
        else getattr(look, "__qualname__", repr(look))
    )
