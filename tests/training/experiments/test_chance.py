"""Chance against all orders there are."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from feature_repo.frame import TrainingFrame
from training.experiments.chance import expected_by_chance
from training.metrics import METRICS, Ranks
from training.protocols import HeldOut, Protocol


def full(*cutoffs: int, exclude_seen: bool = True) -> Protocol:
    return Protocol(cutoffs, negatives=None, stopping="recall_at_1", seed=0, exclude_seen=exclude_seen)


def mean_over_all_orders(candidates: int, relevant: int, k: int, metric: str) -> float:
    """The first ``relevant`` of the candidates are held out."""
    values = []
    for order in permutations(range(candidates)):
        rank = np.array([order.index(item) + 1 for item in range(relevant)], float)
        values.append(METRICS[metric](Ranks.of(np.zeros(relevant, int), rank), k)[0])
    return float(np.mean(values))


@pytest.mark.parametrize("metric", ["recall", "precision", "ndcg", "hr"])
@pytest.mark.parametrize(("relevant", "k"), [(1, 2), (2, 1), (2, 3), (3, 2), (3, 7)])
def test_expectation_is_the_mean_over_all_orders(frame: TrainingFrame, metric: str, relevant: int, k: int) -> None:
    held = HeldOut(np.array([(0, item) for item in range(relevant)]), candidates=np.arange(5))
    unseen = replace(frame, train=np.array([(1, 0), (0, 9)]))
    expected = expected_by_chance(unseen, held, full(k))
    assert expected[f"{metric}_at_{k}"] == pytest.approx(mean_over_all_orders(5, relevant, k, metric))


def test_what_was_seen_is_no_candidate_but_what_is_held_out_is(frame: TrainingFrame) -> None:
    # User 0 saw 0, 1 and 2 of ten items, one of them twice; 2 is held out beside 5. User 1 saw nothing.
    seen = replace(frame, train=np.array([(0, 0), (0, 1), (0, 1), (0, 2), (0, 40)]))
    held = HeldOut(np.array([(0, 2), (0, 5), (1, 3)]), candidates=np.arange(10))
    assert expected_by_chance(seen, held, full(2))["recall_at_2"] == pytest.approx((2 / 8 + 2 / 10) / 2)
    assert expected_by_chance(seen, held, full(2, exclude_seen=False))["recall_at_2"] == pytest.approx(0.2)


def test_every_event_has_a_list_where_requests_bring_something(frame: TrainingFrame) -> None:
    seen = replace(frame, train=np.array([(0, 0)]))
    held = HeldOut(np.array([(0, 1), (0, 0)]), context=np.array([0, 1]))
    items = len(frame.items)
    assert expected_by_chance(seen, held, full(3))["hr_at_3"] == pytest.approx((3 / (items - 1) + 3 / items) / 2)


def test_of_100_candidates_10_are_shown(frame: TrainingFrame) -> None:
    held = HeldOut(np.array([(0, 1), (0, 2), (3, 4)]))
    protocol = Protocol((10,), negatives=99, stopping="hr_at_10", seed=0)
    expected = expected_by_chance(frame, held, protocol)
    assert [expected["hr_at_10"], expected["recall_at_10"]] == pytest.approx([0.1, 0.1])
    assert expected["precision_at_10"] == pytest.approx(0.01)
