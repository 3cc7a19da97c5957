"""Popularity: everybody gets what most have seen."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.batches import UserBatch
from training.config import RecommenderConfig
from training.counting import CountingRecommender
from training.recommender import Catalogue, TwoTower

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["Popularity", "PopularityConfig"]


class PopularityConfig(RecommenderConfig):
    """Nothing to choose."""


class Popularity(CountingRecommender, TwoTower):
    """Scores an item by its number of training views: item vectors are counts, every user vector is 1 (D = 1)."""

    def __init__(self, config: PopularityConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.register_buffer("views", torch.zeros(catalogue.items))
        self.views: Tensor

    def count(self, frame: "TrainingFrame") -> None:
        items = torch.from_numpy(frame.train[:, 1])
        self.views.copy_(torch.bincount(items, minlength=self.catalogue.items))

    def user_vectors(self, batch: UserBatch) -> Tensor:
        return self.views.new_ones(len(batch), 1)

    def item_vectors(self) -> Tensor:
        return self.views.unsqueeze(1)

    def can_score(self, batch: UserBatch) -> Tensor:
        return torch.ones_like(batch.rows, dtype=torch.bool)
