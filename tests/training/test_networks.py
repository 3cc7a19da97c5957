"""Networks of users by hand."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from training.networks import UserNetworks, shared_interests

FRIENDS = csr_array(np.array([[0, 7, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]], np.float32))
"""User 0 is tied to 1 and 2, user 1 to 2; the weights are not to matter."""
FOLLOWING = csr_array(np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], np.float32))
"""User 1 is tied to 0, user 2 to 1; user 3 to nobody anywhere."""


@pytest.fixture
def networks() -> UserNetworks:
    held = UserNetworks(users=4, dimension=2)
    held.start({"friend": FRIENDS, "follow": FOLLOWING}, torch.ones(4, 2))
    with torch.no_grad():
        # In order of name: follow, friend.
        held.vectors[0].copy_(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 4.0], [9.0, 9.0]]))
        held.vectors[1].copy_(torch.tensor([[3.0, 1.0], [2.0, 2.0], [4.0, 0.0], [9.0, 9.0]]))
        held.impact[0, 1] = float(np.log(3))
    return held


def test_it_starts_from_the_users(networks: UserNetworks) -> None:
    fresh = UserNetworks(users=4, dimension=2)
    fresh.start({"friend": FRIENDS}, torch.arange(8.0).view(4, 2))
    assert torch.equal(fresh.vectors[0], torch.arange(8.0).view(4, 2))
    assert fresh.tied.tolist() == [[True, True, False, False]]
    assert networks.tied.tolist() == [[False, True, True, False], [True, True, False, False]]


def test_equation_12(networks: UserNetworks) -> None:
    expected = [
        [[0, 0], [1, 0], [2, 0], [0, 0]],
        [[3, 1], [4, 0], [0, 0], [0, 0]],
    ]
    assert torch.equal(networks.neighbours(), torch.tensor(expected, dtype=torch.float32))
    table = torch.tensor([[8.0], [2.0], [4.0], [1.0]])
    assert networks.neighbours(table).squeeze(2).tolist() == [[0, 8, 2, 0], [3, 4, 0, 0]]


def test_equation_13(networks: UserNetworks) -> None:
    # User 0 is in one network and user 2 in the other; user 1 weighs them 3 to 1, user 3 has none.
    expected = [[3, 1], [0.75 * 2 + 0.25 * 2, 0.25 * 2], [0, 4], [0, 0]]
    assert torch.allclose(networks.mixed(networks.vectors), torch.tensor(expected, dtype=torch.float32))


def test_equation_15(networks: UserNetworks) -> None:
    users = torch.tensor([[3.0, 3.0], [2.0, 0.5], [1.0, 4.0], [5.0, 5.0]])
    apart, alone, small = networks.penalties(users)
    assert apart.item() == pytest.approx((2**2 + 0 + 1) / 2)
    # follow: 1 is (1, 0) away from its neighbour, 2 is (-2, 4); friend: 0 is at its neighbours, 1 is (-2, 2) away.
    assert alone.item() == pytest.approx((1 + 4 + 16 + 0 + 4 + 4) / 2)
    assert small.item() == pytest.approx((4 + 16 + 9 + 1 + 4 + 4) / 2)


def test_its_gradient_is_that_of_the_sums(networks: UserNetworks) -> None:
    users = torch.tensor([[3.0, 3.0], [2.0, 0.5], [1.0, 4.0], [5.0, 5.0]], requires_grad=True)
    sum(networks.penalties(users)).backward()
    assert networks.vectors.grad is not None
    assert networks.impact.grad is not None
    assert torch.isfinite(networks.impact.grad).all()
    rest = networks.vectors.detach() - networks.neighbours().detach()
    apart = (users - networks.mixed(networks.vectors)).detach()
    # Derivative by u_1 in `follow`: weight 3/4 of what lies apart, its own rest, and that of user 2, who is tied to it.
    by_hand = -0.75 * apart[1] + rest[0, 1] - rest[0, 2] + networks.vectors[0, 1].detach()
    assert torch.allclose(networks.vectors.grad[0, 1], by_hand)
    assert not networks.vectors.grad[:, 3].any()
    assert not users.grad[3].any()


def test_without_networks_nothing_is_said() -> None:
    alone = UserNetworks(users=3, dimension=2)
    alone.start({}, torch.ones(3, 2))
    assert alone.neighbours().shape == (0, 3, 2)
    assert alone.mixed(alone.neighbours()).tolist() == [[0, 0]] * 3
    assert [part.item() for part in alone.penalties(torch.ones(3, 2))] == [0, 0, 0]


def test_it_becomes_as_large_as_a_state(networks: UserNetworks) -> None:
    copy = UserNetworks(users=4, dimension=2)
    copy.make_room(networks.state_dict())
    copy.load_state_dict(networks.state_dict())
    assert torch.equal(copy.vectors, networks.vectors)
    assert {name for name, _ in copy.named_parameters()} == {"vectors", "impact"}


def test_shared_interests() -> None:
    # Users 0 and 1 share items 0 and 1, users 0 and 2 share item 0; user 3 shares nothing.
    pairs = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [3, 4]])
    network = shared_interests(pairs, (5, 5), neighbours=1, shrinkage=2.0)
    assert network.dtype == np.float32
    expected = np.zeros((5, 5))
    expected[0, 1] = expected[1, 0] = 2 / (2 + 2)
    expected[2, 0] = 1 / (2**0.5 + 2)  # As similar to 1; the first is taken.
    assert network.toarray() == pytest.approx(expected)
    both = shared_interests(pairs, (5, 5), neighbours=2, shrinkage=2.0)
    assert both.indptr.tolist() == [0, 2, 4, 6, 6, 6]


def test_shared_interests_of_many_users() -> None:
    rng = np.random.default_rng(0)
    seen = rng.random((1100, 30)) < 0.2
    pairs = np.argwhere(seen)
    network = shared_interests(pairs, seen.shape, neighbours=1100, shrinkage=1.0).toarray()
    counts = seen.sum(1)
    expected = (seen.astype(float) @ seen.T) / (np.sqrt(np.outer(counts, counts)) + 1)
    np.fill_diagonal(expected, 0)
    assert network == pytest.approx(expected, abs=1e-6)
