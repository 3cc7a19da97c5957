import numpy as np
import torch

from training.connectivity import Connectivity

PAIRS = np.array([[2, 1], [0, 0], [0, 1], [1, 1]])
CPU = torch.device("cpu")


def by_hand(pairs: list[list[int]], users: torch.Tensor, items: torch.Tensor, steps: int) -> torch.Tensor:
    """Dense: the mean over layers of D^-1/2 A D^-1/2 applied again and again."""
    adjacency = torch.zeros(7, 7)
    for user, item in pairs:
        adjacency[user, 4 + item] = adjacency[4 + item, user] = 1
    scale = adjacency.sum(1).clamp(min=1).rsqrt()
    layers = [torch.cat([users, items])]
    for _ in range(steps):
        layers.append(scale.unsqueeze(1) * adjacency * scale @ layers[-1])
    return torch.stack(layers).mean(0)


def tables() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 5, generator=generator), torch.randn(3, 5, generator=generator)


def test_means_over_the_whole_graph() -> None:
    users, items = tables()
    found = torch.cat(Connectivity(PAIRS, 4, 3, 2, CPU).means(users, items))
    assert torch.allclose(found, by_hand(PAIRS.tolist(), users, items, 2), atol=1e-6)


def test_a_batch_does_not_see_its_own_pairs_and_degrees_follow() -> None:
    users, items = tables()
    left_out = (torch.tensor([0, 2]), torch.tensor([1, 1]))
    found = torch.cat(Connectivity(PAIRS, 4, 3, 2, CPU).means(users, items, left_out))
    assert torch.allclose(found, by_hand([[0, 0], [1, 1]], users, items, 2), atol=1e-6)


def test_leaving_out_what_is_no_edge_changes_nothing() -> None:
    users, items = tables()
    graph = Connectivity(PAIRS, 4, 3, 2, CPU)
    found = graph.means(users, items, (torch.tensor([3, 1]), torch.tensor([2, 0])))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, graph.means(users, items), strict=True))


def test_gradient_is_that_of_the_dense_form() -> None:
    users, items = (table.requires_grad_() for table in tables())
    Connectivity(PAIRS, 4, 3, 3, CPU).means(users, items, (torch.tensor([0]), torch.tensor([0])))[
        0
    ].square().sum().backward()
    again_users, again_items = (table.requires_grad_() for table in tables())
    by_hand([[2, 1], [0, 1], [1, 1]], again_users, again_items, 3)[:4].square().sum().backward()
    assert torch.allclose(users.grad, again_users.grad, atol=1e-6)
    assert torch.allclose(items.grad, again_items.grad, atol=1e-6)
