"""The largest inner products of users with the rows of a table, a part of the table at a time."""

import torch
from torch import Tensor

__all__ = ["best_products"]

_SCORES = 1 << 26
"""Scores held at a time; bounds memory."""


def best_products(users: Tensor, table: Tensor, depth: int, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores and rows of the best of each user, best first, each ``[B, depth]``.

    Args:
        users: ``[B, D]``, of the table's type.
        table: ``[N, D]``
        depth: How many, N at most.
        allowed: Whether a row may be found, ``[N]``; the scores of others are minus infinity.
    """
    scores, rows = [], []
    step = max(depth, _SCORES // len(users))
    for start in range(0, len(table), step):
        part = users @ table[start : start + step].T
        if allowed is not None:
            part.masked_fill_(~allowed[start : start + step], -torch.inf)
        best = part.topk(min(depth, part.shape[1]), dim=1)
        scores.append(best.values)
        rows.append(best.indices + start)
    top, places = torch.cat(scores, dim=1).topk(depth, dim=1)
    return top, torch.cat(rows, dim=1).gather(1, places)
