"""A shadow's process with the hand-made model: ``python shadow_child.py HOW VERSION``."""

import math
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from conftest import hand_made_package

from contracts.messages import RecommendedItem
from serving.recommend import Query, Ranker
from serving.shadow_process import answer_until_closed

Rank = Callable[[Query], Any]


def slow(ranker: Ranker) -> Rank:
    """As much work as five champions'."""
    return lambda query: [ranker.rank(query) for _ in range(5)][-1]


def crashing(_: Ranker) -> Rank:
    def rank(query: Query) -> None:
        raise MemoryError(f"no room for {query.k} rows")

    return rank


def killed(ranker: Ranker) -> Rank:
    """Gone with the first query of user u1, each time."""

    def rank(query: Query) -> list[RecommendedItem]:
        if query.user_id == "u1":
            os.kill(os.getpid(), signal.SIGKILL)
        return ranker.rank(query)

    return rank


def stuck(ranker: Ranker) -> Rank:
    """Waits at each query until there is a file ``gate`` in the working directory."""

    def rank(query: Query) -> list[RecommendedItem]:
        while not Path("gate").exists():
            time.sleep(0.01)
        return ranker.rank(query)

    return rank


def not_a_number(ranker: Ranker) -> Rank:
    return lambda query: [replace(item, score=math.nan) for item in ranker.rank(query)]


def misshapen(ranker: Ranker) -> Rank:
    return lambda query: [ranker.rank(query)] * query.k


def unknown(_: Ranker) -> Rank:
    return lambda query: [RecommendedItem(item_id=f"w{n}", score=1.0, step="popular") for n in range(query.k)]


def too_long(ranker: Ranker) -> Rank:
    return lambda query: ranker.rank(query) * 2


def sound(ranker: Ranker) -> Rank:
    return ranker.rank


if __name__ == "__main__":
    how, version = sys.argv[1:]
    own = Ranker(version, hand_made_package())
    answer_until_closed(own, globals()[how](own), sys.stdin.buffer, sys.stdout.buffer)
