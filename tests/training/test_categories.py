"""Hidden categories by hand."""

import pytest
import torch

from training.categories import HiddenCategories

ITEMS = torch.tensor([[0.0, 0.0], [0.0, 2.0], [10.0, 0.0], [10.0, 4.0], [99.0, 99.0]])
KNOWN = torch.tensor([True, True, True, True, False])


def started() -> HiddenCategories:
    categories = HiddenCategories(2, items=5, dimension=2)
    categories.start(ITEMS, KNOWN, seed=0)
    return categories


def test_the_first_centres_are_those_of_k_means() -> None:
    categories = started()
    assert sorted(categories.centres.tolist()) == [[0, 1], [10, 2]]
    assert not categories.vectors.any()
    first, second = categories.category[0].item(), categories.category[2].item()
    assert categories.category.tolist() == [first, first, second, second, -1]
    assert first != second


def test_equation_9_moves_items_then_centres() -> None:
    categories = started()
    near, far = categories.category[0].item(), categories.category[2].item()
    moved = ITEMS.clone()
    moved[1] = torch.tensor([9.0, 2.0])
    categories.estimate(moved, KNOWN)
    assert categories.category.tolist() == [near, far, far, far, -1]
    assert categories.centres[near].tolist() == [0, 0]
    assert categories.centres[far].tolist() == pytest.approx([29 / 3, 2])


def test_a_centre_without_items_stays() -> None:
    categories = started()
    far = categories.category[2].item()
    categories.estimate(torch.zeros(5, 2), KNOWN)
    assert categories.centres[far].tolist() == [10, 2]
    assert categories.centres[1 - far].tolist() == [0, 0]


def test_vectors_of_items_and_equation_10() -> None:
    categories = started()
    with torch.no_grad():
        categories.vectors.copy_(categories.centres + torch.tensor([1.0, 2.0]))
        of = categories.of(torch.tensor([[0, 4], [3, 2]]))
    assert of.tolist() == [[[1, 3], [0, 0]], [[11, 4], [11, 4]]]
    near, small = categories.penalties()
    assert near.item() == pytest.approx(2 * (1 + 4) / 2)
    assert small.item() == pytest.approx((1 + 9 + 121 + 16) / 2)


def test_more_categories_than_items() -> None:
    categories = HiddenCategories(50, items=5, dimension=2)
    categories.start(ITEMS, KNOWN, seed=0)
    assert categories.centres.shape == (5, 2)
    assert sorted(categories.category.tolist()) == [-1, 0, 1, 2, 3]


def test_nobody_known() -> None:
    categories = started()
    centres = categories.centres.clone()
    categories.estimate(ITEMS, torch.zeros(5, dtype=torch.bool))
    assert torch.equal(categories.centres, centres)
    assert categories.category.tolist() == [-1] * 5
