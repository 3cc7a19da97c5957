"""What models that add up what a user has seen have in common."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.batches import UserBatch
from training.config import LearnedConfig
from training.histories import Histories, Seen
from training.learned import LearnedRecommender
from training.recommender import Catalogue

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["HistoryRecommender"]


class HistoryRecommender(LearnedRecommender):
    """A model of item vectors alone: it holds all that each user saw in training, and answers unknown users."""

    def __init__(self, config: LearnedConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.histories = Histories(catalogue.users, catalogue.items)

    def begin(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        self.histories.take(frame.train)
        super().begin(frame, generator)

    def can_score(self, batch: UserBatch) -> Tensor:
        """Whether each user has seen something that training has, bool ``[B]``."""
        return torch.bincount(self.witnesses_of(batch).row, minlength=len(batch)) > 0

    def witnesses_of(self, batch: UserBatch) -> Seen:
        """What B users have seen of what was trained."""
        row, item = self.histories.of(batch)
        trained = self.item_trained[item]
        return Seen(row[trained], item[trained])
