"""Ranking metrics at a cut-off, per user."""

import torch
from torch import Tensor

__all__ = ["ndcg", "precision", "recall"]


def recall(hits: Tensor, relevant: Tensor) -> Tensor:
    """Share of a user's held-out items that stand in the list.

    Args:
        hits: Whether the item at each rank is held out, best first, bool ``[U, k]``.
        relevant: Number of held-out items per user, at least 1, int64 ``[U]``.

    Returns:
        float64 ``[U]``.
    """
    return hits.sum(1).double() / relevant


def precision(hits: Tensor, k: int) -> Tensor:
    """Share of the k places that hold a held-out item, float64 ``[U]``.

    Args:
        hits: As for :func:`recall`; fewer than k columns where there are fewer items, the rest count as misses.
        k: The cut-off.
    """
    return hits.sum(1).double() / k


def ndcg(hits: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Discounted gain over that of the best possible list (Järvelin and Kekäläinen 2002), binary gains.

    The item at rank r (from 1) gains 1 / log2(r + 1); the best possible list starts with
    min(relevant, k) held-out items.

    Returns:
        float64 ``[U]``.
    """
    discount = 1 / torch.log2(torch.arange(2, k + 2, dtype=torch.float64, device=hits.device))
    ideal = discount.cumsum(0)[relevant.clamp(max=k) - 1]
    return (hits * discount[: hits.shape[1]]).sum(1) / ideal
