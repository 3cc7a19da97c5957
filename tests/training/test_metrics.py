import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from training.metrics import (
    METRICS,
    Ranks,
    coverage,
    gini,
    hit_ratio,
    mrr,
    ndcg,
    novelty,
    popularity_lift,
    precision,
    recall,
)

few = settings(max_examples=30)


def ranks(*lists: list[float]) -> Ranks:
    place = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
    return Ranks.of(place, np.concatenate([np.asarray(each, float) for each in lists]))


def test_hand_worked_case() -> None:
    # Three lists, cut-off 4. First: ranks 1 and 3 of three wanted items. Second: the only one at rank 4. Third: six
    # wanted, all four places hit. Fourth: nothing found.
    found = ranks([3, 1, 9], [4], [1, 2, 3, 4, 5, 6], [math.inf, 5])

    assert recall(found, 4).tolist() == pytest.approx([2 / 3, 1.0, 4 / 6, 0], abs=1e-12)
    assert precision(found, 4).tolist() == pytest.approx([0.5, 0.25, 1.0, 0], abs=1e-12)
    assert hit_ratio(found, 4).tolist() == [1, 1, 1, 0]
    assert mrr(found, 4).tolist() == [1, 0.25, 1, 0]
    # First: (1 + 1/2) / (1 + 1/log2(3) + 1/2); second: 1/log2(5); third: as good as four places allow.
    first = 1.5 / (1 + 0.6309297535714575 + 0.5)
    assert ndcg(found, 4).tolist() == pytest.approx([first, 0.43067655807339306, 1.0, 0], abs=1e-12)


def test_cutoffs_by_hand() -> None:
    found = ranks([2, 5])
    assert [mrr(found, k).item() for k in (1, 2, 5)] == [0, 0.5, 0.5]
    assert [hit_ratio(found, k).item() for k in (1, 2, 5)] == [0, 1, 1]
    assert [recall(found, k).item() for k in (1, 2, 5)] == [0, 0.5, 1]
    assert [precision(found, k).item() for k in (1, 2, 5)] == [0, 0.5, 0.4]


def test_fewer_items_than_places_count_as_misses() -> None:
    assert precision(ranks([1]), 20).tolist() == [0.05]
    assert ndcg(ranks([1]), 20).tolist() == [1.0]


def test_a_rank_between_two_places_is_in_if_it_is_not_behind_the_cut() -> None:
    found = ranks([2.5])
    assert [hit_ratio(found, k).item() for k in (2, 3)] == [0, 1]
    assert mrr(found, 3).item() == 0.4
    assert ndcg(found, 3).item() == pytest.approx(1 / math.log2(3.5))


def test_some_held_out_items_only() -> None:
    found = ranks([1, 9], [2], [3, 4]).only(np.array([False, True, False, True, True]))
    assert found.place.tolist() == [0, 1, 1]
    assert found.rank.tolist() == [9, 3, 4]
    assert found.relevant.tolist() == [1, 2]


@st.composite
def rankings(draw: st.DrawFn) -> tuple[list[bool], int]:
    hits = draw(st.lists(st.booleans(), min_size=1, max_size=30))
    return hits, sum(hits) + draw(st.integers(min_value=0 if any(hits) else 1, max_value=30))


@few
@given(rankings())
def test_agrees_with_plain_loops_and_stays_within_bounds(case: tuple[list[bool], int]) -> None:
    hits, relevant = case
    k = len(hits)
    gain = sum(1 / math.log2(rank + 1) for rank, hit in enumerate(hits, start=1) if hit)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(relevant, k) + 1))
    first = next((rank for rank, hit in enumerate(hits, start=1) if hit), math.inf)
    standing = [float(rank) for rank, hit in enumerate(hits, start=1) if hit]
    found = ranks(standing + [math.inf] * (relevant - len(standing)))

    assert recall(found, k).item() == pytest.approx(sum(hits) / relevant, abs=1e-9)
    assert precision(found, k).item() == pytest.approx(sum(hits) / k, abs=1e-9)
    assert ndcg(found, k).item() == pytest.approx(gain / ideal, abs=1e-9)
    assert hit_ratio(found, k).item() == any(hits)
    assert mrr(found, k).item() == pytest.approx(1 / first, abs=1e-9)
    assert all(0 <= metric(found, k).item() <= 1 + 1e-12 for metric in METRICS.values())


@few
@given(rankings())
def test_one_held_out_item_makes_recall_and_hit_ratio_the_same(case: tuple[list[bool], int]) -> None:
    hits, k = case
    found = ranks([float(sum(hits) + 1)])
    assert recall(found, k).item() == hit_ratio(found, k).item()
    assert precision(found, k).item() == pytest.approx(recall(found, k).item() / k)
    assert mrr(found, k).item() <= ndcg(found, k).item()


@few
@given(rankings())
def test_a_longer_list_finds_no_less(case: tuple[list[bool], int]) -> None:
    hits, k = case
    found = ranks([float(rank) for rank, hit in enumerate(hits, start=1) if hit] or [math.inf])
    for metric in (recall, hit_ratio, mrr):
        assert metric(found, k).item() <= metric(found, k + 1).item()


def test_exposure_by_hand() -> None:
    # Four lists of two places: the first item in all, the second in three, the third in one, the fourth in none.
    exposure = np.array([4, 3, 1, 0])
    assert coverage(exposure) == 0.75
    # Rising 0, 1, 3, 4: -3 * 0 - 1 * 1 + 1 * 3 + 3 * 4 = 14 over 4 * 8.
    assert gini(exposure) == 14 / 32
    # Of 16 users 8, 4 and 2 saw them: 1, 2 and 3 bits; the last nobody: as if one had, 4 bits.
    seen = np.array([8, 4, 2, 0])
    assert novelty(exposure, seen, 16) == (4 * 1 + 3 * 2 + 1 * 3) / 8
    assert novelty(np.array([0, 0, 0, 5]), seen, 16) == 4
    # Places show items that 8, 4 and 2 saw; the users' own items were seen by 2.5 on average.
    assert popularity_lift(exposure, seen, 2.5) == (4 * 8 + 3 * 4 + 1 * 2) / 8 / 2.5
    assert popularity_lift(np.array([0, 0, 0, 5]), seen, 2.5) == 0


exposures = st.lists(st.integers(0, 50), min_size=1, max_size=40).filter(any).map(np.array)


@few
@given(exposures)
def test_gini_is_half_the_mean_difference_over_the_mean(exposure: np.ndarray) -> None:
    differences = np.abs(exposure[:, None] - exposure[None, :]).mean()
    assert gini(exposure) == pytest.approx(differences / (2 * exposure.mean()), abs=1e-12)
    assert -1e-12 <= gini(exposure) <= 1 - 1 / len(exposure) + 1e-12


@few
@given(st.integers(1, 40), st.integers(1, 9))
def test_gini_and_coverage_at_their_ends(items: int, times: int) -> None:
    alike, one = np.full(items, times), np.where(np.arange(items) == items // 2, times, 0)
    assert (gini(alike), coverage(alike)) == pytest.approx((0, 1), abs=1e-12)
    assert (gini(one), coverage(one)) == pytest.approx((1 - 1 / items, 1 / items), abs=1e-12)


@few
@given(exposures, st.integers(1, 60))
def test_novelty_of_items_that_as_many_saw_is_that_of_each(exposure: np.ndarray, seen: int) -> None:
    assert novelty(exposure, np.full(len(exposure), seen), 60) == pytest.approx(math.log2(60 / seen), abs=1e-12)
