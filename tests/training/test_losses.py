import math

import pytest
import torch

from training.losses import bpr, logistic, pairwise_squared_dot, sampled_softmax, squared_norm


def test_bpr_by_hand() -> None:
    # Differences 0 and ln 3: -ln(1/2) and -ln(3/4).
    loss = bpr(torch.tensor([1.0, math.log(3)]), torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2, abs=1e-6)


def test_bpr_stays_finite_far_from_zero() -> None:
    assert bpr(torch.tensor([-1e4]), torch.tensor([0.0])).item() == pytest.approx(1e4)


def test_squared_norm_by_hand() -> None:
    # (1 + 4 + 9 + 16) / (2 * 5)
    assert squared_norm(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0, 4.0]), count=5).item() == pytest.approx(3.0)


def test_pairwise_squared_dot_by_hand() -> None:
    # First user: products 1*3 + 2*4 = 11, 1*0 + 2*1 = 2, 3*0 + 4*1 = 4; second user: all orthogonal.
    first = [[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]]
    second = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    assert pairwise_squared_dot(torch.tensor([first, second])).item() == pytest.approx((121 + 4 + 16) / 2)


def test_pairwise_squared_dot_of_one_modality_is_zero() -> None:
    assert pairwise_squared_dot(torch.ones(4, 1, 3)).item() == 0


def test_bpr_of_several_negatives_is_the_mean_over_all() -> None:
    # sigmoid(0) = 1/2, sigmoid(log 3) = 3/4, sigmoid(-log 3) = 1/4.
    loss = bpr(torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 1 - math.log(3)], [math.log(3), 0.0]]))
    assert loss.item() == pytest.approx((math.log(2) + math.log(4 / 3) + math.log(4) + math.log(2)) / 4)


def test_logistic_by_hand() -> None:
    # A positive of probability 3/4; negatives of 1/4 and 1/2.
    loss = logistic(torch.tensor([math.log(3)]), torch.tensor([[-math.log(3), 0.0]]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(4 / 3) + math.log(2)) / 3)


def test_logistic_does_not_overflow() -> None:
    assert logistic(torch.tensor([-1e4]), torch.tensor([[1e4]])).item() == pytest.approx(1e4)


def test_sampled_softmax_by_hand() -> None:
    # Two draws of probability 1/4 and 1/8 stand for 1 / (2 · 1/4) = 2 and 4 items: 3 against 3 + 2 · 1 + 4 · 2.
    scores, negatives = torch.tensor([math.log(3)]), torch.tensor([[0.0, math.log(2)]])
    loss = sampled_softmax(scores, negatives, torch.log(torch.tensor([[1 / 4, 1 / 8]])))
    assert loss.item() == pytest.approx(math.log(13 / 3))


def test_sampled_softmax_of_every_item_is_the_full_softmax() -> None:
    scores = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    full = torch.nn.functional.cross_entropy(scores, torch.zeros(5, dtype=torch.int64))
    found = sampled_softmax(scores[:, 0], scores[:, 1:], torch.full((5, 8), -math.log(8)))
    assert found.item() == pytest.approx(full.item(), rel=1e-5)
