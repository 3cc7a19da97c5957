"""The same items before and now: every way in which a vector can become another."""

import math

import numpy as np
import pytest

from contracts.errors import BadInput
from validation.statistics.paired import Paired, compare, within_noise

ROWS, WIDTH = 600, 24


@pytest.fixture
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(ROWS, 6)) @ rng.normal(size=(6, WIDTH)) + rng.normal(size=(ROWS, WIDTH))).astype(
        np.float32
    )


def _counts(found: Paired) -> tuple[float, float]:
    """Items that changed, and that moved."""
    return round(found.changed_share * found.common, 6), round(found.moved_share * found.common, 6)


def _noisy(vectors: np.ndarray) -> np.ndarray:
    return vectors * (1 + 1e-3 * np.random.default_rng(1).normal(size=vectors.shape))


def test_a_snapshot_equal_to_the_last(profile_of, vectors) -> None:
    same = compare(profile_of(vectors), profile_of(vectors))
    assert (same.common, same.lost, same.new, same.sampled) == (ROWS, 0, 0, ROWS)
    assert (same.changed_share, same.noise_share, same.moved_share, same.shift) == (0, 0, 0, 0)
    assert same.neighbour_overlap == 1
    assert (same.changed, same.moved) == ([], [])


def test_taken_down_and_new_items_change_nothing_for_the_others(profile_of, vectors) -> None:
    later = compare(profile_of(vectors[:500]), profile_of(vectors[20:], ids=range(20, ROWS)))
    assert (later.common, later.lost, later.new) == (480, 20, 100)
    assert (later.changed_share, later.moved_share, later.neighbour_overlap) == (0, 0, 1)


@pytest.mark.parametrize("noise", [_noisy, lambda x: x.astype(np.float16).astype(np.float32)], ids=["gpu", "fp16"])
def test_noise_of_the_encoder_is_no_change(profile_of, vectors, noise) -> None:
    noisy = compare(profile_of(vectors), profile_of(noise(vectors)))
    assert noisy.changed_share == 0
    assert noisy.noise_share > 0.99
    assert noisy.moved_share == 0
    assert noisy.neighbour_overlap > 0.99
    assert noisy.shift < 1e-3


@pytest.mark.parametrize("noise", [lambda x: x, _noisy], ids=["exact", "noisy"])
def test_swapped_vectors_are_found_with_their_names(profile_of, vectors, noise) -> None:
    swapped = vectors.copy()
    swapped[[3, 40, 77]] = vectors[[40, 77, 3]]
    found = compare(profile_of(vectors), profile_of(noise(swapped)))
    assert _counts(found) == (3, 3)
    assert set(found.moved) == {("v3", "v40"), ("v40", "v77"), ("v77", "v3")}
    assert {name for name, _ in found.changed} == {"v3", "v40", "v77"}


@pytest.mark.parametrize("noise", [lambda x: x, _noisy], ids=["exact", "noisy"])
def test_a_table_shifted_by_one_row(profile_of, vectors, noise) -> None:
    shifted = compare(profile_of(vectors), profile_of(noise(np.roll(vectors, 1, axis=0))))
    assert shifted.moved_share == shifted.changed_share == 1
    assert shifted.neighbour_overlap < 0.1
    assert ("v1", "v0") in shifted.moved or len(shifted.moved) == 20


def test_a_placeholder_that_several_items_had_is_a_change_but_no_swap(profile_of, vectors) -> None:
    vectors[:5] = vectors[0]
    gone = vectors.copy()
    gone[10] = vectors[0]
    found = compare(profile_of(vectors), profile_of(gone))
    assert _counts(found) == (1, 0)


def test_duplicates_do_not_disturb_the_neighbours(profile_of, vectors) -> None:
    vectors[100:160] = vectors[99]
    noisy = compare(profile_of(vectors), profile_of(_noisy(vectors)))
    assert noisy.neighbour_overlap > 0.98
    assert noisy.moved_share == 0


def test_a_shift_is_measured_in_standard_deviations(profile_of, vectors) -> None:
    # A large offset hides the shift from the relative distance, but not from the paired mean.
    far = vectors + 1000 * vectors.std()
    shifted = compare(profile_of(far), profile_of(far + 0.1 * vectors.std(axis=0)))
    assert shifted.shift == pytest.approx(0.1, abs=0.005)
    assert shifted.changed_share == 0


def test_distances_of_changed_items_are_in_standard_deviations(profile_of, vectors) -> None:
    changed = vectors.copy()
    changed[7] += 3 * vectors.std(axis=0)
    changed[9] += 2 * vectors.std(axis=0)
    found = compare(profile_of(vectors), profile_of(changed))
    assert [name for name, _ in found.changed] == ["v7", "v9"]
    assert [distance for _, distance in found.changed] == pytest.approx([3, 2], rel=1e-3)


def test_bits_are_compared_beyond_the_sample(profile_of, vectors) -> None:
    swapped = vectors.copy()
    swapped[:60] = np.roll(vectors[:60], 1, axis=0)
    found = compare(profile_of(vectors, sample=50), profile_of(swapped, sample=50))
    assert found.sampled == 50
    assert found.moved_share == pytest.approx(0.1)
    assert found.changed_share == pytest.approx(0.1)


def test_one_monstrous_vector_hides_no_other_change(profile_of, vectors) -> None:
    before = vectors * np.float32(1e-3)
    now = before.copy()
    now[0], now[1] = 1e30, -now[1]
    found = compare(profile_of(before), profile_of(now))
    assert _counts(found)[0] == 2


@pytest.mark.parametrize("scale", [1e-30, 1e15])
def test_scales_do_not_matter(profile_of, vectors, scale) -> None:
    scaled = vectors * np.float32(scale)
    swapped = scaled.copy()
    swapped[[0, 1]] = scaled[[1, 0]]
    found = compare(profile_of(scaled), profile_of(swapped))
    assert _counts(found) == (2, 2)
    assert math.isfinite(found.shift)


def test_dimensions_that_never_vary(profile_of, vectors) -> None:
    vectors[:, :4] = 7
    broken = vectors.copy()
    broken[5] = vectors[6]
    found = compare(profile_of(vectors), profile_of(broken))
    assert (_counts(found)[0], found.moved) == (1, [("v5", "v6")])
    alike = np.ones((60, 4), np.float32)
    assert compare(profile_of(alike), profile_of(2 * alike)).changed_share == 1


def test_too_little_in_common(profile_of, vectors) -> None:
    apart = compare(profile_of(vectors), profile_of(vectors, ids=range(ROWS, 2 * ROWS)))
    assert (apart.common, apart.lost, apart.new) == (0, ROWS, ROWS)
    assert math.isnan(apart.changed_share)
    assert math.isnan(apart.neighbour_overlap)
    few = compare(profile_of(vectors[:10]), profile_of(vectors[:10] * 1.1))
    assert few.changed_share == 1
    assert math.isnan(few.neighbour_overlap)
    nobody = compare(profile_of(vectors[:0]), profile_of(vectors))
    assert (nobody.common, nobody.new) == (0, ROWS)
    assert compare(profile_of(vectors[:1]), profile_of(-vectors[:1])).changed_share == 1


def test_noise_is_told_by_the_scale_of_each_vector() -> None:
    largest = np.finfo(np.float32).max
    before = np.float32([[1e-30, 2e-30], [1e-30, 2e-30], [largest, largest], [largest, -largest]])
    now = np.float32([[1.001e-30, 2e-30], [1.1e-30, 2e-30], [largest, largest], [-largest, largest]])
    assert within_noise(before, now).tolist() == [True, False, True, False]


def test_widths_must_agree(profile_of, vectors) -> None:
    with pytest.raises(BadInput, match="12 components"):
        compare(profile_of(vectors), profile_of(vectors[:, :12]))
