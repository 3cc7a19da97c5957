"""Assignment: sticky, weighted, and moved as little as can be."""

import numpy as np
import pytest

from contracts.errors import BadInput
from serving.analysis.assignment import Assignment
from serving.analysis.sample_ratio import sample_ratio

USERS = [f"user-{number}" for number in range(20_000)]


def test_one_user_and_many_get_the_same_arm_in_every_process() -> None:
    assignment = Assignment("spring", {"champion": 3, "challenger": 1})
    names = list(assignment.weights)
    assert [assignment.arm(user) for user in USERS[:50]] == [names[i] for i in assignment.arms(USERS[:50])]
    # Written down: a changed hash would move every user of a running experiment.
    assert assignment.arms(USERS[:12]).tolist() == [0, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 0]


def test_arms_get_their_weights() -> None:
    assignment = Assignment("spring", {"a": 1, "b": 2, "c": 5})
    counts = np.bincount(assignment.arms(USERS), minlength=3)
    split = sample_ratio(dict(zip("abc", counts.tolist(), strict=True)), assignment.weights)
    assert split.p_value > 0.01
    assert assignment.propensities == {"a": 1 / 8, "b": 2 / 8, "c": 5 / 8}


def test_another_weight_moves_users_only_into_the_arm_or_out_of_it() -> None:
    before = Assignment("spring", {"a": 1, "b": 1, "c": 1}).arms(USERS)
    more = Assignment("spring", {"a": 1, "b": 1, "c": 2}).arms(USERS)
    moved = before != more
    assert set(more[moved]) == {2}
    assert moved.mean() == pytest.approx(1 / 2 - 1 / 3, abs=0.02)
    without = Assignment("spring", {"a": 1, "b": 1}).arms(USERS)
    assert (without == before)[before < 2].all()


def test_another_salt_is_another_experiment() -> None:
    weights = {"a": 1, "b": 1}
    first, second = (Assignment(salt, weights).arms(USERS) for salt in ("spring", "summer"))
    assert (first == second).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("weights", [{}, {"a": 1, "b": 0}, {"a": -1}, {"a": float("nan")}, {"a": float("inf")}])
def test_weights_that_are_none_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="arms of experiment 'spring'"):
        Assignment("spring", weights)
