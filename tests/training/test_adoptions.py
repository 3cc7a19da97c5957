"""Which music the videos like a requested one took."""

import pytest
import torch
from torch.nn.functional import normalize

from training.adoptions import Adoptions


@pytest.fixture
def held() -> Adoptions:
    """Videos 7, 3 and 5 with music 0, 1 and 0; they point up, right and between."""
    adoptions = Adoptions(2)
    adoptions.hold(torch.tensor([7, 3, 5]), torch.tensor([[0, 1], [1, 0], [0.6, 0.8]]), torch.tensor([0, 1, 0]))
    return adoptions


def test_places_of_numbers(held: Adoptions) -> None:
    assert held.places(torch.tensor([5, 3, 4, -1, 9, 7])).tolist() == [1, 0, -1, -1, -1, 2]
    assert Adoptions(2).places(torch.tensor([5, -1])).tolist() == [-1, -1]


def test_the_most_similar_come_first(held: Adoptions) -> None:
    right, nothing, nowhere = torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2), torch.tensor([-1])
    assert held.music_of_similar(right, nowhere, 2).tolist() == [[1, 0]]
    assert held.music_of_similar(right, nowhere, 9).tolist() == [[1, 0, 0]]
    assert held.music_of_similar(right, held.places(torch.tensor([3])), 9).tolist() == [[0, 0, -1]]
    assert held.music_of_similar(nothing, nowhere, 2).tolist() == [[-1, -1]]
    assert Adoptions(2).music_of_similar(right, nowhere, 2).shape == (1, 0)


def test_sums_over_the_videos_of_each_item(held: Adoptions) -> None:
    total, count = held.sums(3)
    assert count.tolist() == [2, 1, 0]
    assert torch.allclose(total, torch.tensor([[0.6, 1.8], [1, 0], [0, 0]]), atol=1e-3)


def test_many_videos_are_compared_part_by_part() -> None:
    generator = torch.Generator().manual_seed(0)
    content = normalize(torch.randn(70_000, 3, generator=generator), dim=1)
    adoptions = Adoptions(3)
    adoptions.hold(torch.arange(70_000), content, torch.arange(70_000))
    asked = torch.tensor([69_999, 33_000, 5])
    similarity = content[asked].half().float() @ adoptions.content.float().T
    similarity[torch.arange(3), asked] = -1
    found = adoptions.music_of_similar(content[asked].half().float(), asked, 4)
    # Close ones may be equal in float16: their similarity tells, and not their number.
    assert torch.allclose(similarity.gather(1, found), similarity.topk(4, dim=1).values, atol=1e-6)
    assert (found != asked.unsqueeze(1)).all()
