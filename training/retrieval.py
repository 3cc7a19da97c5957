"""Candidates for user vectors: the items with the largest inner product."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt
import torch

from training.halved import HalvedTable, halving_pays
from training.products import Workspace, best_products, pairs_of

__all__ = ["ExactIndex", "Found", "Index", "kept", "outside", "selector"]

Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]
"""Item rows and their inner products, best first, each ``[<= k]``."""


_MANY = 2
"""Users from whom on one matrix product is quicker than FAISS, which looks at them one by one."""

_TRIED = 1 << 10
"""Users after whom a table in half precision is given up if it left most of them in doubt."""

_COMPARED = 1 << 16
"""Pairs of rows up to which comparing each pair is quicker than sorting."""

_MORE = 8
"""Items found beyond those that are wanted, to tell whether the last of these is better than all that was not found."""


class Index(ABC):
    """Finds the items of the largest inner product with user vectors, all of them or nearly."""

    kind: Literal["exact", "hnsw"] = "exact"

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def add(self, item_vectors: npt.NDArray[np.float32]) -> None:
        """Append items, ``[n, D]``; their rows follow those that are there."""

    def search(
        self,
        user_vector: npt.NDArray[np.float32],
        k: int,
        exclude: Sequence[int] | npt.NDArray[np.int64] = (),
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> Found:
        """The best ``k`` items that are not excluded.

        Args:
            user_vector: ``[D]`` float32.
            k: How many items; fewer come back where the table runs out.
            exclude: Item rows not to return; rows below zero are ids the table does not know, and are ignored.
            allowed: Whether an item may be returned, ``[N]``; all may if None.
        """
        return self.search_all(user_vector[np.newaxis], k, [exclude], allowed)[0]

    @abstractmethod
    def search_all(
        self,
        user_vectors: npt.NDArray[np.float32],
        k: int,
        excludes: Sequence[Sequence[int] | npt.NDArray[np.int64]],
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> list[Found]:
        """:meth:`search` for B users in one matrix product.

        Args:
            user_vectors: ``[B, D]`` float32.
            k: How many items of each.
            excludes: Item rows not to return to each, B of them.
            allowed: Whether an item may be returned to anyone, ``[N]``.
        """


class ExactIndex(Index):
    """Exhaustive inner-product search over a table of item vectors.

    FAISS takes its number of threads from ``OMP_NUM_THREADS``: its own setter holds for the calling thread only.

    Args:
        item_vectors: ``[N, D]`` float32, one row per item. Copied.
    """

    def __init__(self, item_vectors: npt.NDArray[np.float32]) -> None:
        self._index = faiss.IndexFlatIP(item_vectors.shape[1])
        self._longest = 0.0
        self._workspace = Workspace()
        self._halved: HalvedTable | None = None
        """For many users at a time, as long as it tells most users' best."""
        self._looked = self._doubted = 0
        self.add(item_vectors)
        if halving_pays(len(item_vectors)):
            self._halved = HalvedTable(self._table)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, item_vectors: npt.NDArray[np.float32]) -> None:
        """Append items, ``[n, D]``; their rows follow those that are there."""
        self._index.add(np.ascontiguousarray(item_vectors, dtype=np.float32))
        self._longest = max(self._longest, float(np.linalg.norm(item_vectors, axis=1).max(initial=0.0)))
        if self._halved is not None:
            self._halved.add(item_vectors)

    def search_all(
        self,
        user_vectors: npt.NDArray[np.float32],
        k: int,
        excludes: Sequence[Sequence[int] | npt.NDArray[np.int64]],
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> list[Found]:
        """See :meth:`Index.search_all`."""
        users = np.ascontiguousarray(user_vectors, dtype=np.float32)
        banned = [np.asarray(exclude, dtype=np.int64) for exclude in excludes]
        found, doubtful = self._search(users, k, banned, allowed, self._halved if len(users) >= _MANY else None)
        if self._halved is not None and len(users) >= _MANY:
            self._looked, self._doubted = self._looked + len(users), self._doubted + len(doubtful)
            if self._looked >= _TRIED and self._doubted > self._looked / 2:
                self._halved = None
            if len(doubtful):
                anew, still = self._search(users[doubtful], k, [banned[n] for n in doubtful], allowed)
                for number, of_user in zip(doubtful, anew, strict=True):
                    found[number] = of_user
                doubtful = doubtful[still]
        for number in doubtful:
            found[number] = self._among_all(users[number], banned[number], k, allowed)
        return found

    def _search(
        self,
        users: npt.NDArray[np.float32],
        k: int,
        banned: Sequence[npt.NDArray[np.int64]],
        allowed: npt.NDArray[np.bool_] | None,
        halved: HalvedTable | None = None,
    ) -> tuple[list[Found], npt.NDArray[np.int64]]:
        """Items of each user, and the numbers of those users of whom a better one may have been missed."""
        rows, ceilings = self._nearest(users, k, banned, allowed, halved)
        rows, scores = _scored(self._table, rows, users)
        if len(users) >= _MANY and np.isfinite(scores).all():  # the products have left out what is banned
            found = [(best[:k], of_best[:k]) for best, of_best in zip(rows, scores, strict=True)]
        else:
            found = [kept(*of_user, k) for of_user in zip(rows, scores, banned, strict=True)]
        worst = np.array([of_best[-1] if len(of_best) == k else -np.inf for _, of_best in found])
        return found, np.flatnonzero((ceilings > -np.inf) & (worst <= ceilings + self._rounding(users)))

    def _nearest(
        self,
        users: npt.NDArray[np.float32],
        k: int,
        banned: Sequence[npt.NDArray[np.int64]],
        allowed: npt.NDArray[np.bool_] | None,
        halved: HalvedTable | None,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Rows ``[B, n]``, -1 where there are too few, and what no other row scores more than, but for rounding."""
        if len(users) < _MANY:
            depth = min(k + max(map(len, banned), default=0) + _MORE, len(self))
            selected = None if allowed is None else faiss.SearchParameters(**selector(allowed))
            scores, rows = self._index.search(users, depth, params=selected)
        else:
            depth = min(k + _MORE, len(self))
            mask = None if allowed is None else torch.from_numpy(allowed)
            with torch.inference_mode():
                asked, pairs = torch.from_numpy(users), pairs_of(banned, torch.device("cpu"))
                if halved is not None:
                    return halved.best(asked, depth, mask, pairs)
                table = torch.from_numpy(self._table)
                products, best = best_products(asked, table, depth, mask, self._workspace, pairs)
            scores = products.numpy()
            rows = np.where(np.isneginf(scores), -1, best.numpy())
        others = (rows[:, -1] >= 0) & (depth < len(self))
        return rows, np.where(others, scores[:, -1], -np.inf).astype(np.float64)

    @property
    def _table(self) -> npt.NDArray[np.float32]:
        """The vectors where FAISS keeps them, ``[N, D]``."""
        pointer: Any = self._index.get_xb()
        table: npt.NDArray[np.float32] = faiss.rev_swig_ptr(pointer, len(self) * self._index.d)
        return table.reshape(len(self), self._index.d)

    def _rounding(self, users: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """By how much two ways to compute the same inner product of each user, ``[B, D]``, may differ; ``[B]``."""
        lengths = np.linalg.norm(users, axis=1).astype(np.float64)
        differ: npt.NDArray[np.float64] = 2 * users.shape[1] * np.finfo(np.float32).eps * lengths * self._longest
        return differ

    def _among_all(
        self,
        user: npt.NDArray[np.float32],
        banned: npt.NDArray[np.int64],
        k: int,
        allowed: npt.NDArray[np.bool_] | None,
    ) -> Found:
        """The best where many score alike, so that rounding would decide which of them are found."""
        table = self._table
        near = table @ user
        if allowed is not None:
            near[~allowed] = -np.inf
        near[banned[banned >= 0]] = -np.inf
        least = np.partition(near, len(near) - k)[len(near) - k] - 2 * self._rounding(user[np.newaxis])[0]
        rows = np.flatnonzero((near >= least) & (near > -np.inf))
        best, scores = _scored(table, rows[np.newaxis], user[np.newaxis])
        return kept(best[0], scores[0], banned, k)


def _scored(
    table: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], users: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Rows of each user, best first, and their scores, each ``[B, n]``; minus infinity of rows below zero.

    Scored anew, row by row: the last digits of a product depend on how many users share it.
    """
    scores = np.einsum("bnd,bd->bn", table[rows], users)
    scores[rows < 0] = -np.inf
    order = np.lexsort((rows, -scores), axis=-1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def selector(allowed: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """The argument of FAISS' search parameters that leaves out what is not allowed, ``[N]``."""
    # The type stubs know the C++ constructors only; those of Python take arrays and keep them alive.
    of_python: Any = faiss.IDSelectorBitmap
    return {"sel": of_python(np.packbits(allowed, bitorder="little"))}


def outside(rows: npt.NDArray[np.int64], banned: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which rows are not among others, ``[n]``."""
    if len(rows) * len(banned) > _COMPARED:
        return np.isin(rows, banned, invert=True)
    absent: npt.NDArray[np.bool_] = ~(rows[:, np.newaxis] == banned).any(axis=1)
    return absent


def kept(rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], banned: npt.NDArray[np.int64], k: int) -> Found:
    """The first ``k`` of what a search found that are not banned.

    Args:
        rows: Item rows, best first; -1, with which FAISS fills up where it finds too few, is left out.
        scores: Their inner products; minus infinity is left out.
        banned: Item rows not to return.
        k: How many.
    """
    left = np.flatnonzero((rows >= 0) & (scores > -np.inf) & outside(rows, banned))[:k]
    return rows[left], scores[left]
