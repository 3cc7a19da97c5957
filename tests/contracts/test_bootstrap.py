"""Intervals over users: the formula by hand, and that 95 % of them hold what they are of."""

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from contracts.bootstrap import difference_interval, mean_interval


class Drawn(np.random.Generator):
    """Draws that are given, some rows for each call."""

    def __init__(self, *draws: list[list[int]]) -> None:
        super().__init__(np.random.PCG64(0))
        self._draws: Iterator[list[list[int]]] = iter(draws)

    def integers(self, low: int, high: int, size: tuple[int, int]) -> np.ndarray:  # type: ignore[override]
        drawn = np.array(next(self._draws))
        assert drawn.shape == size
        assert low <= drawn.min() <= drawn.max() < high
        return drawn


DRAWS = [[0, 0, 0], [0, 1, 2], [2, 2, 1], [1, 1, 1], [2, 2, 2]]


def test_hand_worked_quantiles_of_the_drawn_means() -> None:
    # The means of the five draws are 0, 2.5, 4, 3 and 4.5: the quartiles are the second and the fourth by size.
    found = mean_interval(np.array([0.0, 3.0, 4.5]), Drawn(DRAWS), level=0.5, resamples=5)
    assert found == (2.5, 2.5, 4.0)


def test_hand_worked_weights() -> None:
    # The second user counts thrice: (0 + 3 * 3 + 4.5) / 5; draw by draw 0, 2.7, (4.5 + 4.5 + 9) / 5, 3 and 4.5.
    found = mean_interval(np.array([0.0, 3.0, 4.5]), Drawn(DRAWS), weights=np.array([1, 3, 1]), level=0.5, resamples=5)
    assert found == pytest.approx((2.7, 2.7, 3.6))


def test_the_difference_is_paired() -> None:
    hard = np.random.default_rng(0).normal(size=500) * 100
    mean, low, high = difference_interval(hard + 1, hard, np.random.default_rng(1))
    assert (mean, low, high) == pytest.approx((1, 1, 1))
    assert difference_interval(hard, hard + 1, np.random.default_rng(1)).mean == pytest.approx(-1)


def test_the_interval_is_that_of_a_mean() -> None:
    values = np.random.default_rng(1).normal(0.1, 1, size=2_000)
    mean, low, high = mean_interval(values, np.random.default_rng(0))
    half = stats.norm.ppf(0.975) * values.std() / np.sqrt(len(values))
    assert mean == values.mean()
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)
    assert mean_interval(values, np.random.default_rng(0)) == (mean, low, high)
    assert mean_interval(np.zeros(7), np.random.default_rng(0)) == (0, 0, 0)
    assert mean_interval(np.array([0.25]), np.random.default_rng(0)) == (0.25, 0.25, 0.25)


def test_agrees_with_scipy() -> None:
    values = np.random.default_rng(2).exponential(size=300)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4_000, method="percentile", rng=np.random.default_rng(3))
    found = mean_interval(values, np.random.default_rng(4), resamples=4_000)
    width = found.high - found.low
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.05 * width)


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=101)
    whole = mean_interval(values, np.random.default_rng(6), resamples=200)
    monkeypatch.setattr("contracts.bootstrap._CELLS", 7 * 101)
    assert mean_interval(values, np.random.default_rng(6), resamples=200) == whole


@pytest.mark.parametrize("weighted", [False, True])
def test_95_percent_of_the_intervals_hold_the_true_difference(weighted: bool) -> None:
    # Paired hits of two models, as of one held-out item per user: a gains 0.3 and b 0.25, with much in common.
    rng, trials, users = np.random.default_rng(7), 400, 150
    held = 0
    for _ in range(trials):
        lists = rng.integers(1, 5, users) if weighted else np.ones(users, np.int64)
        easy = rng.random(users)
        chance_of_a, chance_of_b = 0.6 * easy, 0.5 * easy
        a, b = rng.binomial(lists, chance_of_a) / lists, rng.binomial(lists, chance_of_b) / lists
        _, low, high = difference_interval(a, b, rng, weights=lists if weighted else None, resamples=400)
        held += low <= 0.05 <= high
    # Three standard errors of a share of 0.95 in 400 trials are 0.033; the percentile interval is a little narrow.
    assert 0.91 <= held / trials <= 0.985
