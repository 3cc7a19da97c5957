"""A table in half precision by which the best rows are looked for, and what its rounding may have hidden."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.products import Pairs, Workspace, best_products

__all__ = ["HalvedTable", "halving_pays"]

_FEWEST = 1 << 12
"""Rows from which on reading half of the memory is worth a second look at what was found."""
_WIDER = 1.5
"""How many times as many rows are found as are wanted: rounded, many scores lie close together."""
_SPARE = 16
"""Rows found beyond those."""


def halving_pays(rows: int) -> bool:
    """Whether products of ``bfloat16`` are quicker here: the processor multiplies it, and the table is long enough."""
    able = torch.cpu.get_capabilities()
    return rows >= _FEWEST and bool(able.get("avx512_bf16") or able.get("amx_bf16"))


class HalvedTable:
    """The rows of a table, rounded to ``bfloat16``.

    Args:
        table: ``[N, D]`` float32. Copied.
    """

    def __init__(self, table: npt.NDArray[np.float32]) -> None:
        self._table = torch.empty((0, table.shape[1]), dtype=torch.bfloat16)
        self._longest = self._moved = 0.0
        self._workspace = Workspace()
        self.add(table)

    def add(self, rows: npt.NDArray[np.float32]) -> None:
        """Append rows, ``[n, D]``."""
        exact = torch.from_numpy(np.ascontiguousarray(rows, np.float32))
        rounded = exact.bfloat16()
        self._table = torch.cat([self._table, rounded])
        self._longest = max(self._longest, _longest_of(exact))
        self._moved = max(self._moved, _longest_of(exact - rounded.float()))

    def best(
        self, users: Tensor, depth: int, allowed: Tensor | None, banned: Pairs | None = None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """More rows than are wanted, and how much any other can score.

        Args:
            users: ``[B, D]`` float32.
            depth: How many are wanted of each user.
            allowed: Whether a row may be found, ``[N]``.
            banned: As of :func:`training.products.best_products`.

        Returns:
            Rows ``[B, n]``, -1 where there are too few; and for each user what bounds the inner product with every
            row that is not among them, ``[B]``: minus infinity where there is none.
        """
        wanted = min(int(_WIDER * depth) + _SPARE, len(self._table))
        halved = users.bfloat16()
        scores, rows = best_products(halved, self._table, wanted, allowed, self._workspace, banned)
        last = scores[:, -1].double()
        # By Cauchy's inequality: u v - u'v' = (u - u') v + u' (v - v').
        hidden = (users - halved.float()).norm(dim=1) * self._longest + halved.float().norm(dim=1) * self._moved
        nearest = torch.finfo(torch.bfloat16).eps / 2  # of a score itself, as it is written
        ceiling = last + last.abs() * nearest + hidden.double()
        found = np.where(torch.isneginf(scores).numpy(), -1, rows.numpy())
        return found, torch.where(torch.isneginf(last), -torch.inf, ceiling).numpy()


def _longest_of(rows: Tensor) -> float:
    return float(rows.norm(dim=1).max()) if len(rows) else 0.0
