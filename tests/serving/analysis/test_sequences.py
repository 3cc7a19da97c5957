"""Sequences hold at all looks together, where the tests of one look do not. Seeds are fixed."""

import numpy as np
import pytest

from contracts.errors import BadInput
from serving.analysis.estimates import Contrast, lift, ratio
from serving.analysis.sequences import (
    always_valid_p,
    half_width,
    normal_sequence,
    quantile_bounds,
    quantile_lift_sequence,
    rate_bounds,
    rate_difference_sequence,
)

DAYS, DAILY = 40, 2_000


def click_rates(lifted: float, runs: int, seed: int, rate: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Log ratio and its standard error at each day's end, with new users every day, ``[runs, DAYS]`` each."""
    generator = np.random.default_rng(seed)
    users = DAILY * np.arange(1, DAYS + 1)
    a, b = (generator.binomial(DAILY, p, (runs, DAYS)).cumsum(1) / users for p in (rate, rate * (1 + lifted)))
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = [np.sqrt((1 - p) / (p * users)) for p in (a, b)]
        return np.log(b / a), np.hypot(*errors)


def test_daily_peeking_at_versions_that_are_alike() -> None:
    value, error = click_rates(0.0, runs=4_000, seed=1)
    naive = (np.abs(value) > 1.96 * error).any(1).mean()
    outside = (np.abs(value) > half_width(error, scale=0.05, alpha=0.05)).any(1).mean()
    assert 0.25 < naive < 0.35
    assert outside <= 0.05
    assert (always_valid_p(value, error, scale=0.05) <= 0.05).any(1).mean() == outside


def test_daily_peeking_at_users_who_come_back() -> None:
    """600 users, each with a taste of his own, come every day: the error is over users, not over impressions."""
    generator = np.random.default_rng(2)
    runs, users, days = 1_000, 300, 20
    taste = generator.beta(2, 8, (2, runs, users, 1))
    clicks = generator.binomial(5, np.broadcast_to(taste, (2, runs, users, days))).cumsum(3)
    shown = 5 * np.arange(1, days + 1)
    rate = clicks / shown
    mean, over_users = rate.mean(2), rate.std(2, ddof=1) / np.sqrt(users)
    value, error = mean[1] - mean[0], np.hypot(over_users[0], over_users[1])
    over_impressions = np.sqrt((mean * (1 - mean) / (users * shown)).sum(0))
    assert (np.abs(value) > half_width(error, 0.02, 0.05)).any(1).mean() <= 0.05
    assert (np.abs(value) > half_width(over_impressions, 0.02, 0.05)).any(1).mean() > 0.2


def test_rare_outcomes_are_no_excuse() -> None:
    """One in 2,000, looked at from the first outcomes on: the ratio itself errs, its logarithm does not."""
    value, error = click_rates(0.0, runs=4_000, seed=8, rate=0.0005)
    known = np.isfinite(value) & np.isfinite(error)
    wide = half_width(error, scale=np.log(1.5), alpha=0.05)
    assert ((np.abs(value) > wide) & known).any(1).mean() <= 0.05
    value, error = np.where(known, value, 0), np.where(known, error, 1)
    outside = np.abs(np.expm1(value)) > half_width(np.exp(value) * error, scale=0.5, alpha=0.05)
    assert (outside & known).any(1).mean() > 0.1


def test_a_lift_is_found_and_the_bounds_hold_it() -> None:
    value, error = click_rates(0.12, runs=2_000, seed=3)
    half = half_width(error, scale=0.05, alpha=0.05)
    assert (np.abs(value - np.log(1.12)) > half).any(1).mean() <= 0.05
    assert (value[:, -1] > half[:, -1]).mean() > 0.8


def test_bounds_are_about_tightest_at_the_scale() -> None:
    """Of many scales, that for which they are made comes close to the best when they are that far away."""
    error = 0.01 / 3
    scales = np.geomspace(0.001, 0.1, 200)
    best = min(float(half_width(error, scale, 0.05)) for scale in scales)
    assert float(half_width(error, 0.01, 0.05)) == pytest.approx(best, rel=0.02)
    assert best == pytest.approx(0.01, rel=0.1)


def test_an_interval_of_a_lift() -> None:
    interval = normal_sequence(Contrast(0.03, 0.01, 500), scale=0.02, alpha=0.05)
    half = 0.01 * np.sqrt((1 + 1 / 4) * np.log(5 / 0.05**2))
    assert (interval.low, interval.high) == (pytest.approx(0.03 - half), pytest.approx(0.03 + half))
    assert interval.p_value == pytest.approx(np.sqrt(5) * np.exp(-9 / 2 / 1.25))
    assert interval.units == 500
    ratio_of_two = normal_sequence(Contrast(0.03, 0.01, 500, logarithmic=True), scale=np.expm1(0.02), alpha=0.05)
    ends = (ratio_of_two.value, ratio_of_two.low, ratio_of_two.high)
    assert ends == pytest.approx(np.expm1([0.03, 0.03 - half, 0.03 + half]))
    assert ratio_of_two.p_value == pytest.approx(interval.p_value)
    with pytest.raises(BadInput, match="standard error of 0 over 500 units"):
        normal_sequence(Contrast(0.0, 0.0, 500), scale=0.02, alpha=0.05)


def test_the_projected_traffic_brings_the_bounds_there() -> None:
    interval = normal_sequence(Contrast(0.01, 0.01, 500), scale=0.02, alpha=0.05)
    factor = interval.traffic_until_clear_of(0.0)
    assert float(half_width(0.01 / np.sqrt(factor), 0.02, 0.05)) == pytest.approx(0.01)
    assert interval.traffic_until_clear_of(interval.high + 1e-9) == 1
    assert interval.traffic_until_clear_of(0.01) == float("inf")
    ratio_of_two = normal_sequence(Contrast(0.01, 0.01, 500, logarithmic=True), scale=0.02, alpha=0.05)
    shrink = np.sqrt(ratio_of_two.traffic_until_clear_of(-0.005))
    later = normal_sequence(Contrast(0.01, 0.01 / shrink, 500, logarithmic=True), scale=0.02, alpha=0.05)
    assert later.low == pytest.approx(-0.005)
    exact = rate_difference_sequence((5, 1_000), (5, 1_000), 0.05)
    assert exact.traffic_until_clear_of(exact.high / 2) == pytest.approx(4)
    assert exact.traffic_until_clear_of(exact.low / 2) == pytest.approx(4)


def test_rates_are_bounded_at_every_trial() -> None:
    generator = np.random.default_rng(4)
    looks = [10, 30, 100, 300, 1_000]
    for rate in (0.002, 0.3):
        sums = (generator.random((300, looks[-1])) < rate).cumsum(1)
        missed = 0
        for run in sums:
            bounds = [rate_bounds(int(run[n - 1]), n, 0.05) for n in looks]
            missed += not all(low <= rate <= high for low, high in bounds)
        assert missed / len(sums) <= 0.05
    assert rate_bounds(0, 0, 0.05) == (0, 1)
    assert rate_bounds(0, 100, 0.05)[0] == 0
    assert rate_bounds(100, 100, 0.05)[1] == 1
    low, high = rate_bounds(30, 100, 0.05)
    assert 0.15 < low < 0.21
    assert 0.40 < high < 0.47


def test_a_higher_rate_of_errors_is_seen() -> None:
    interval = rate_difference_sequence((10, 5_000), (400, 5_000), 0.05)
    assert interval.value == pytest.approx(0.078)
    assert 0.05 < interval.low < interval.value < interval.high < 0.11


def test_quantiles_are_bounded_at_every_look_and_ties_do_no_harm() -> None:
    generator = np.random.default_rng(5)
    truth = -np.log(0.01)
    missed = 0
    for _ in range(300):
        waits = generator.exponential(size=4_000)
        bounds = [quantile_bounds(waits[:n], 0.99, 0.05) for n in (20, 300, 1_000, 4_000)]
        missed += not all(low <= truth <= high for low, high in bounds)
    assert missed / 300 <= 0.05
    assert quantile_bounds(waits[:20], 0.99, 0.05)[1] == float("inf")
    assert quantile_bounds(np.full(5_000, 7.0), 0.99, 0.05) == (7, 7)


def test_a_slower_p99_is_seen() -> None:
    generator = np.random.default_rng(6)
    champion, slow = generator.gamma(4, 2, 10_000), 1.5 * generator.gamma(4, 2, 10_000)
    interval = quantile_lift_sequence(champion, slow, 0.99, 0.05)
    assert 0.2 < interval.low < 0.5 < interval.high < 0.9
    few = quantile_lift_sequence(champion[:20], slow[:20], 0.99, 0.05)
    assert (few.low, few.high) == (-1, float("inf"))


def test_a_lift_over_nothing_is_refused() -> None:
    nothing, some = ratio(np.zeros(5), np.ones(5)), ratio(np.arange(5.0), np.ones(5))
    for pair in ((nothing, some), (some, nothing)):
        with pytest.raises(BadInput, match=r"values of . and .*check that the feedback of both is joined"):
            lift(*pair)
