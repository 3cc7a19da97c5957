"""Approximate retrieval by a navigable graph (HNSW), for catalogues that are too large to look at every item."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import faiss
import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput
from training.retrieval import Found, Index, kept, selector

__all__ = ["HnswIndex"]

_LINKS = 32
"""Neighbours of an item in the graph."""
_BUILDING, _SEARCHING = 128, 192
"""Candidates kept while an item is linked, and while one is looked for, at least."""
_WIDEST = 1_536
"""Candidates beyond which looking for more is not much quicker than looking at all."""
_FEW = 0.2
"""Share of allowed items below which all of them are looked at: the graph's paths lead through items, allowed or not,
and find few of those."""


def _linked(vectors: npt.NDArray[np.float32]) -> Any:
    """The graph of items by distance, with a component more that makes all of them equally long.

    An inner product is no distance: linked by it, items of no great length are nobody's neighbours and never found. Of
    equally long items the nearest to a user is the one of the greatest inner product, so that the same links lead there
    (Bachrach et al. 2014, "Speeding up the Xbox recommender system using a Euclidean transformation").
    """
    squares = np.einsum("nd,nd->n", vectors, vectors)
    rest = np.sqrt(squares.max() - squares)
    index: Any = faiss.IndexHNSWFlat(vectors.shape[1] + 1, _LINKS, faiss.METRIC_L2)
    index.hnsw.efConstruction = _BUILDING
    index.add(np.column_stack([vectors, rest]))
    return index


class HnswIndex(Index):
    """A graph over item vectors; items are added to it without building it again.

    Args:
        item_vectors: ``[N, D]`` float32, one row per item. Copied.
    """

    kind = "hnsw"

    def __init__(self, item_vectors: npt.NDArray[np.float32]) -> None:
        vectors = np.ascontiguousarray(item_vectors, dtype=np.float32)
        width = vectors.shape[1]
        self._index: Any = faiss.IndexHNSWFlat(width, _LINKS, faiss.METRIC_INNER_PRODUCT)
        if len(vectors):
            linked = _linked(vectors)
            links = cast(Any, linked.hnsw)
            links.is_similarity = True
            self._index.hnsw = links  # a copy
            self._index.storage.add(vectors)
            self._index.ntotal = len(vectors)
        self._index.hnsw.efConstruction = _BUILDING
        self._index.hnsw.efSearch = _SEARCHING

    @classmethod
    def load(cls, path: Path) -> "HnswIndex":
        """Read what :meth:`save` wrote.

        Raises:
            BadInput: The file is not such a graph.
        """
        try:
            index: Any = faiss.read_index(str(path))
        except RuntimeError as error:
            index, said = None, str(error).rsplit("\n", 1)[-1]
        else:
            said = type(index).__name__
        if not isinstance(index, faiss.IndexHNSWFlat):
            raise BadInput(
                path,
                found=f"{said:.200}",
                expected="an HNSW graph of FAISS",
                next_step="train the version again, or restore its artifacts; do not promote it",
            )
        graph = cls.__new__(cls)
        graph._index = index
        index.hnsw.efSearch = max(index.hnsw.efSearch, _SEARCHING)
        return graph

    def save(self, path: Path) -> None:
        """Write the graph with its vectors."""
        # In memory first: a full disk is then an ordinary OSError.
        path.write_bytes(faiss.serialize_index(self._index).tobytes())

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, item_vectors: npt.NDArray[np.float32]) -> None:
        """Append items, ``[n, D]``; their rows follow those that are there."""
        self._index.add(np.ascontiguousarray(item_vectors, dtype=np.float32))

    @property
    def breadth(self) -> int:
        """Candidates kept while the best are looked for; part of what is saved."""
        return int(self._index.hnsw.efSearch)

    def widen(self, users: npt.NDArray[np.float32], k: int = 20, least: float = 0.98) -> float:
        """Look more widely, twice as much at a time, until enough of the best are found.

        How widely one has to look hangs on the vectors: those that scatter evenly need more than those in clusters.

        Args:
            users: ``[B, D]``, such as will ask.
            k: How many are looked for.
            least: Share of the exact best that is to be found; where the greatest breadth is not enough, that stays.

        Returns:
            The share that is found now.
        """
        exact = [set(self._exact(user[np.newaxis], k, np.arange(len(self)))[0][0].tolist()) for user in users]
        while True:
            found = [set(self.search(user, k)[0].tolist()) for user in users]
            share = float(np.mean([len(mine & best) / len(best) for mine, best in zip(found, exact, strict=True)]))
            if share >= least or self.breadth >= _WIDEST:
                return share
            self._index.hnsw.efSearch = min(2 * self.breadth, _WIDEST)

    def search_all(
        self,
        user_vectors: npt.NDArray[np.float32],
        k: int,
        excludes: Sequence[Sequence[int] | npt.NDArray[np.int64]],
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> list[Found]:
        """As :meth:`training.retrieval.Index.search_all`, but may miss some of the best."""
        banned = [np.asarray(exclude, dtype=np.int64) for exclude in excludes]
        depth = min(k + max(map(len, banned), default=0), len(self))
        users = np.ascontiguousarray(user_vectors, dtype=np.float32)
        if allowed is not None and allowed.mean() < _FEW:
            found = self._exact(users, depth, np.flatnonzero(allowed))
        else:
            selected = {} if allowed is None else selector(allowed)
            # Of the graph's options the type stubs know nothing.
            options: Any = getattr(faiss, "SearchParametersHNSW")  # noqa: B009
            parameters = options(efSearch=max(self.breadth, 2 * depth), **selected)
            scores, rows = self._index.search(users, depth, params=parameters)
            found = rows, scores
        return [kept(*of_user, k) for of_user in zip(*found, banned, strict=True)]

    def _exact(
        self, users: npt.NDArray[np.float32], depth: int, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        storage: Any = faiss.downcast_index(self._index.storage)
        table = faiss.rev_swig_ptr(storage.get_xb(), len(self) * self._index.d).reshape(len(self), self._index.d)
        scores = users @ table[rows].T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        return rows[best], np.take_along_axis(scores, best, axis=1)
