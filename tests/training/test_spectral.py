"""The start from factors of the interactions."""

import numpy as np
import pytest

from training.spectral import spectral_start


def test_scores_are_those_of_the_normalised_matrix() -> None:
    # Two groups that share no item: rank 2 holds everything that the degrees say.
    # Users 0 and 1 saw items 0 and 1, user 2 saw item 2: the similarities are R^T R of the normalised matrix, whose
    # leading right singular vectors are (1, 1, 0) / sqrt(2) and (0, 0, 1).
    pairs = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 2]])
    start = spectral_start(pairs, (3, 3), 2, beta=0.5, spread=3.0, generator=np.random.default_rng(0))
    similarity = (start.witnesses @ start.targets.T).numpy()
    scale = similarity[2, 2]
    expected = scale * np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])
    assert similarity == pytest.approx(expected, abs=1e-5)
    history = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    scores = history @ similarity / history.sum(1, keepdims=True) ** 0.5
    assert scores.std() == pytest.approx(3.0, rel=1e-5)
    assert float(start.targets.norm()) == pytest.approx(float(start.witnesses.norm()), rel=1e-5)


def test_components_behind_the_rank_are_zero() -> None:
    pairs = np.array([[0, 0], [0, 1], [1, 1], [2, 2]])
    start = spectral_start(pairs, (3, 3), 5, beta=0.5, spread=1.0, generator=np.random.default_rng(0))
    assert start.targets.shape == (3, 5)
    assert not start.targets[:, 2:].any()
    assert start.targets[:, :2].any(0).all()


def test_items_nobody_saw_start_at_zero() -> None:
    pairs = np.array([[0, 0], [0, 1], [1, 1], [2, 0]])
    start = spectral_start(pairs, (3, 4), 2, beta=0.5, spread=1.0, generator=np.random.default_rng(0))
    assert float(start.targets[2:].abs().max()) < 1e-6
