"""Candidates for a user vector: the items with the largest inner product."""

from collections.abc import Sequence

import faiss
import numpy as np
import numpy.typing as npt

__all__ = ["ExactIndex"]


class ExactIndex:
    """Exhaustive inner-product search over a table of item vectors.

    FAISS takes its number of threads from ``OMP_NUM_THREADS``: its own setter holds for the calling thread only.

    Args:
        item_vectors: ``[N, D]`` float32, one row per item. Copied.
    """

    def __init__(self, item_vectors: npt.NDArray[np.float32]) -> None:
        self._index = faiss.IndexFlatIP(item_vectors.shape[1])
        self._index.add(np.ascontiguousarray(item_vectors, dtype=np.float32))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(
        self, user_vector: npt.NDArray[np.float32], k: int, exclude: Sequence[int] | npt.NDArray[np.int64] = ()
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The best ``k`` items that are not excluded.

        Args:
            user_vector: ``[D]`` float32.
            k: How many items; fewer come back where the table runs out.
            exclude: Item rows not to return; rows below zero are ids the table does not know, and are ignored.

        Returns:
            Item rows and their inner products, best first, each ``[<= k]``.
        """
        banned = np.unique(np.asarray(exclude, dtype=np.int64))
        banned = banned[banned >= 0]
        depth = min(k + len(banned), len(self))
        scores, rows = self._index.search(user_vector[np.newaxis], depth)
        allowed = np.flatnonzero(np.isin(rows[0], banned, invert=True))[:k]
        return rows[0][allowed], scores[0][allowed]
