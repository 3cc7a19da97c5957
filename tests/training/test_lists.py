"""How two sets of lists differ."""

import numpy as np
import pytest

from training.lists import churn, gains


def lists(*rows: list[int]) -> np.ndarray:
    return np.asarray([row + [-1] * (20 - len(row)) for row in rows])


def test_churn_is_the_share_of_places_that_lose_their_item() -> None:
    before = lists([1, 2, 3, 4], [1, 2], [], [5, 6], [7])
    after = lists([4, 3, 2, 9], [1, 2], [], [], [7, 8])
    assert churn(before, after, 20).tolist() == [0.25, 0, 0, 1, 0.5]
    assert churn(before, after, 2).tolist() == [1, 0, 0, 1, 0.5]


def test_order_within_the_list_does_not_count() -> None:
    full = np.arange(20)[None]
    assert churn(full, full[:, ::-1], 20).tolist() == [0]
    assert churn(full, full[:, ::-1], 10).tolist() == [1]


def test_gains_by_hand() -> None:
    shown = lists([3, 1, 2], [5], [7, 8])
    pairs = np.array([[4, 1], [4, 9], [2, 3], [6, 5], [6, 6], [99, 3]])
    found = gains(shown, np.array([2, 4, 6]), pairs)
    assert found["recall_at_20"].tolist() == [1, 0, 0]
    assert found["ndcg_at_20"].tolist() == [1, 0, 0]
    found = gains(shown[[1, 0, 2]], np.array([2, 4, 6]), pairs)
    second = 1 / np.log2(3)
    assert found["recall_at_20"].tolist() == [0, 0.5, 0]
    assert found["ndcg_at_20"] == pytest.approx([0, second / (1 + second), 0])


def test_what_was_not_shown_is_no_hit() -> None:
    assert gains(lists([]), np.array([0]), np.array([[0, 0]]))["recall_at_20"].tolist() == [0]
