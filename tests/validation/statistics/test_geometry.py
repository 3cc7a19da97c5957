"""Spectra and hubs, against what is known of the clouds they are taken from."""

import numpy as np
import pytest

from validation.statistics.geometry import Hubs, Spectrum, hubs, spectrum


def _cloud(count: int, scales: np.ndarray, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(count, len(scales))) * scales).astype(np.float32)


def _spectrum(sample: np.ndarray) -> Spectrum:
    found = spectrum(sample)
    assert found is not None
    return found


def _hubs(sample: np.ndarray) -> Hubs:
    found = hubs(sample)
    assert found is not None
    return found


@pytest.mark.parametrize("count", [600, 4000])
def test_effective_rank_of_a_known_spectrum_whatever_the_sample(count: int) -> None:
    scales = np.arange(1, 65) ** -0.5
    shares = scales**2 / (scales**2).sum()
    expected = np.exp(-(shares * np.log(shares)).sum())
    ranks = [_spectrum(_cloud(count, scales, seed) + 7).effective_rank for seed in range(5)]
    assert np.mean(ranks) == pytest.approx(expected, rel=0.01)
    tops = [_spectrum(_cloud(count, scales, seed)).top_share for seed in range(5)]
    assert np.mean(tops) == pytest.approx(shares[0], rel=0.05)


def test_eigenvalues_are_those_of_the_covariance() -> None:
    sample = _cloud(300, np.array([5.0, 2.0, 1.0, 0.0]), 0) + 1000
    expected = np.linalg.eigvalsh(np.cov(sample.astype(np.float64).T, bias=True))[::-1]
    np.testing.assert_allclose(_spectrum(sample).eigenvalues, expected, rtol=1e-3, atol=1e-6)


def test_errors_are_the_spread_over_samples() -> None:
    scales = np.arange(1, 33) ** -0.7
    found = [_spectrum(_cloud(1000, scales, seed)) for seed in range(60)]
    for value, error in (("effective_rank", "effective_rank_error"), ("top_share", "top_share_error")):
        spread = np.std([getattr(one, value) for one in found])
        assert 0.6 < np.mean([getattr(one, error) for one in found]) / spread < 1.7, value


def test_scale_does_not_matter_and_clouds_without_one_have_no_spectrum() -> None:
    sample = _cloud(200, np.ones(8), 0)
    rank = _spectrum(sample).effective_rank
    for factor in (1e-18, 1e18):
        assert _spectrum(sample * np.float32(factor)).effective_rank == pytest.approx(rank, rel=1e-4)
    assert spectrum(np.ones((50, 4), np.float32)) is None
    assert spectrum(np.ones((1, 4), np.float32)) is None
    assert spectrum(np.zeros((0, 4), np.float32)) is None


def test_one_width_has_rank_one() -> None:
    found = _spectrum(_cloud(100, np.ones(1), 0))
    assert found.effective_rank == pytest.approx(1.0)
    assert found.top_share == pytest.approx(1.0)


def test_neighbours_are_those_of_a_slow_search() -> None:
    sample = _cloud(300, np.ones(16), 2) + 5
    distance = np.linalg.norm(sample[:, None] - sample[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    counts = np.bincount(np.argsort(distance, axis=1)[:, :10].ravel(), minlength=300)
    found = _hubs(sample)
    assert found.share == counts.max() / 300
    assert found.concentration == pytest.approx(np.sort(counts)[-3:].sum() / 3000)
    assert found.skewness == pytest.approx(((counts - 10) ** 3).mean() / counts.std() ** 3)


def test_hubs_stand_out() -> None:
    sample = _cloud(2500, np.ones(64), 3)
    clean = _hubs(sample)
    one = sample.copy()
    one[2100] = sample.mean(axis=0)
    assert _hubs(one).share > 0.9
    assert _hubs(one).skewness > 2 * clean.skewness
    many = sample.copy()
    many[::100] = sample.mean(axis=0) + _cloud(25, np.full(64, 0.01), 4)
    assert _hubs(many).concentration > 0.95 > 2 * clean.concentration
    assert hubs(sample[:49]) is None
