from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from training.content import ItemVectors, concatenated_content, content_clusters


def with_content(frame: TrainingFrame, missing: tuple[int, ...] = ()) -> TrainingFrame:
    modalities = {
        "visual": np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32),
        "acoustic": np.array([[2.0], [-5.0]], dtype=np.float32),
    }
    absent = {"visual": np.isin([0, 1], missing), "acoustic": np.zeros(2, dtype=bool)}
    return replace(frame, modalities=modalities, missing=absent)


def test_modalities_stand_in_order_of_their_names(frame: TrainingFrame) -> None:
    assert concatenated_content(with_content(frame), "none").tolist() == [[2, 3, 4], [-5, 0, 0]]


def test_unit_scaling_is_per_modality_and_keeps_zeros(frame: TrainingFrame) -> None:
    found = concatenated_content(with_content(frame), "unit")
    assert torch.allclose(found, torch.tensor([[1.0, 0.6, 0.8], [-1.0, 0.0, 0.0]]))


def test_centring_takes_the_mean_away_first(frame: TrainingFrame) -> None:
    # Acoustic mean -1.5; visual mean (1.5, 2).
    found = concatenated_content(with_content(frame), "centred")
    assert torch.allclose(found, torch.tensor([[1.0, 0.6, 0.8], [-1.0, -0.6, -0.8]]))


def test_centring_leaves_out_who_has_no_vector(frame: TrainingFrame) -> None:
    # The only visual vector is its own mean, and the missing one stays zero.
    found = concatenated_content(with_content(frame, missing=(1,)), "centred")
    assert torch.allclose(found, torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]))


def test_half_precision_from_a_read_only_file_is_reckoned_in_float32(frame: TrainingFrame, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(loc=100, size=(2, 3)).astype(np.float16)
    np.save(tmp_path / "visual.npy", vectors)
    missing = {"visual": np.zeros(2, dtype=bool)}
    mapped = ItemVectors({"visual": np.load(tmp_path / "visual.npy", mmap_mode="r")}, missing)
    whole = ItemVectors({"visual": vectors.astype(np.float32)}, missing)
    found = concatenated_content(mapped, "centred")
    assert found.dtype == torch.float32
    assert torch.equal(found, concatenated_content(whole, "centred"))


def test_no_modalities_are_refused(frame: TrainingFrame) -> None:
    with pytest.raises(BadInput, match="found no embeddings of any modality"):
        concatenated_content(replace(frame, modalities={}), "none")


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
