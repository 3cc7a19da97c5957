"""Correlated labels: the graph by hand, what the graph convolution does, what is kept on disk."""

from pathlib import Path

import numpy as np
import pytest

from contracts.errors import BadInput
from training.companions.labels import LabelConfig, LabelModel, label_graph

# Label 0 on four items, label 1 on two of them, label 2 on one of those and one other, label 3 nowhere.
LABELS = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]], np.bool_)


def test_the_graph_by_hand() -> None:
    # P(1|0) = 2/4, P(2|0) = 1/4, P(0|1) = 1, P(2|1) = 1/2, P(0|2) = P(1|2) = 1/2.
    graph = label_graph(LABELS, threshold=0.5, neighbours=0.2)
    expected = [[0.8, 0.2, 0, 0], [0.1, 0.8, 0.1, 0], [0.1, 0.1, 0.8, 0], [0, 0, 0, 1]]
    assert graph.numpy() == pytest.approx(np.array(expected))
    alone = label_graph(LABELS, threshold=1.0, neighbours=0.2)
    assert alone.numpy() == pytest.approx(np.array([[1, 0, 0, 0], [0.2, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))


def test_a_threshold_of_zero_links_only_labels_that_met() -> None:
    assert label_graph(LABELS, threshold=0, neighbours=0.5)[3].tolist() == [0, 0, 0, 1]


@pytest.fixture(scope="module")
def items() -> tuple[np.ndarray, np.ndarray]:
    """Two features decide two labels; a third comes with the first; the last is rare."""
    features = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    labels = np.stack([features[:, 0] > 0, features[:, 1] > 0, features[:, 0] > 0.5, features[:, 2] > 1.5], axis=1)
    return features, labels


@pytest.fixture(scope="module")
def fitted(items: tuple[np.ndarray, np.ndarray]) -> LabelModel:
    model = LabelModel(LabelConfig(hidden=8))
    model.fit(*items, seed=0)
    return model


def test_it_learns_the_labels(fitted: LabelModel, items: tuple[np.ndarray, np.ndarray]) -> None:
    features, labels = items
    predicted = fitted.predict(features)
    assert predicted.shape == labels.shape
    assert ((predicted > 0.5) == labels).mean() > 0.9


def test_a_label_learns_from_its_neighbour(items: tuple[np.ndarray, np.ndarray]) -> None:
    # Label 2 is never seen with feature 1, but it comes with label 1 on the few items that have it.
    features, labels = items
    rare = np.zeros((len(labels), 2), np.bool_)
    rare[:, 0] = labels[:, 1]
    rare[np.flatnonzero(labels[:, 1])[:2], 1] = True
    alone, linked = (LabelModel(LabelConfig(hidden=8, neighbours=share)) for share in (0.0, 0.8))
    for model in (alone, linked):
        model.fit(features, rare, seed=0)
    probe = np.array([[0, 2, 0], [0, -2, 0]], np.float32)
    gained = [np.diff(np.log(model.predict(probe)[::-1, 1]))[0] for model in (alone, linked)]
    assert gained[1] > gained[0]


def test_names_of_labels_may_come_as_vectors(items: tuple[np.ndarray, np.ndarray]) -> None:
    model = LabelModel(LabelConfig(hidden=8))
    loss = model.fit(*items, seed=0, names=np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32))
    assert 0 < loss < 0.5


def test_equal_seeds_are_equal(fitted: LabelModel, items: tuple[np.ndarray, np.ndarray]) -> None:
    again, other = LabelModel(fitted.config), LabelModel(fitted.config)
    again.fit(*items, seed=0)
    other.fit(*items, seed=1)
    assert np.array_equal(again.predict(items[0]), fitted.predict(items[0]))
    assert not np.array_equal(other.predict(items[0]), fitted.predict(items[0]))


def test_it_is_the_same_after_a_reload(
    fitted: LabelModel, items: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    fitted.save(tmp_path / "labels")
    loaded = LabelModel.load(tmp_path / "labels")
    assert np.array_equal(loaded.predict(items[0]), fitted.predict(items[0]))
    (tmp_path / "labels" / "tensors.safetensors").write_bytes(b"no tensors")
    with pytest.raises(BadInput, match=r"labels: found .*; expected LabelConfig and tensors in the safetensors"):
        LabelModel.load(tmp_path / "labels")


def test_what_does_not_fit_is_refused(fitted: LabelModel, items: tuple[np.ndarray, np.ndarray]) -> None:
    features, labels = items
    model = LabelModel(LabelConfig())
    with pytest.raises(BadInput, match=r"found 199 rows of features, labels of shape \[200, 4\]; expected a row"):
        model.fit(features[1:], labels, seed=0)
    with pytest.raises(BadInput, match=r"labels of shape \[200, 4\], 3 vectors of labels"):
        model.fit(features, labels, seed=0, names=np.zeros((3, 2), np.float32))
    with pytest.raises(BadInput, match=r"found 2 components; expected 3, as in training"):
        fitted.predict(features[:, :2])
    with pytest.raises(BadInput, match=r"found 3 components; expected a fitted model"):
        model.predict(features)
