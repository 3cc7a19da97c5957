"""Bands that are learned: how often clean values leave them, and that faults and slow poisoning do."""

import math

import numpy as np
import pytest
from scipy import stats

from validation.statistics.bands import ALPHA, CEILING, Band, least_share_band, share_band, value_band


def test_without_history_nothing_is_limited() -> None:
    assert share_band([], 100) == Band(None, None, 0)
    assert least_share_band([], 100) == Band(None, None, 0)
    assert value_band([math.nan], 1.0, 0.1) == Band(None, None, 0)
    assert share_band([(0.1, 100)], 0) == Band(None, None, 0)


def test_a_few_zero_vectors_are_inside_and_one_in_a_hundred_is_outside() -> None:
    high = share_band([(0.0, 6710)], 6710).high
    assert high is not None
    assert 3 / 6710 < high < 0.005
    assert share_band([(0.0, 6710)] * 20, 6710).high == high, "the same rows again say nothing new"


@pytest.mark.parametrize(("share", "before", "rows"), [(0.0, 500, 900), (0.02, 4000, 6000), (0.3, 50, 20_000)])
def test_the_limit_is_the_quantile_of_the_predictive_distribution(share: float, before: int, rows: int) -> None:
    band = share_band([(share, before)], rows)
    predictive = stats.betabinom(rows, share * before + 0.5, (1 - share) * before + 0.5)
    assert band.high is not None
    limit = round(band.high * rows)
    assert predictive.sf(limit) <= ALPHA < predictive.sf(limit - 1)


def test_a_million_rows_after_a_few_thousand() -> None:
    band = share_band([(0.001, 5000)], 1_000_000)
    assert band.high is not None
    assert 0.002 < band.high < 0.01


def test_shares_that_vary_between_snapshots_widen_the_band_within_limits() -> None:
    rows = 5000
    steady = share_band([(0.1, rows)] * 6, rows)
    varied = share_band([(share, rows) for share in (0.08, 0.12, 0.08, 0.12, 0.08, 0.12)], rows)
    wild = share_band([(share, rows) for share in (0.01, 0.19, 0.01, 0.19, 0.01, 0.19)], rows)
    assert steady.high is not None
    assert varied.high is not None
    assert wild.high is not None
    assert varied.high > steady.high + 0.02
    assert wild.high == pytest.approx(0.1 + CEILING * (steady.high - 0.1))


def test_a_share_that_creeps_up_leaves_its_band() -> None:
    history = [(0.001, 6000)]
    share = 0.001
    while share < 0.05:
        band = share_band(history[-20:], 6000)
        assert band.high is not None
        if share > band.high:
            break
        history.append((share, 6000))
        share += 0.001
    assert share < 0.03


def test_duplicates_are_expected_to_grow_with_the_table() -> None:
    plain, paired = share_band([(0.02, 10_000)], 40_000), share_band([(0.02, 10_000)], 40_000, pairs=True)
    assert plain.high is not None
    assert paired.high is not None
    assert plain.high < 0.08 < paired.high
    assert share_band([(0.02, 10_000)], 5000, pairs=True) == share_band([(0.02, 10_000)], 5000)


def test_coverage_may_not_fall() -> None:
    band = least_share_band([(1.0, 6710)], 6710)
    assert band.high is None
    assert band.low is not None
    assert 0.9 < 0.995 < band.low < 1 - 3 / 6710


def test_a_value_may_go_as_far_as_its_error_or_the_floor() -> None:
    by_floor = value_band([100.0], error=0.01, floor=0.05)
    assert by_floor == Band(95.0, 105.0, 1)
    by_error = value_band([100.0], error=2.0, floor=0.05)
    assert by_error.high is not None
    half = stats.t.isf(ALPHA / 2, 20) * 2 * math.sqrt(2)
    assert by_error.high == pytest.approx(100 + half)
    assert value_band([0.0], 0.0, 0.1) == Band(0.0, 0.0, 1)


def test_equal_and_nearly_equal_snapshots_are_worth_one() -> None:
    alone = value_band([100.0], error=2.0, floor=0.05)
    assert value_band([100.0] * 20, error=2.0, floor=0.05) == Band(alone.low, alone.high, 20)
    nearly = value_band([100.0 + 0.001 * day for day in range(20)], error=2.0, floor=0.05)
    assert nearly.high is not None
    assert alone.high is not None
    assert nearly.high - 100.0095 == pytest.approx(alone.high - 100)
    shared = share_band([(0.02, 4000)], 6000)
    assert share_band([(0.02, 4000)] * 20, 6000) == Band(None, shared.high, 20)


@pytest.mark.parametrize("days", [1, 20])
def test_another_draw_after_equal_snapshots_stays_inside(days: int) -> None:
    rng = np.random.default_rng(4)
    outside = 0
    for first, second in rng.binomial(5000, 0.02, (200, 2)) / 5000:
        high = share_band([(first, 5000)] * days, 5000).high
        assert high is not None
        outside += second > high
    for first, second in 100 + rng.normal(size=(2000, 2)):
        band = value_band([first] * days, 1.0, 0.0)
        assert band.low is not None
        assert band.high is not None
        outside += not band.low <= second <= band.high
    assert outside == 0


def test_snapshots_that_differ_widen_a_band_within_limits() -> None:
    values = list(100 + 8 * np.random.default_rng(0).normal(size=20))
    wide = value_band(values, error=2.0, floor=0.05)
    narrow = value_band([100.0], error=2.0, floor=0.05)
    assert wide.high is not None
    assert wide.low is not None
    assert narrow.high is not None
    assert narrow.high - 100 < (wide.high - wide.low) / 2 <= CEILING * (narrow.high - 100) * 1.2
    wild = value_band([50.0, 150.0] * 10, error=0.0, floor=0.05)
    assert wild.high == pytest.approx(100 * (1 + CEILING * 0.05))


def test_a_value_that_drifts_slowly_leaves_its_band() -> None:
    history, value = [100.0], 100.0
    for _ in range(200):
        value *= 1.01
        band = value_band(history[-20:], error=0.2, floor=0.05)
        assert band.high is not None
        if value > band.high:
            break
        history.append(value)
    assert value < 115


def test_clean_values_stay_inside() -> None:
    rng = np.random.default_rng(5)
    for accepted in (1, 2, 5, 20):
        outside = 0
        for _ in range(500):
            values = 100 + rng.normal(size=accepted + 1)
            band = value_band(list(values[:-1]), error=1.0, floor=0.0)
            assert band.low is not None
            assert band.high is not None
            outside += not band.low <= values[-1] <= band.high
        assert outside == 0, accepted
