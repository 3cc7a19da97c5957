import math

import pytest
import torch

from training.losses import bpr, pairwise_squared_dot, squared_norm


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
