import numpy as np
import torch

from training.graph import mean_of_layers, normalised_adjacency

PAIRS = np.array([[0, 0], [0, 1], [1, 1], [2, 1]])


def test_normalised_adjacency_by_hand() -> None:
    dense = normalised_adjacency(PAIRS, users=4, items=3).to_dense()
    # Degrees: user 0 has 2, users 1 and 2 have 1, user 3 none; item 0 has 1, item 1 has 3, item 2 none.
    expected = torch.zeros(7, 7)
    for user, item, weight in [(0, 0, 1 / 2**0.5), (0, 1, 1 / 6**0.5), (1, 1, 1 / 3**0.5), (2, 1, 1 / 3**0.5)]:
        expected[user, 4 + item] = expected[4 + item, user] = weight
    assert torch.allclose(dense, expected)


def test_mean_of_layers_and_its_gradient_are_those_of_dense_products() -> None:
    graph = normalised_adjacency(PAIRS, users=4, items=3)
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = x.detach().clone().requires_grad_()
    weights = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    dense = graph.to_dense()
    mean, expected = mean_of_layers(graph, x, 2), (y + dense @ y + dense @ (dense @ y)) / 3
    assert torch.allclose(mean, expected, atol=1e-6)
    (mean * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.allclose(x.grad, y.grad, atol=1e-6)


def test_no_step_changes_nothing_and_leaves_what_it_was_given_alone() -> None:
    graph, x = normalised_adjacency(PAIRS, users=4, items=3), torch.ones(7, 2)
    assert torch.equal(mean_of_layers(graph, x, 0), torch.ones(7, 2))
    mean_of_layers(graph, x, 3)
    assert torch.equal(x, torch.ones(7, 2))
