"""Where videos come from when the model has nothing to say: what a user saw last, and the people around them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.errors import NotFound

__all__ = ["Around", "Neighbours", "Networks"]

_LAST_SEEN = 3
"""Videos of the history, newest first, that neighbours are looked for."""
_PEOPLE = 50
"""People of a user's networks whose histories are read."""
_FROM_NETWORK = 1_000
"""Videos kept of what they watched: as many as a list can be long, and as many again for those it leaves out."""

Around = tuple[tuple[str, float], ...]
"""Videos that the people around a user watched, with the sum of their ties to the user, the greatest first."""


class Neighbours:
    """Videos that are like others in what they contain.

    Args:
        vectors: ``[N, D]`` float32, row = item row; zeros where a video has none. Copied.
    """

    def __init__(self, vectors: npt.NDArray[np.float32]) -> None:
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        self._vectors = vectors / np.where(lengths > 0, lengths, 1).astype(np.float32)

    def __len__(self) -> int:
        return len(self._vectors)

    def add(self, vectors: npt.NDArray[np.float32] | None, count: int) -> None:
        """Append so many videos, ``[count, D]``, behind those that are there; None where nothing is known of them."""
        new = np.zeros((count, self._vectors.shape[1]), np.float32) if vectors is None else Neighbours(vectors)._vectors
        self._vectors = np.concatenate([self._vectors, new])

    def of(self, seen: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The greatest cosine of each video with one of the last that were seen, ``[N]``; not above 0 where unlike all.

        Args:
            seen: Item rows, oldest first, ``[n]``; rows below zero are videos nobody knows.
        """
        last = seen[seen >= 0][-_LAST_SEEN:]
        if not len(last):
            return np.zeros(len(self._vectors), np.float32)
        cosines: npt.NDArray[np.float32] = (self._vectors @ self._vectors[last].T).max(axis=1)
        return cosines


class _Online(Protocol):
    def user_history(self, user_ids: Sequence[str]) -> list[list[str]]: ...

    def read(self, view: str, ids: Sequence[str]) -> pa.Table: ...


class Networks:
    """What the people around users watch, by the networks of the online store.

    Args:
        features: The online store.
        names: Networks to ask.
    """

    def __init__(self, features: _Online, names: Sequence[str]) -> None:
        self._features = features
        self._names = tuple(names)

    def around(self, user_ids: Sequence[str]) -> list[Around]:
        """Videos by the ties of those who watched them, for each user; nothing for one without people around.

        Raises:
            ServiceUnavailable: The online store does not answer.
        """
        ties: list[dict[str, float]] = [defaultdict(float) for _ in user_ids]
        for name in self._names:
            try:
                rows = self._features.read(f"user_network_{name}", user_ids)
            except NotFound:
                continue  # this one is not materialized
            columns = (rows["neighbour_ids"].to_pylist(), rows["weights"].to_pylist())
            for people, neighbours, weights in zip(ties, *columns, strict=True):
                for neighbour, weight in zip(neighbours or (), weights or (), strict=True):
                    people[neighbour] += weight
        nearest = [sorted(people.items(), key=lambda tie: (-tie[1], tie[0]))[:_PEOPLE] for people in ties]
        asked = sorted({neighbour for people in nearest for neighbour, _ in people})
        histories = dict(zip(asked, self._features.user_history(asked), strict=True)) if asked else {}
        return [_watched(people, histories) for people in nearest]


def _watched(people: Sequence[tuple[str, float]], histories: dict[str, list[str]]) -> Around:
    sums: dict[str, float] = defaultdict(float)
    for neighbour, weight in people:
        for video in dict.fromkeys(histories[neighbour]):
            sums[video] += weight
    return tuple(sorted(sums.items(), key=lambda item: (-item[1], item[0]))[:_FROM_NETWORK])
