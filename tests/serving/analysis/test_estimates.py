"""Standard errors against what estimates do when an experiment is repeated."""

import numpy as np
import pytest

from serving.analysis.estimates import Estimate, difference, lift, mean, paired_lift, ratio, totals


def test_a_mean_by_hand() -> None:
    found = mean(np.array([1.0, 2.0, 6.0]))
    assert found.value == 3
    assert found.standard_error == pytest.approx(np.std([1, 2, 6], ddof=1) / np.sqrt(3))
    assert totals([1, 2, 3], np.array([0, 2, 0]), 3).tolist() == [4, 0, 2]


def experiment(generator: np.random.Generator) -> tuple[Estimate, Estimate, Estimate]:
    """Clicks per impression of two arms whose users differ in both, and likes of the second arm's users."""
    arms = []
    for rate in (0.2, 0.22):
        shown = generator.poisson(20, 400) + 1
        taste = generator.beta(2, 2 / rate - 2, 400)
        arms.append((generator.binomial(shown, taste).astype(float), shown.astype(float)))
    (first, shown_first), (second, shown_second) = arms
    likes = generator.binomial(second.astype(int), 0.5).astype(float)
    return ratio(first, shown_first), ratio(second, shown_second), ratio(likes, shown_second)


def test_standard_errors_are_the_deviations_of_repeated_experiments() -> None:
    generator = np.random.default_rng(0)
    found: dict[str, list[tuple[float, float]]] = {"difference": [], "lift": [], "paired": []}
    for _ in range(600):
        champion, challenger, likes = experiment(generator)
        for name, contrast in (
            ("difference", difference(champion, challenger)),
            ("lift", lift(champion, challenger)),
            ("paired", paired_lift(challenger, likes)),
        ):
            found[name].append((contrast.value, contrast.standard_error))
            assert contrast.units == 400
    for name, truth in (("difference", 0.02), ("lift", np.log(1.1)), ("paired", np.log(0.5))):
        values, errors = np.array(found[name]).T
        assert values.mean() == pytest.approx(truth, abs=4 * values.std() / np.sqrt(600) + 0.002), name
        assert errors.mean() == pytest.approx(values.std(), rel=0.1), name
