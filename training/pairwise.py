"""What the models trained by gradient on triplets have in common."""

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.config import PairwiseConfig
from training.loop import fit_pairwise
from training.recommender import FitReport, OnEpoch, Recommender, UserBatch

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["PairwiseRecommender", "known_rows"]


class PairwiseRecommender(Recommender):
    """A recommender that the shared loop can train: it says how to start and what a batch costs."""

    config: PairwiseConfig

    @abstractmethod
    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        """Draw the initial parameters and take from the frame what does not change while training."""

    @abstractmethod
    def loss_terms(self, users: Tensor, positives: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        """Terms of the objective for B triplets of rows, each a scalar already weighted; their sum is minimised."""

    def refresh(self) -> None:
        """Bring up to date what scoring reads and parameters determine; called after each epoch."""

    def fit(self, frame: "TrainingFrame", *, seed: int, on_epoch: OnEpoch | None = None) -> FitReport:
        """Train with the shared loop, see :func:`training.loop.fit_pairwise`."""
        return fit_pairwise(self, frame, seed=seed, on_epoch=on_epoch)


def known_rows(table: Tensor, batch: UserBatch) -> Tensor:
    """Rows of a user table for a batch, zeros for unknown users, ``[B, D]``."""
    return table[batch.rows.clamp(min=0)] * (batch.rows >= 0).unsqueeze(1)
