"""Which training pairs an epoch visits."""

import torch
from torch import Tensor

__all__ = ["one_of_each_user", "some_of_each_user"]


def some_of_each_user(users: Tensor, most: int) -> Tensor:
    """The first so many pairs of each user, of pairs in random order.

    Args:
        users: Whose each pair is, int64 ``[n]``.
        most: Pairs of a user at most.

    Returns:
        Positions, ascending, int64 ``[m]``.
    """
    order = torch.argsort(users, stable=True)
    counts = torch.bincount(users)
    starts = torch.cumsum(counts, 0) - counts
    place = torch.arange(len(users), device=users.device) - starts[users[order]]
    return order[place < most].sort().values


def one_of_each_user(users: Tensor, generator: torch.Generator) -> Tensor:
    """One pair of each user, chosen and ordered by chance.

    Args:
        users: Whose each pair is, int64 ``[n]``.
        generator: Chooses; on the same device.

    Returns:
        Positions, int64 ``[U']``.
    """
    order = torch.randperm(len(users), generator=generator, device=users.device)
    return order[some_of_each_user(users[order], 1)]
