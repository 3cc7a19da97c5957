"""All that each user has seen in training, not only the newest fifty items that a request brings."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.batches import PADDING, UserBatch
from training.sized import SizedByData

__all__ = ["Histories", "HistorySum", "Seen", "history_sum"]


class Seen(NamedTuple):
    """The E items in the histories of B users, one history after the other, each item once in a history."""

    row: Tensor
    """Whose history it is in, ascending, int64 ``[E]``."""
    item: Tensor
    """Item row, ascending within a history, int64 ``[E]``."""


class Histories(SizedByData):
    """Items of U users in segments, part of a model's state.

    Args:
        users: Number of users U.
        items: Number of items N.
    """

    sized = ("items",)

    def __init__(self, users: int, items: int) -> None:
        super().__init__()
        self.register_buffer("starts", torch.zeros(users + 1, dtype=torch.int64))
        self.register_buffer("items", torch.zeros(0, dtype=torch.int64))
        self.starts: Tensor
        self.items: Tensor
        self._width = items

    def take(self, pairs: npt.NDArray[np.int64]) -> None:
        """Hold these pairs of user row and item row, distinct, ``[n, 2]``."""
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        counts = np.bincount(pairs[:, 0], minlength=len(self.starts) - 1)
        device = self.starts.device
        self.starts = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)])).to(device)
        self.items = torch.from_numpy(np.ascontiguousarray(pairs[order, 1])).to(device)

    def counts(self, users: Tensor) -> Tensor:
        """Number of items of each user, int64, of the shape of the user rows."""
        return self.starts[users + 1] - self.starts[users]

    def of(self, batch: UserBatch) -> Seen:
        """What B users have seen: what is held of known users, and what the request brings, each item once."""
        known = batch.rows.clamp(min=0)
        counts = self.counts(known) * (batch.rows >= 0)
        held_row = torch.repeat_interleave(torch.arange(len(batch), device=counts.device), counts)
        first = torch.cumsum(counts, 0) - counts
        within = torch.arange(len(held_row), device=counts.device) - first[held_row]
        held = self.items[self.starts[known][held_row] + within]
        brought_row, place = (batch.history != PADDING).nonzero(as_tuple=True)
        brought = batch.history[brought_row, place]
        keys = torch.unique(torch.cat([held_row * self._width + held, brought_row * self._width + brought]))
        return Seen(keys // self._width, keys % self._width)

    def sample(self, users: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """Histories of at most so many items, longer ones by chance: one item from each of ``size`` equal parts.

        Args:
            users: User rows, int64 ``[B]``.
            size: Largest length n.
            generator: Source of randomness, on the same device.

        Returns:
            Item rows, int64 ``[B, n]``, padded with -1 on the right. In a longer history each item is expected
            n / length times; where two parts meet within one item, it may come twice.
        """
        counts = self.counts(users).unsqueeze(1)
        place = torch.arange(size, device=users.device).expand(len(users), size)
        shift = torch.rand(place.shape, generator=generator, device=users.device, dtype=torch.float64)
        drawn = ((place + shift) * (counts / size)).long().minimum(counts - 1)
        within = torch.where(counts > size, drawn, place)
        visible = within < counts
        position = torch.where(visible, self.starts[users].unsqueeze(1) + within, 0)
        return torch.where(visible, self.items[position], PADDING)


class HistorySum(NamedTuple):
    """The operator that sums item vectors over each user's history, and its transpose, which the gradient needs."""

    forward: Tensor
    """Sparse CSR float32 ``[U, N]``, 1 where the user has seen the item."""
    transpose: Tensor
    """Sparse CSR float32 ``[N, U]``."""

    @classmethod
    def of(cls, pairs: npt.NDArray[np.int64], users: int, items: int) -> "HistorySum":
        """Of distinct pairs of user row and item row, ``[n, 2]``."""
        return cls(
            _indicator(pairs[:, 0], pairs[:, 1], (users, items)), _indicator(pairs[:, 1], pairs[:, 0], (items, users))
        )

    def to(self, device: torch.device) -> "HistorySum":
        """The same on another device."""
        return HistorySum(self.forward.to(device), self.transpose.to(device))


def history_sum(operator: HistorySum, table: Tensor) -> Tensor:
    """Sum of the rows of a table over each user's history, ``[U, d]``; differentiable in the table ``[N, d]``."""
    product: Tensor = _Product.apply(operator, table)  # type: ignore[no-untyped-call]
    return product


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, operator: HistorySum, table: Tensor) -> Tensor:
        context.transpose = operator.transpose
        return operator.forward @ table

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, context.transpose @ gradients[0]


def _indicator(rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], shape: tuple[int, int]) -> Tensor:
    order = np.lexsort((columns, rows))
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=shape[0]))])
    return torch.sparse_csr_tensor(
        torch.from_numpy(starts),
        torch.from_numpy(np.ascontiguousarray(columns[order])),
        torch.ones(len(rows)),
        size=shape,
        check_invariants=True,
    )
