"""The largest inner products of users with the rows of a table, a part of the table at a time."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Pairs", "Workspace", "best_products", "pairs_of"]

Pairs = tuple[Tensor, Tensor]
"""Numbers of users, and rows of a table, each ``[n]``."""

_SCORES = 1 << 25
"""Scores held at a time; bounds memory."""

_GROUP = 16
"""Rows of which the best one is looked at first."""


class Workspace:
    """Memory that scores are written to again and again: fresh pages would take as long as the products.

    For one thread.
    """

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def of(self, shape: tuple[int, int], like: Tensor) -> Tensor:
        """Memory of that shape; what it held before is lost."""
        size = shape[0] * shape[1]
        if self._memory is None or self._memory.numel() < size:
            self._memory = like.new_empty(size)
        return self._memory[:size].view(shape)


def best_products(
    users: Tensor,
    table: Tensor,
    depth: int,
    allowed: Tensor | None,
    workspace: Workspace,
    banned: Pairs | None = None,
) -> tuple[Tensor, Tensor]:
    """Scores and rows of the best of each user, best first, each ``[B, depth]``.

    Args:
        users: ``[B, D]``, of the table's type.
        table: ``[N, D]``
        depth: How many, N at most.
        allowed: Whether a row may be found, ``[N]``; the scores of others are minus infinity.
        workspace: For the scores.
        banned: Whose scores are minus infinity too.
    """
    scores, rows = [], []
    parts = -(-len(users) * len(table) // _SCORES)
    step = max(depth, -(-len(table) // parts))
    for start in range(0, len(table), step):
        rest = table[start : start + step]
        part = torch.mm(users, rest.T, out=workspace.of((len(users), len(rest)), users))
        if allowed is not None:
            part.masked_fill_(~allowed[start : start + step], -torch.inf)
        if banned is not None:
            whose, of = banned
            here = slice(None) if parts == 1 else (of >= start) & (of < start + len(rest))
            part[whose[here], of[here] - start] = -torch.inf
        best, places = _best(part, min(depth, len(rest)))
        scores.append(best)
        rows.append(places + start)
    top, order = torch.cat(scores, dim=1).topk(depth, dim=1)
    return top, torch.cat(rows, dim=1).gather(1, order)


def pairs_of(rows: Sequence[npt.NDArray[np.int64]], device: torch.device) -> Pairs:
    """The pairs of B users with rows of their own, B lists; those below zero are left out."""
    flat = np.concatenate([*rows, np.zeros(0, np.int64)])
    users = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
    known = flat >= 0
    return torch.from_numpy(users[known]).to(device), torch.from_numpy(flat[known]).to(device)


def _best(scores: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """As ``topk``, of ``[B, n]``: the best are in the groups that have the best, one maximum for many comparisons."""
    wide = scores.shape[1] // _GROUP
    if wide < depth:
        best, places = scores.topk(depth, dim=1)
        return best, places
    # A group is every so-manieth row: maxima over whole stretches of memory are quick.
    within = torch.arange(0, _GROUP * wide, wide, device=scores.device)
    grouped = scores[:, : _GROUP * wide].view(-1, _GROUP, wide).amax(dim=1)
    groups = _best(grouped, depth)[1]
    rest = torch.arange(_GROUP * wide, scores.shape[1], device=scores.device).expand(len(scores), -1)
    places = torch.cat([(groups.unsqueeze(2) + within).flatten(1), rest], dim=1)
    best, order = scores.gather(1, places).topk(depth, dim=1)
    return best, places.gather(1, order)
