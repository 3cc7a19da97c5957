"""Permutation tests: exact, sequential, corrected for how many there are."""

import numpy as np
import pytest

from validation.statistics.permutation import PERMUTATIONS, block_means, block_size, contrast_blocks, holm


def _p_values(draw, trials: int = 400) -> np.ndarray:
    """The smallest p-value of each trial, of groups of 90 and 30 rows that ``draw`` makes alike."""
    found = []
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        rows = draw(rng, 120).astype(np.float32)
        size = block_size(30, 90)
        blocks = {"mean": block_means(rows, 30, size), "square": block_means(np.square(rows), 30, size)}
        contrasts = contrast_blocks(blocks, {"peak": ("mean", "square")}, 30 // size, rng)
        found.append(min(contrast.p_value for contrast in contrasts.values()))
    return np.array(found)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, rows: rng.normal(size=(rows, 5)),
        lambda rng, rows: rng.standard_t(2, size=(rows, 3)),
        lambda rng, rows: np.maximum(rng.normal(size=(rows, 4)) - 1.5, 0),
    ],
    ids=["normal", "heavy tails", "mostly zero"],
)
def test_p_values_are_uniform_when_nothing_differs(draw) -> None:
    p_values = _p_values(draw)
    for level in (0.05, 0.1, 0.25, 0.5):
        # Three and a half binomial standard errors.
        assert (p_values <= level).mean() == pytest.approx(level, abs=3.5 * np.sqrt(level * (1 - level) / 400))


def test_a_clear_difference_has_the_least_p_value_and_its_size() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4000, 6)).astype(np.float32)
    rows[:2000] += 0.5
    contrast = contrast_blocks({"mean": block_means(rows, 2000, 20)}, {"peak": ("mean",)}, 100, rng)
    assert contrast["mean"].p_value == 1 / (PERMUTATIONS + 1)
    assert contrast["mean"].effect == pytest.approx(0.5, abs=0.05)
    assert contrast["peak"].effect == pytest.approx(0.5, abs=0.1)


def test_effects_leave_out_what_chance_adds() -> None:
    rng = np.random.default_rng(1)
    effects = [
        contrast_blocks({"mean": block_means(rng.normal(size=(400, 50)).astype(np.float32), 200, 4)}, {}, 50, rng)
        for _ in range(40)
    ]
    # Means of 200 rows differ by 0.1 by chance.
    assert np.median([e["mean"].effect for e in effects]) < 0.04


def test_features_that_do_not_vary_say_nothing() -> None:
    flat = {"mean": np.ones((60, 3), np.float32), "other": np.zeros((60, 2), np.float32)}
    contrasts = contrast_blocks(flat, {}, 20, np.random.default_rng(0))
    assert [(c.p_value, c.effect) for c in contrasts.values()] == [(1.0, 0.0)] * 2


def test_means_over_blocks_keep_the_groups_apart_and_drop_the_rest() -> None:
    rows = np.arange(9, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(block_means(rows, 5, 2).ravel(), [0.5, 2.5, 5.5, 7.5])


def test_holm_by_hand() -> None:
    # Sorted .01, .02, .03, .5: times 4, 3, 2, 1, never falling.
    adjusted = holm({"a": 0.02, "b": 0.5, "c": 0.01, "d": 0.03})
    assert adjusted == pytest.approx({"c": 0.04, "a": 0.06, "d": 0.06, "b": 0.5})
    assert holm({}) == {}
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
