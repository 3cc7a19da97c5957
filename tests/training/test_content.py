import numpy as np
import pytest
import torch

from contracts.errors import BadInput
from training.content import concatenated_content, content_clusters

MODALITIES = {
    "visual": np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32),
    "acoustic": np.array([[2.0], [-5.0]], dtype=np.float32),
}


def test_modalities_stand_in_order_of_their_names() -> None:
    assert concatenated_content(MODALITIES, unit=False).tolist() == [[2, 3, 4], [-5, 0, 0]]


def test_unit_scaling_is_per_modality_and_keeps_zeros() -> None:
    found = concatenated_content(MODALITIES, unit=True)
    assert torch.allclose(found, torch.tensor([[1.0, 0.6, 0.8], [-1.0, 0.0, 0.0]]))


def test_no_modalities_are_refused() -> None:
    with pytest.raises(BadInput, match="found no embeddings of any modality"):
        concatenated_content({}, unit=False)


def test_clusters_find_separate_groups_and_repeat() -> None:
    rng = np.random.default_rng(0)
    group = np.arange(90) % 3
    points = np.array([[0, 0], [9, 0], [0, 9]])[group] + 0.1 * rng.normal(size=(90, 2))
    content = torch.from_numpy(points.astype(np.float32))
    found = content_clusters(content, clusters=3, seed=1)
    assert len({(int(a), int(b)) for a, b in zip(group, found, strict=True)}) == 3
    assert torch.equal(found, content_clusters(content, clusters=3, seed=1))


def test_no_more_clusters_than_items() -> None:
    found = content_clusters(torch.eye(3), clusters=100, seed=0)
    assert sorted(found.tolist()) == [0, 1, 2]
