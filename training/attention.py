"""Multi-head attention of users over the items of their histories."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

__all__ = ["HistoryAttention", "Places", "Readings"]

_LEAST_SHARE = 1e-6
"""What a left-out place leaves below this share of all weights is lost to rounding and counts as nothing."""


class Places(NamedTuple):
    """The E visible places of B histories, one after the other; most histories are short."""

    row: Tensor
    """Whose history it is in, ascending, int64 ``[E]``."""
    item: Tensor
    """Position of its item in the encodings, int64 ``[E]``."""


class Readings(NamedTuple):
    """R readings of B histories, each without one of its places: a target must not see itself while training."""

    row: Tensor
    """Which history is read, int64 ``[R]``."""
    without: Tensor
    """Which of the E places is left out, -1 where none is, int64 ``[R]``."""


class HistoryAttention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) with one query per user, over sparse histories.

    Equal to the textbook form. Keys and values are projected once per item instead of once per place, and a history
    that is read without several of its places in turn is attended to once: each of them is subtracted from the sums.

    Args:
        query: Width of a query.
        item: Width of an item's encoding.
        inner: Width of keys and values, over all heads.
        out: Width of the result.
        heads: Number of heads; divides ``inner``.
    """

    def __init__(self, *, query: int, item: int, inner: int, out: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.query = nn.Parameter(torch.zeros(query, inner))
        self.key = nn.Parameter(torch.zeros(item, inner))
        self.value = nn.Parameter(torch.zeros(item, inner))
        self.out = nn.Parameter(torch.zeros(inner, out))

    def forward(
        self,
        queries: Tensor,
        encodings: Tensor,
        places: Places,
        readings: Readings | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            queries: ``[B, query]``.
            encodings: Of items, ``[n, item]``.
            places: What each row sees.
            readings: What is read of them; each row once and whole if None.
            present: Which items have an encoding at all, bool ``[n]``; nobody sees the others. All if None.

        Returns:
            ``[R, out]``, or ``[B, out]`` without readings; zeros for what sees nothing.
        """
        asked = embedding(places.row, queries @ self.query)
        keys = embedding(places.item, encodings @ self.key)
        values = embedding(places.item, encodings @ self.value)
        logits = self._split(asked * keys).sum(2).float() * (keys.shape[1] // self._heads) ** -0.5
        weights = _exponentials_by_row(logits, places.row, len(queries))
        if present is not None:
            weights = weights * present[places.item].unsqueeze(1)
        weighted = (weights.unsqueeze(2) * self._split(values)).flatten(1)
        totals = weights.new_zeros(len(queries), self._heads).index_add(0, places.row, weights)
        sums = weighted.new_zeros(len(queries), weighted.shape[1]).index_add(0, places.row, weighted)
        seen = totals > 0
        if readings is not None:
            least = embedding(readings.row, totals.detach()) * _LEAST_SHARE
            totals, sums = (
                embedding(readings.row, whole) - _chosen(part, readings.without)
                for whole, part in ((totals, weights), (sums, weighted))
            )
            seen = totals > least
        shares = self._split(sums) / torch.where(seen, totals, 1).unsqueeze(2)
        return (shares * seen.unsqueeze(2)).flatten(1) @ self.out

    def _split(self, x: Tensor) -> Tensor:
        """``[E, inner]`` as ``[E, heads, inner / heads]``."""
        return x.view(len(x), self._heads, x.shape[1] // self._heads)


def _exponentials_by_row(logits: Tensor, row: Tensor, rows: int) -> Tensor:
    """exp of ``[E, heads]`` logits less the highest of their row, so that none overflows."""
    index = row.unsqueeze(1).expand_as(logits)
    highest = logits.new_full((rows, logits.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, index, logits.detach(), "amax")
    return (logits - highest.index_select(0, row)).exp()


def _chosen(table: Tensor, rows: Tensor) -> Tensor:
    """Rows of a table, zeros for row -1."""
    if len(table) == 0:
        return table.new_zeros(len(rows), table.shape[1])
    return embedding(rows.clamp(min=0), table) * (rows >= 0).unsqueeze(1)
