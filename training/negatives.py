"""Negative items for losses that compare.

A sampler has ``sample(users, k, generator)``, which returns items and the log-probability of each draw: a sampled
softmax has to correct its scores by it. BPR does without.
"""

import torch
from torch import Tensor

from contracts.errors import BadInput

__all__ = ["UniformNegatives"]


class UniformNegatives:
    """Draws uniformly from the items a user has not seen in training; never a known positive.

    The r-th unseen item is found directly instead of by rejection: with a user's positives sorted as
    p_0 < p_1 < ..., the number of unseen items before p_j is p_j - j, so the r-th unseen item is r plus the
    number of j with p_j - j <= r. One sorted array of all users' keys answers a whole batch.

    Args:
        pairs: Known positives (user row, item row), distinct, int64 ``[n, 2]``.
        users: Number of users.
        items: Number of items.

    Raises:
        BadInput: Some user has seen every item, so that nothing is left to draw.
    """

    def __init__(self, pairs: Tensor, users: int, items: int) -> None:
        order = torch.argsort(pairs[:, 0] * items + pairs[:, 1])
        rows, columns = pairs[order].T
        self._seen = torch.bincount(rows, minlength=users)
        full = int(self._seen.argmax()) if users else 0
        if users and int(self._seen[full]) >= items:
            raise BadInput(
                f"training pairs of user row {full}",
                found=f"all {items:,} items seen",
                expected="at least one item left to serve as a negative",
                next_step="drop that user, or add items, and ingest again",
            )
        self._start = torch.cumsum(self._seen, 0) - self._seen
        self._stride = items + 1
        rank = torch.arange(len(rows), device=rows.device) - self._start[rows]
        self._keys = rows * self._stride + columns - rank
        self._unseen = items - self._seen

    def sample(self, users: Tensor, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """K independent negatives of each user, so that one may come twice.

        Args:
            users: User rows, int64 ``[B]``.
            k: How many.
            generator: Source of randomness, on the same device.

        Returns:
            Item rows, int64 ``[B, K]``, and the log-probability with which each was drawn, float32 ``[B, K]``.
        """
        users = users.unsqueeze(1).expand(-1, k).contiguous()
        unseen = self._unseen[users]
        uniform = torch.rand(users.shape, generator=generator, device=users.device, dtype=torch.float64)
        rank = (uniform * unseen).long()
        before = torch.searchsorted(self._keys, users * self._stride + rank, right=True) - self._start[users]
        return rank + before, -unseen.float().log()
