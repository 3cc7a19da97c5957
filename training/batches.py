"""What a model is handed at a time: users to score, and samples to train on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["PADDING", "Samples", "UserBatch"]

PADDING = -1
"""Fills a history up to its width; also the row number of a user or item nobody knows."""


@dataclass(frozen=True)
class UserBatch:
    """B users to score for."""

    rows: Tensor
    """Row number of each user, -1 where the user is unknown; int64 ``[B]``."""

    history: Tensor
    """Item rows each user has seen, oldest first, padded with -1 on the right; int64 ``[B, n]``."""

    context: Mapping[str, Tensor] = field(default_factory=dict)
    """Name → what the request itself brings, ``[B, ...]``; see ``TrainingFrame.contexts``."""

    def __len__(self) -> int:
        return self.rows.shape[0]

    def to(self, device: torch.device) -> "UserBatch":
        """The same users on another device."""
        context = {name: values.to(device) for name, values in self.context.items()}
        return UserBatch(self.rows.to(device), self.history.to(device), context)


@dataclass(frozen=True)
class Samples:
    """B training pairs, each with K items drawn against its positive."""

    users: Tensor
    """User rows, int64 ``[B]``."""

    positives: Tensor
    """Item rows, int64 ``[B]``."""

    negatives: Tensor
    """Item rows, int64 ``[B, K]``."""

    log_probabilities: Tensor
    """Log-probability with which the sampler drew each negative, float32 ``[B, K]``."""

    context: Mapping[str, Tensor] = field(default_factory=dict)
    """Name → what came with each pair, ``[B, ...]``."""

    def __len__(self) -> int:
        return self.users.shape[0]
