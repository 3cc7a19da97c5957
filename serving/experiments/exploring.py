"""Lists that are now and then shuffled, with the chance of each item in its place: what off-policy values need."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Explored", "explore"]

Item = TypeVar("Item")

_WORD = 8
"""Bytes of one draw."""


@dataclass(frozen=True)
class Explored(Generic[Item]):
    """A list as it is shown."""

    items: tuple[Item, ...]
    propensities: tuple[float, ...]
    """Chance of each item in its place, over all draws."""
    shuffled: bool


def explore(ranked: Sequence[Item], k: int, epsilon: float, salt: str, request: str) -> Explored[Item]:
    """Show the first ``k`` as they are ranked or, with chance ``epsilon``, any ``k`` of all in any order alike.

    An item at place p has there the chance (1 - epsilon) [p is its own] + epsilon / n. The draws are a hash of salt and
    request, so that a replay makes the same list.

    Args:
        ranked: n distinct items, best first: those that may be shown at all.
        k: Length of the list at most.
        epsilon: 0 to 1.
        salt: Name of the experiment.
        request: Response id.
    """
    count, length = len(ranked), min(k, len(ranked))
    source = hashlib.shake_128(f"{len(salt)}:{salt}:{request}".encode()).digest(_WORD * (length + 1))
    draws = [int.from_bytes(source[at : at + _WORD], "little") for at in range(0, len(source), _WORD)]
    order = list(range(count))
    shuffled = draws[0] < epsilon * 2.0 ** (8 * _WORD)
    if shuffled:
        for place, draw in enumerate(draws[1:]):
            # The remainder favours the first by less than 1 in 2^50.
            other = place + draw % (count - place)
            order[place], order[other] = order[other], order[place]
    shown = order[:length]
    chances = tuple((1 - epsilon) * (row == place) + epsilon / count for place, row in enumerate(shown))
    return Explored(tuple(ranked[row] for row in shown), chances, shuffled)
