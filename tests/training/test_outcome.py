"""What is said of a test, from one ranking of it."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from feature_repo.frame import TrainingFrame
from training.evaluation import evaluate
from training.models.popularity import Popularity, PopularityConfig
from training.outcome import data_metrics, metrics_of_part, missing_items
from training.protocols import FULL_20, HeldOut
from training.ranking import stand
from training.recommender import Catalogue

Rows = npt.NDArray[np.int64]


def test_everything_comes_from_one_ranking(blocks: tuple[TrainingFrame, Rows]) -> None:
    frame, test = replace(blocks[0], missing={"acoustic": np.zeros(64, bool)}), blocks[1]
    model = Popularity(PopularityConfig(), Catalogue.of(frame))
    model.fit(frame, seed=0)
    protocol, held = replace(FULL_20, cutoffs=(5, 20)), HeldOut(test)
    found = metrics_of_part("test", stand(model, frame, held, protocol, depth=60), frame, held, protocol)

    whole = evaluate(model, frame, held, protocol)
    assert {name: found[f"test_{name}"] for name in whole} == whole
    assert 0 < found["test_coverage_at_5"] < found["test_coverage_at_20"] <= 1
    assert found["test_events"] == len(test) == found["test_popular_items_events"] + found["test_tail_items_events"]
    tail = test[slice_of_tail(frame, test)]
    alone = evaluate(model, frame, tail, protocol)
    assert {name: found[f"test_tail_items_{name}"] for name in alone} == pytest.approx(alone)
    assert found["test_missing_acoustic_events"] == 0
    assert "test_missing_acoustic_hr_at_20" not in found, "a slice without events has no metrics"


def slice_of_tail(frame: TrainingFrame, test: Rows) -> npt.NDArray[np.bool_]:
    counts = np.bincount(frame.train[:, 1], minlength=64)
    last = np.sort(counts)[::-1][int(0.2 * 64) - 1]
    return counts[test[:, 1]] < last


def test_what_is_missing_is_said(frame: TrainingFrame) -> None:
    found = data_metrics(frame)
    assert (found["users"], found["items"], found["train_events"]) == (96, 64, len(frame.train))
    assert found["share_missing_visual"] == 1 / 64
    assert missing_items(found) == {"acoustic": 1, "visual": 1}
    nobody = replace(frame, train=frame.train[frame.train[:, 0] > 1])
    assert data_metrics(nobody)["users_without_history"] == data_metrics(frame)["users_without_history"] + 2
    none = replace(frame, missing={"visual": np.ones(64, bool), "acoustic": np.zeros(64, bool)})
    assert missing_items(data_metrics(none)) == {"visual": 64}
    assert missing_items({}) == {}
