"""The covariate takes away the variance that it explains, and nothing of the effect."""

import numpy as np
import pytest

from serving.analysis.cuped import adjust
from serving.analysis.estimates import difference, mean


def arms(generator: np.random.Generator, correlation: float, users: int = 2_000) -> list[tuple[np.ndarray, np.ndarray]]:
    both = []
    for effect in (0.0, 0.1):
        before = generator.normal(size=users)
        noise = generator.normal(size=users) * np.sqrt(1 - correlation**2)
        both.append((5 + effect + correlation * before + noise, 3 + 2 * before))
    return both


def test_variance_falls_by_the_square_of_the_correlation() -> None:
    (champion, x), (challenger, z) = arms(np.random.default_rng(0), 0.8, users=20_000)
    found = adjust(mean(champion), mean(challenger), x, z)
    assert found.theta == pytest.approx(0.4, abs=0.02)
    assert found.variance_ratio == pytest.approx(1 - 0.8**2, abs=0.02)


def test_the_effect_stays_and_is_found_more_exactly() -> None:
    generator = np.random.default_rng(1)
    plain, adjusted, errors = [], [], []
    for _ in range(400):
        (champion, x), (challenger, z) = arms(generator, 0.8, users=300)
        plain.append(difference(mean(champion), mean(challenger)).value)
        found = adjust(mean(champion), mean(challenger), x, z)
        contrast = difference(found.champion, found.challenger)
        adjusted.append(contrast.value)
        errors.append(contrast.standard_error)
    assert np.mean(adjusted) == pytest.approx(0.1, abs=4 * np.std(adjusted) / 20)
    assert np.var(adjusted) / np.var(plain) == pytest.approx(0.36, abs=0.06)
    assert np.mean(errors) == pytest.approx(np.std(adjusted), rel=0.1)


def test_users_without_a_past_stay_as_they_are() -> None:
    (champion, x), (challenger, z) = arms(np.random.default_rng(2), 0.8, users=20_000)
    half = np.where(np.arange(20_000) % 2 == 0, np.nan, x), np.where(np.arange(20_000) % 2 == 0, np.nan, z)
    found = adjust(mean(champion), mean(challenger), *half)
    assert found.variance_ratio == pytest.approx(1 - 0.8**2 / 2, abs=0.02)


def test_a_covariate_that_says_nothing_changes_nothing() -> None:
    (champion, _), (challenger, _) = arms(np.random.default_rng(3), 0.8)
    for covariate in (np.ones(2_000), np.full(2_000, np.nan)):
        found = adjust(mean(champion), mean(challenger), covariate, covariate)
        assert (found.theta, found.variance_ratio) == (0, 1)
        assert found.champion.value == champion.mean()
