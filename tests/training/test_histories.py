import numpy as np
import pytest
import torch

from training.batches import PADDING, UserBatch
from training.histories import Histories, HistorySum, history_sum

PAIRS = np.array([[2, 5], [0, 3], [2, 1], [0, 0], [2, 4], [2, 0]])
"""User 0 has seen items 0 and 3, user 1 nothing, user 2 items 0, 1, 4 and 5."""


@pytest.fixture
def histories() -> Histories:
    held = Histories(users=3, items=6)
    held.take(PAIRS)
    return held


def test_all_that_is_held_and_what_the_request_brings(histories: Histories) -> None:
    rows = torch.tensor([2, PADDING, 0, 1])
    history = torch.tensor([[5, 2], [4, 1], [PADDING, PADDING], [3, PADDING]])
    row, item = histories.of(UserBatch(rows, history))
    assert row.tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 2, 3]
    assert item.tolist() == [0, 1, 2, 4, 5, 1, 4, 0, 3, 3]


def test_counts(histories: Histories) -> None:
    assert histories.counts(torch.tensor([[2, 1], [0, 0]])).tolist() == [[4, 0], [2, 2]]


def test_nobody_has_seen_nothing(histories: Histories) -> None:
    nobody = UserBatch(torch.empty(0, dtype=torch.int64), torch.empty(0, 50, dtype=torch.int64))
    assert [len(part) for part in histories.of(nobody)] == [0, 0]


def test_histories_that_fit_are_whole(histories: Histories) -> None:
    sampled = histories.sample(torch.tensor([2, 0, 1]), 4, torch.Generator().manual_seed(0))
    assert sampled.tolist() == [[0, 1, 4, 5], [0, 3, -1, -1], [-1, -1, -1, -1]]


def test_longer_histories_are_sampled_evenly() -> None:
    held = Histories(users=1, items=10)
    held.take(np.array([[0, item] for item in (1, 2, 3, 5, 7, 8, 9)]))
    sampled = held.sample(torch.zeros(7000, dtype=torch.int64), 3, torch.Generator().manual_seed(0))
    # Three of seven places each: an item comes 3/7 of the time. The deviation of 3000 expected is below 55.
    counts = torch.bincount(sampled.flatten(), minlength=10)
    assert counts[[0, 4, 6]].tolist() == [0, 0, 0]
    assert (counts[[1, 2, 3, 5, 7, 8, 9]] - 3000).abs().max() < 5 * 55


def test_another_size_is_loaded(histories: Histories) -> None:
    other = Histories(users=3, items=6)
    other.make_room(histories.state_dict())
    other.load_state_dict(histories.state_dict())
    assert torch.equal(other.items, histories.items)


def test_sums_over_histories_by_hand() -> None:
    operator = HistorySum.of(PAIRS, users=3, items=6).to(torch.device("cpu"))
    table = torch.tensor([[1.0, 0.0], [2.0, 1.0], [4.0, 0.0], [8.0, 2.0], [16.0, 3.0], [32.0, 5.0]])
    assert history_sum(operator, table).tolist() == [[9.0, 2.0], [0.0, 0.0], [51.0, 9.0]]


def test_gradient_is_that_of_the_dense_product() -> None:
    operator = HistorySum.of(PAIRS, users=3, items=6)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(6, 4, generator=generator, requires_grad=True)
    same = table.detach().clone().requires_grad_()
    weights = torch.randn(3, 4, generator=generator)
    (history_sum(operator, table).sin() * weights).sum().backward()
    ((operator.forward.to_dense() @ same).sin() * weights).sum().backward()
    assert torch.allclose(table.grad, same.grad, atol=1e-6)
