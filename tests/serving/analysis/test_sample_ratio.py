"""A broken split is found, a right one is not accused, however often it is looked at."""

import numpy as np
import pytest

from contracts.errors import BadInput
from serving.analysis.sample_ratio import sample_ratio

WEIGHTS = {"champion": 1.0, "challenger": 1.0}


def test_by_hand() -> None:
    split = sample_ratio({"champion": 60, "challenger": 40}, WEIGHTS)
    assert split.expected == {"champion": 50, "challenger": 50}
    assert split.p_value == pytest.approx(0.0455, abs=1e-4)  # chi-square 4 of one degree
    assert split.always_valid_p > split.p_value
    assert not split.broken()


def looks(share: float, runs: int, days: int = 60, users_a_day: int = 500) -> tuple[float, float]:
    """Share of runs that any daily look accuses at .05: by the chi-square test, and by the always-valid one."""
    generator = np.random.default_rng(7)
    champion = generator.binomial(users_a_day, share, (runs, days)).cumsum(1)
    total = users_a_day * np.arange(1, days + 1)
    accused = np.zeros((runs, 2), dtype=bool)
    for run in range(runs):
        for day in range(days):
            counts = {"champion": int(champion[run, day]), "challenger": int(total[day] - champion[run, day])}
            split = sample_ratio(counts, WEIGHTS)
            accused[run] |= (split.p_value <= 0.05, split.always_valid_p <= 0.05)
    naive, valid = accused.mean(0)
    return float(naive), float(valid)


def test_a_right_split_watched_daily_is_not_accused() -> None:
    naive, valid = looks(0.5, runs=60)
    assert valid <= 0.05
    assert naive > 0.2


def test_a_split_of_52_to_48_is_found() -> None:
    assert looks(0.52, runs=5)[1] == 1
    split = sample_ratio({"champion": 10_400, "challenger": 9_600}, WEIGHTS)
    assert split.broken()


@pytest.mark.parametrize("users", [{"champion": 5}, {"champion": 5, "other": 5}, {"champion": 0, "challenger": 0}])
def test_arms_that_are_missing_are_named(users: dict[str, int]) -> None:
    with pytest.raises(BadInput, match=r"of challenger, champion.*count the users of every arm"):
        sample_ratio(users, WEIGHTS)


def test_an_arm_without_a_weight_can_have_no_user() -> None:
    with pytest.raises(BadInput, match="at least two arms with a weight"):
        sample_ratio({"champion": 5, "challenger": 5}, {"champion": 1.0, "challenger": 0.0})
