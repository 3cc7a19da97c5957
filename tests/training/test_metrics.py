import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from training.metrics import ndcg, precision, recall


def test_hand_worked_case() -> None:
    # Three users, cut-off 4. First: hits at ranks 1 and 3 of three wanted items. Second: the only one at rank 4.
    # Third: six wanted, all four places hit.
    hits = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1]], dtype=torch.bool)
    relevant = torch.tensor([3, 1, 6])

    assert recall(hits, relevant).tolist() == pytest.approx([2 / 3, 1.0, 4 / 6], abs=1e-12)
    assert precision(hits, 4).tolist() == pytest.approx([0.5, 0.25, 1.0], abs=1e-12)
    # First: (1 + 1/2) / (1 + 1/log2(3) + 1/2); second: 1/log2(5); third: as good as four places allow.
    first = 1.5 / (1 + 0.6309297535714575 + 0.5)
    assert ndcg(hits, relevant, 4).tolist() == pytest.approx([first, 0.43067655807339306, 1.0], abs=1e-12)


def test_fewer_items_than_places_count_as_misses() -> None:
    hits = torch.tensor([[True, False]])
    assert precision(hits, 20).tolist() == [0.05]
    assert ndcg(hits, torch.tensor([1]), 20).tolist() == [1.0]


@st.composite
def rankings(draw: st.DrawFn) -> tuple[list[bool], int]:
    hits = draw(st.lists(st.booleans(), min_size=1, max_size=30))
    return hits, sum(hits) + draw(st.integers(min_value=0 if any(hits) else 1, max_value=30))


@given(rankings())
def test_agrees_with_plain_loops_and_stays_within_bounds(case: tuple[list[bool], int]) -> None:
    hits, relevant = case
    k = len(hits)
    gain = sum(1 / math.log2(rank + 1) for rank, hit in enumerate(hits, start=1) if hit)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(relevant, k) + 1))
    row, count = torch.tensor([hits]), torch.tensor([relevant])

    assert recall(row, count).item() == pytest.approx(sum(hits) / relevant, abs=1e-9)
    assert precision(row, k).item() == pytest.approx(sum(hits) / k, abs=1e-9)
    assert ndcg(row, count, k).item() == pytest.approx(gain / ideal, abs=1e-9)
    assert 0 <= ndcg(row, count, k).item() <= 1 + 1e-12
