"""Exact retrieval by matrix products on the model's device, a part of the table at a time."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.products import Pairs, Workspace, best_products, pairs_of
from training.retrieval import Found, Index, kept

__all__ = ["MatrixIndex"]

_SPARE = 4
"""How many times as many candidates are taken by half-precision scores as are scored again."""


class MatrixIndex(Index):
    """Exhaustive inner-product search with torch.

    By ``bfloat16`` the table takes half the memory and is read in half the time. Candidates chosen by scores of that
    precision are scored again in single precision, so that ties by rounding do not decide; what is left is that the
    vectors themselves are rounded, which the measured recall tells.

    Args:
        item_vectors: ``[N, D]`` float32, one row per item. Copied.
        device: Where the table is.
        dtype: Of the table.
    """

    def __init__(
        self,
        item_vectors: npt.NDArray[np.float32],
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._table = torch.from_numpy(np.array(item_vectors, np.float32)).to(device, dtype)
        self._workspace = Workspace()

    def __len__(self) -> int:
        return len(self._table)

    def add(self, item_vectors: npt.NDArray[np.float32]) -> None:
        """Append items, ``[n, D]``; their rows follow those that are there."""
        more = torch.from_numpy(np.array(item_vectors, np.float32))
        self._table = torch.cat([self._table, more.to(self._table.device, self._table.dtype)])

    def search_all(
        self,
        user_vectors: npt.NDArray[np.float32],
        k: int,
        excludes: Sequence[Sequence[int] | npt.NDArray[np.int64]],
        allowed: npt.NDArray[np.bool_] | None = None,
    ) -> list[Found]:
        """As :meth:`training.retrieval.Index.search_all`."""
        banned = [np.asarray(exclude, dtype=np.int64) for exclude in excludes]
        table = self._table
        with torch.inference_mode():
            users = torch.from_numpy(np.ascontiguousarray(user_vectors, np.float32)).to(table.device)
            mask = None if allowed is None else torch.from_numpy(allowed).to(table.device)
            scores, rows = self._best(users, min(k, len(self)), mask, pairs_of(banned, table.device))
            found = rows.cpu().numpy(), scores.cpu().numpy()
        return [kept(*of_user, k) for of_user in zip(*found, banned, strict=True)]

    def _best(self, users: Tensor, depth: int, allowed: Tensor | None, banned: Pairs) -> tuple[Tensor, Tensor]:
        table, exact = self._table, self._table.dtype == torch.float32
        wanted = depth if exact else min(_SPARE * depth, len(table))
        top, rows = best_products(users.to(table.dtype), table, wanted, allowed, self._workspace, banned)
        if exact:
            return top, rows
        again = (table[rows].float() @ users.unsqueeze(2)).squeeze(2)
        top, places = again.masked_fill_(top == -torch.inf, -torch.inf).topk(depth, dim=1)
        return top, rows.gather(1, places)
