"""What the models trained by gradient have in common."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.batches import Samples, UserBatch
from training.config import LearnedConfig
from training.loop import fit_learned
from training.protocols import FULL_20, Protocol
from training.recommender import Catalogue, FitReport, OnEpoch, Recommender

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["LearnedRecommender"]


class LearnedRecommender(Recommender):
    """A recommender that the shared loop can train: it says how to start and what a batch costs.

    The ID vector of a user or item without a training pair is what initialisation and negative draws left there. No
    score may come from it: the model keeps which rows were trained, and scoring reads ID tables through
    :meth:`trained_users_of` and :meth:`trained_items_of`.
    """

    config: LearnedConfig

    def __init__(self, config: LearnedConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.register_buffer("user_trained", torch.zeros(catalogue.users, dtype=torch.bool))
        self.register_buffer("item_trained", torch.zeros(catalogue.items, dtype=torch.bool))
        self.user_trained: Tensor
        self.item_trained: Tensor

    def begin(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        """Note which users and items have a training pair, and :meth:`prepare`."""
        for column, trained in enumerate((self.user_trained, self.item_trained)):
            trained.zero_()
            trained[torch.from_numpy(frame.train[:, column]).to(trained.device)] = True
        self.prepare(frame, generator)

    @abstractmethod
    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        """Draw the initial parameters and take from the frame what does not change while training."""

    @abstractmethod
    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        """Terms of the objective for B samples, each a scalar already weighted; their sum is minimised."""

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Re-estimate what changes between epochs; called before each one.

        Args:
            epoch: Counted from 1.
            generator: On the model's device, seeded for this epoch; may be kept for what the epoch draws itself.
        """

    def visits(self, pairs: Tensor, generator: torch.Generator) -> Tensor:
        """Positions of the training pairs ``[n, 2]`` in the order in which an epoch visits them: all, by chance.

        A model whose loss reads whole histories has no need to visit each pair.
        """
        return torch.randperm(len(pairs), generator=generator, device=pairs.device)

    def refresh(self) -> None:
        """Bring up to date what scoring reads and parameters determine; called after each epoch, before validation."""

    def fit(
        self,
        frame: "TrainingFrame",
        *,
        seed: int,
        on_epoch: OnEpoch | None = None,
        protocol: Protocol = FULL_20,
        checkpoint: Path | None = None,
    ) -> FitReport:
        """Train with the shared loop, see :func:`training.loop.fit_learned`."""
        return fit_learned(self, frame, seed=seed, on_epoch=on_epoch, protocol=protocol, checkpoint=checkpoint)

    def can_score(self, batch: UserBatch) -> Tensor:
        """Whether each user is known and has a training pair, bool ``[B]``."""
        return self.is_trained(batch)

    def is_trained(self, batch: UserBatch) -> Tensor:
        """Whether each user has a row that training has seen, bool ``[B]``."""
        return (batch.rows >= 0) & self.user_trained[batch.rows.clamp(min=0)]

    def trained_users_of(self, table: Tensor, batch: UserBatch) -> Tensor:
        """Rows of a user table ``[U, D]`` for a batch, zeros for users who were not trained, ``[B, D]``."""
        return table[batch.rows.clamp(min=0)] * self.is_trained(batch).unsqueeze(1)

    def trained_items_of(self, table: Tensor) -> Tensor:
        """An item table ``[N, D]`` with zeros for items that were not trained."""
        return table * self.item_trained.unsqueeze(1)
