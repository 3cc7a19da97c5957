"""Differences of lists by hand, and against slow readings of their definitions."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from contracts.errors import BadInput
from serving.analysis import lists
from serving.analysis.lists import Agreement, agreement, kendall_tau, overlap, padded, rank_biased_overlap, score_shift


@pytest.mark.parametrize(
    ("mine", "theirs", "k", "expected"),
    [
        ("abcd", "dcba", 4, 1.0),
        ("abcd", "abxy", 4, 0.5),
        ("abcd", "xyab", 2, 0.0),
        ("ab", "ab", 10, 1.0),
        ("ab", "abcd", 10, 0.5),
        ("", "", 10, 1.0),
        ("", "a", 10, 0.0),
    ],
)
def test_overlap_by_hand(mine: str, theirs: str, k: int, expected: float) -> None:
    first, second = padded([mine], [theirs])
    assert overlap(first, second, k).tolist() == [expected]


def test_ids_get_one_numbering_and_places_beyond_the_depth_are_left_out() -> None:
    mine, theirs = padded([["a", "b", "c"], []], [["c", "a"], ["d"]], depth=2)
    assert mine.tolist() == [[0, 1], [-1, -1]]
    assert theirs.tolist() == [[2, 0], [3, -1]]
    assert padded([], [])[0].shape == (0, 0)


def test_rank_biased_overlap_by_hand() -> None:
    # Depths 1 and 2 agree in 0/1 and 2/2: (1-p)/p * (0 + p²) + 1 * p² = p - p² + p² = p.
    mine, theirs = padded(["ab", "ab", "ab", "", "", "abc"], ["ba", "ab", "xy", "", "a", "abc"])
    found = rank_biased_overlap(mine, theirs, 0.9)
    np.testing.assert_allclose(found, [0.9, 1, 0, 1, 0, 1], atol=1e-12)
    assert rank_biased_overlap(np.empty((2, 0), np.int64), np.empty((2, 0), np.int64)).tolist() == [1, 1]


def slow_rank_biased_overlap(mine: list[int], theirs: list[int], p: float) -> float:
    """Equation 32, term by term."""
    short, long = sorted((mine, theirs), key=len)
    s, l = len(short), len(long)  # noqa: E741
    x = [0.0, *(len(set(short[:d]) & set(long[:d])) for d in range(1, l + 1))]
    total = sum(x[d] / d * p**d for d in range(1, l + 1))
    total += sum(x[s] * (d - s) / (s * d) * p**d for d in range(s + 1, l + 1))
    return (1 - p) / p * total + ((x[l] - x[s]) / l + x[s] / s) * p**l


def random_lists(generator: np.random.Generator, requests: int, depth: int) -> tuple[np.ndarray, list[list[int]]]:
    rows = np.full((requests, depth), -1)
    for row in rows:
        length = generator.integers(1, depth + 1)
        row[:length] = generator.permutation(12)[:length]
    return rows, [[int(i) for i in row if i >= 0] for row in rows]


def test_rank_biased_overlap_and_tau_are_their_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "_CELLS", 500)  # several blocks
    generator = np.random.default_rng(0)
    (mine, first), (theirs, second) = random_lists(generator, 60, 8), random_lists(generator, 60, 10)
    slow = [slow_rank_biased_overlap(a, b, 0.8) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(rank_biased_overlap(mine, theirs, 0.8), slow, atol=1e-12)
    for tau, a, b in zip(kendall_tau(mine, theirs), first, second, strict=True):
        shared = [item for item in a if item in b]
        if len(shared) < 2:
            assert np.isnan(tau)
        else:
            assert tau == pytest.approx(kendalltau(range(len(shared)), [b.index(i) for i in shared]).statistic)


def test_a_persistence_outside_0_to_1_is_refused() -> None:
    with pytest.raises(BadInput, match=r"persistence.*found 1.*take 0\.9"):
        rank_biased_overlap(*padded(["a"], ["a"]), persistence=1)


def test_scores_shift_in_deviations_of_the_first_version() -> None:
    mine = np.array([[1.0, 3.0], [1.0, 3.0], [np.nan, np.nan]])
    theirs = np.array([[2.0, 4.0], [2.0, np.nan], [1.0, 1.0]])
    np.testing.assert_allclose(score_shift(mine, theirs), [1, 0, np.nan])


def test_agreement_is_the_mean_over_requests() -> None:
    mine, theirs = padded(["ab", "ab", "a"], ["ba", "xy", "b"])
    scores, others = np.array([[2.0, 1], [2, 1], [2, np.nan]]), np.array([[2.0, 1], [3, 2], [np.nan, np.nan]])
    found = agreement(mine, theirs, scores, others, k=2)
    spread = np.std([2, 1, 2, 1, 2])
    assert found == Agreement(3, pytest.approx(1 / 3), pytest.approx(0.3), -1, pytest.approx(0.5 / spread))
    strangers = agreement(mine[2:], theirs[2:], scores[2:], others[2:], k=2)
    assert strangers == Agreement(1, 0, 0, None, None)
    with pytest.raises(BadInput, match=r"no request.*shadow replay"):
        agreement(mine[:0], theirs[:0], scores[:0], others[:0], k=2)
