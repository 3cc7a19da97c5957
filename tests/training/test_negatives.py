import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from training.negatives import UniformNegatives


def test_no_negative_is_a_known_positive(frame: TrainingFrame) -> None:
    sampler = UniformNegatives(torch.from_numpy(frame.train), len(frame.users), len(frame.items))
    users = torch.arange(len(frame.users)).repeat(500)
    items, _ = sampler.sample(users, 1, torch.Generator().manual_seed(0))
    positives = set(map(tuple, frame.train.tolist()))
    drawn = set(zip(users.tolist(), items[:, 0].tolist(), strict=True))
    assert not drawn & positives
    assert int(items.min()) >= 0
    assert int(items.max()) < len(frame.items)
    # 48,000 draws from 96 users with 57 unseen items each reach nearly all of them.
    assert len(drawn) > 0.99 * (len(frame.users) * len(frame.items) - len(positives))


@given(st.integers(1, 6), st.integers(2, 8), st.data())
def test_every_unseen_item_is_drawn_and_no_other(users: int, items: int, data: st.DataObject) -> None:
    seen = [
        sorted(data.draw(st.sets(st.integers(0, items - 1), max_size=items - 1), label=f"user {u}"))
        for u in range(users)
    ]
    pairs = torch.tensor([(u, i) for u, row in enumerate(seen) for i in row], dtype=torch.int64).reshape(-1, 2)
    shuffled = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(1))]
    sampler = UniformNegatives(shuffled, users, items)
    asked = torch.arange(users).repeat_interleave(400)
    drawn, log_probability = sampler.sample(asked, 1, torch.Generator().manual_seed(2))
    for user in range(users):
        unseen = set(range(items)) - set(seen[user])
        assert set(drawn[asked == user, 0].tolist()) == unseen
        assert log_probability[asked == user, 0].tolist() == pytest.approx([-math.log(len(unseen))] * 400, abs=1e-6)


def test_draws_are_uniform() -> None:
    sampler = UniformNegatives(torch.tensor([[0, 1], [0, 4]]), users=1, items=6)
    drawn, _ = sampler.sample(torch.zeros(40_000, dtype=torch.int64), 1, torch.Generator().manual_seed(0))
    shares = np.bincount(drawn[:, 0].numpy(), minlength=6) / 40_000
    # Standard error of a share is 0.0022.
    assert shares == pytest.approx([0.25, 0, 0.25, 0.25, 0, 0.25], abs=0.01)


def test_same_generator_same_draws() -> None:
    sampler = UniformNegatives(torch.tensor([[0, 1]]), users=2, items=50)
    users = torch.tensor([0, 1] * 20)
    first, second = (sampler.sample(users, 1, torch.Generator().manual_seed(7))[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_user_who_has_seen_everything_is_refused() -> None:
    pairs = torch.tensor([[0, 0], [1, 0], [1, 1], [1, 2]])
    with pytest.raises(BadInput, match="training pairs of user row 1: found all 3 items seen"):
        UniformNegatives(pairs, users=2, items=3)
