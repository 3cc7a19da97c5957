"""Time of a request and recall of the index, of models made by hand."""

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from feature_repo.frame import TrainingFrame
from training import serving_cost
from training.batches import UserBatch
from training.counting import CountingRecommender
from training.models.mf import MfConfig
from training.recommender import Catalogue, Recommender
from training.retrieval import ExactIndex
from training.serving_cost import serving_metrics


@pytest.fixture(scope="module")
def mf(fit: Callable[..., Recommender], frame: TrainingFrame) -> Recommender:
    return fit(frame, "mf")


class Slow(CountingRecommender):
    """A scorer that takes its time."""

    def __init__(self, config: MfConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.register_buffer("nothing", torch.zeros(1))

    def count(self, frame: TrainingFrame) -> None:
        """There is nothing to learn."""

    def can_score(self, batch: UserBatch) -> Tensor:
        return torch.ones(len(batch), dtype=torch.bool)

    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        time.sleep(0.002)
        return torch.zeros(len(batch), self.catalogue.items if items is None else len(items))


def test_the_service_s_own_index_loses_nothing(frame: TrainingFrame, mf: Recommender) -> None:
    found = serving_metrics(mf, frame)
    assert {name: value for name, value in found.items() if name.startswith("index")} == {
        f"index_recall_at_{k}": 1.0 for k in (10, 20, 50)
    }
    assert 0 < found["score_latency_ms_p50"] <= found["score_latency_ms_p99"] < 1000


def test_an_index_that_finds_every_other_item(
    frame: TrainingFrame, mf: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Worse(ExactIndex):
        def search(self, user_vector: np.ndarray, k: int, exclude: object = ()) -> tuple[np.ndarray, np.ndarray]:
            rows, scores = super().search(user_vector, min(2 * k, len(self)))
            return np.r_[rows[::2], rows[1::2]][:k], scores[:k]

    monkeypatch.setattr(serving_cost, "ExactIndex", Worse)
    found = serving_metrics(mf, frame)
    assert (found["index_recall_at_10"], found["index_recall_at_20"]) == (0.5, 0.5)


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 14])
def test_the_exact_answer_is_the_same_in_any_blocks(
    frame: TrainingFrame, mf: Recommender, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(serving_cost, "_BLOCK", block)
    assert serving_metrics(mf, frame)["index_recall_at_50"] == 1


def test_items_that_are_tied_are_as_good(fit: Callable[..., Recommender], frame: TrainingFrame) -> None:
    assert serving_metrics(fit(frame, "popularity"), frame)["index_recall_at_10"] == 1


def test_a_scorer_has_no_index_and_is_not_waited_for(frame: TrainingFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_cost, "_PATIENCE_S", 0.0)
    slow = Slow(MfConfig(), Catalogue.of(frame))
    found = serving_metrics(slow, frame)
    assert set(found) == {"score_latency_ms_p50", "score_latency_ms_p99"}
    assert found["score_latency_ms_p50"] >= 2
