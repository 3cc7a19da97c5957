"""Popularity: everybody gets what most have seen."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.batches import UserBatch
from training.config import RecommenderConfig
from training.evaluation import evaluate
from training.protocols import FULL_20, Protocol, validation_of
from training.recommender import Catalogue, EpochReport, FitReport, OnEpoch, TwoTower

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["Popularity", "PopularityConfig"]


class PopularityConfig(RecommenderConfig):
    """Nothing to choose."""


class Popularity(TwoTower):
    """Scores an item by its number of training views: item vectors are counts, every user vector is 1 (D = 1)."""

    def __init__(self, config: PopularityConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.register_buffer("views", torch.zeros(catalogue.items))
        self.views: Tensor

    def fit(
        self,
        frame: "TrainingFrame",
        *,
        seed: int,
        on_epoch: OnEpoch | None = None,
        protocol: Protocol = FULL_20,
        checkpoint: Path | None = None,
    ) -> FitReport:
        """Count; nothing is random, so the seed changes nothing."""
        started = time.perf_counter()
        items = torch.from_numpy(frame.train[:, 1])
        self.views.copy_(torch.bincount(items, minlength=self.catalogue.items))
        validation = evaluate(self, frame, validation_of(frame), protocol)
        if on_epoch is not None:
            on_epoch(EpochReport(epoch=1, losses={}, validation=validation))
        return FitReport(
            epochs=0, best_epoch=0, validation=validation, losses={}, seconds=time.perf_counter() - started
        )

    def user_vectors(self, batch: UserBatch) -> Tensor:
        return self.views.new_ones(len(batch), 1)

    def item_vectors(self) -> Tensor:
        return self.views.unsqueeze(1)

    def can_score(self, batch: UserBatch) -> Tensor:
        return torch.ones_like(batch.rows, dtype=torch.bool)
