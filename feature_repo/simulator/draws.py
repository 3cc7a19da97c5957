"""What every part of the simulator draws with: named streams of chance, instants, popularity, choice by taste."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

import numpy as np
import numpy.typing as npt

from feature_repo.raw_tables import Microseconds, microseconds

__all__ = [
    "DAY_US",
    "START",
    "START_US",
    "Bools",
    "Floats",
    "Rows",
    "Shelf",
    "apart",
    "at_least",
    "blocks",
    "choose",
    "instants",
    "pick",
    "stream",
    "unit",
]

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

START = datetime(2025, 1, 1, tzinfo=UTC)
"""The first day of every simulated period, a Wednesday."""
START_US = microseconds(START)
DAY_US = timedelta(days=1) // timedelta(microseconds=1)
_BLOCK = 16_384


def stream(seed: int, part: str) -> np.random.Generator:
    """Chance of one part of the platform: asking for more posts does not change who watched what."""
    return np.random.default_rng([seed, zlib.crc32(part.encode())])


def unit(matrix: npt.NDArray[np.floating]) -> Floats:
    """Rows at length 1, ``[n, d]``; a zero row stays zero."""
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.maximum(length, 1e-9), np.float32)


def blocks(count: int) -> Iterator[slice]:
    """Slices that cover ``count`` rows, few enough in each for one matrix of choices."""
    for start in range(0, count, _BLOCK):
        yield slice(start, min(start + _BLOCK, count))


def instants(rng: np.random.Generator, count: int, days: int) -> Microseconds:
    """Instants of the period ``[count]``: any day, few at four in the morning, most at eight in the evening."""
    hours = (rng.beta(2.5, 1.7, count) * 24 + 4) % 24
    return START_US + rng.integers(days, size=count) * DAY_US + (hours / 24 * DAY_US).astype(np.int64)


def apart(times: Microseconds) -> Microseconds:
    """Sorted instants moved by as few microseconds as make all of them different."""
    steps = np.arange(len(times))
    return np.asarray(np.maximum.accumulate(times - steps) + steps)


def pick(rng: np.random.Generator, cumulative: npt.NDArray[np.float64], count: int) -> Rows:
    """Rows ``[count]`` drawn with replacement, with probability proportional to the steps of ``cumulative``."""
    targets = rng.random(count) * cumulative[-1]
    return np.asarray(np.minimum(np.searchsorted(cumulative, targets, side="right"), len(cumulative) - 1))


def at_least(rng: np.random.Generator, weights: npt.NDArray[np.floating], count: int, least: int) -> Rows:
    """Who does each of ``count`` things: everyone ``least`` of them, the others by weight; in random order."""
    everyone = np.repeat(np.arange(len(weights)), least)
    others = pick(rng, np.cumsum(weights, dtype=np.float64), count - len(everyone))
    return rng.permutation(np.concatenate([everyone, others]))


@dataclass(frozen=True)
class Shelf:
    """Things that appear over time and are met in proportion to their popularity."""

    order: Rows
    """``[n]``, rows in order of publication."""
    published: Microseconds
    """``[n]``, sorted."""
    cumulative: npt.NDArray[np.float64]
    """``[n]``, popularity summed in that order."""

    @classmethod
    def of(cls, published: Microseconds, popularity: Floats) -> Self:
        """Put things, ``[n]``, on a shelf."""
        order = np.argsort(published, kind="stable")
        return cls(order, published[order], np.cumsum(popularity[order], dtype=np.float64))

    def offer(self, rng: np.random.Generator, times: Microseconds, count: int) -> Rows:
        """For each instant ``[n]``, ``count`` rows already published; ``[n, count]``, by popularity."""
        there = np.searchsorted(self.published, times, side="right") - 1
        available = self.cumulative[np.maximum(there, 0)]
        targets = rng.random((len(times), count)) * available[:, None]
        return self.order[np.searchsorted(self.cumulative, targets, side="right")]


def choose(rng: np.random.Generator, offered: Rows, scores: npt.NDArray[np.floating]) -> Rows:
    """One of the offered ``[n, k]`` for each row, with probability proportional to exp(score)."""
    best = np.argmax(scores + rng.gumbel(size=scores.shape), axis=1)
    return np.take_along_axis(offered, best[:, None], axis=1)[:, 0]
