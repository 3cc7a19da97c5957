"""Multi-head attention of users over the items of their histories."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

__all__ = ["HistoryAttention", "Places"]


class Places(NamedTuple):
    """The E visible places of B histories, one after the other; most histories are short."""

    row: Tensor
    """Whose history it is in, ascending, int64 ``[E]``."""
    item: Tensor
    """Position of its item in the encodings, int64 ``[E]``."""


class HistoryAttention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) with one query per user, over sparse histories.

    Equal to the textbook form; keys and values are projected once per item instead of once per place.

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

    def forward(self, queries: Tensor, encodings: Tensor, places: Places) -> Tensor:
        """Attend.

        Args:
            queries: ``[B, query]``.
            encodings: Of items, ``[n, item]``.
            places: What each row sees.

        Returns:
            ``[B, out]``; zeros for a row that sees nothing.
        """
        asked = embedding(places.row, queries @ self.query)
        keys = embedding(places.item, encodings @ self.key)
        values = embedding(places.item, encodings @ self.value)
        logits = self._split(asked * keys).sum(2) * (keys.shape[1] // self._heads) ** -0.5
        weights = _softmax_by_row(logits, places.row, len(queries))
        weighted = (weights.unsqueeze(2) * self._split(values)).flatten(1)
        summed = weighted.new_zeros(len(queries), weighted.shape[1]).index_add(0, places.row, weighted)
        return summed @ self.out

    def _split(self, x: Tensor) -> Tensor:
        """``[E, inner]`` as ``[E, heads, inner / heads]``."""
        return x.view(len(x), self._heads, x.shape[1] // self._heads)


def _softmax_by_row(logits: Tensor, row: Tensor, rows: int) -> Tensor:
    """Softmax of ``[E, heads]`` logits over the places of each row."""
    index = row.unsqueeze(1).expand_as(logits)
    highest = logits.new_full((rows, logits.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, index, logits.detach(), "amax")
    exponentials = (logits - highest.index_select(0, row)).exp()
    totals = torch.zeros_like(highest).index_add(0, row, exponentials)
    return exponentials / totals.index_select(0, row)
