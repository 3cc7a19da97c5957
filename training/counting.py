"""What models without anything to learn by gradient have in common."""

import time
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from training.evaluation import evaluate
from training.protocols import FULL_20, Protocol, validation_of
from training.recommender import EpochReport, FitReport, OnEpoch, Recommender

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["CountingRecommender"]


class CountingRecommender(Recommender):
    """A recommender that counts the training pairs once."""

    @abstractmethod
    def count(self, frame: "TrainingFrame") -> None:
        """Take over what scoring needs."""

    def fit(
        self,
        frame: "TrainingFrame",
        *,
        seed: int,
        on_epoch: OnEpoch | None = None,
        protocol: Protocol = FULL_20,
        checkpoint: Path | None = None,
    ) -> FitReport:
        """Count; nothing is random, so the seed changes nothing, and there is no epoch to choose."""
        started = time.perf_counter()
        self.count(frame)
        validation = evaluate(self, frame, validation_of(frame), protocol)
        if on_epoch is not None:
            on_epoch(EpochReport(epoch=1, losses={}, validation=validation))
        return FitReport(
            epochs=0, best_epoch=0, validation=validation, losses={}, seconds=time.perf_counter() - started
        )
