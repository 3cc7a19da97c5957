"""Slices of the held-out events, by hand and against an evaluation of the slice alone."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from feature_repo.frame import TrainingFrame
from training.evaluation import evaluate
from training.metrics import Ranks
from training.models.popularity import Popularity, PopularityConfig
from training.protocols import FULL_20, HeldOut
from training.ranking import Standing, stand
from training.recommender import Catalogue
from training.slices import Slice, slice_metrics

Rows = npt.NDArray[np.int64]

AT_2 = replace(FULL_20, cutoffs=(2,))


def test_slices_by_hand(frame: TrainingFrame) -> None:
    # Item 0 has 60 training events, item 1 three, all others none; user 0 has one, user 1 six or more, 95 none.
    train = np.array(
        [*((user, 0) for user in range(60)), (1, 1), (2, 1), (3, 1), *((1, item) for item in (0, 1, 0, 1))]
    )
    absent = np.isin(np.arange(64), [1])
    known = replace(frame, train=train, missing={"visual": absent, "acoustic": np.zeros(64, bool)})
    pairs = np.array([[0, 1], [0, 9], [2, 0], [95, 0]])
    standing = Standing(Ranks.of(np.array([0, 0, 1, 2]), np.array([1.0, 2.0, 3.0, 2.0])), np.array([0, 2, 95]), pairs)

    found = slice_metrics(standing, known, AT_2)

    def recall(name: str) -> tuple[int, int, float]:
        part = found[name]
        assert part.metrics is not None
        return part.pairs, part.lists, part.metrics["recall_at_2"]

    assert recall("cold_items") == (1, 1, 1.0)  # The second pair, at rank 2.
    assert recall("few_items") == (1, 1, 1.0)
    assert recall("cold_users") == (1, 1, 1.0)
    assert recall("few_users") == (3, 2, 0.5)
    assert recall("popular_items") == (3, 3, 2 / 3)
    assert recall("tail_items") == (1, 1, 1.0)
    assert recall("missing_visual") == (1, 1, 1.0)
    assert found["missing_acoustic"] == Slice(pairs=0, lists=0, metrics=None)
    narrow = slice_metrics(standing, known, AT_2, few=2)
    assert narrow["few_items"].metrics is None  # Item 1 has three.
    assert list(found) == [
        *("cold_items", "few_items", "cold_users", "few_users", "popular_items", "tail_items"),
        *("missing_acoustic", "missing_visual"),
    ]


def test_a_slice_is_what_an_evaluation_of_it_alone_finds(blocks: tuple[TrainingFrame, Rows]) -> None:
    frame, test = blocks
    model = Popularity(PopularityConfig(), Catalogue.of(frame))
    model.fit(frame, seed=0)
    held = HeldOut(np.concatenate([test, frame.validation]))
    found = slice_metrics(stand(model, frame, held, FULL_20), frame, FULL_20)
    missing = held.pairs[frame.missing["visual"][held.pairs[:, 1]]]
    assert found["missing_visual"].pairs == len(missing) > 0
    assert found["missing_visual"].metrics == pytest.approx(evaluate(model, frame, missing))
    assert found["popular_items"].pairs + found["tail_items"].pairs == len(held.pairs)
