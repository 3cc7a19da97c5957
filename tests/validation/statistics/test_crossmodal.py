"""Own against random pairing of two modalities."""

import numpy as np
import pyarrow as pa
import pytest

from validation.statistics.crossmodal import LEAST_DROP, margin

ROWS = 2400


@pytest.fixture
def sides() -> tuple[np.ndarray, np.ndarray]:
    """Two encoders that see the same eight causes, each with noise of its own."""
    rng = np.random.default_rng(0)
    causes = rng.normal(size=(ROWS, 8))
    left = causes @ rng.normal(size=(8, 40)) + 2 * rng.normal(size=(ROWS, 40))
    right = causes @ rng.normal(size=(8, 24)) + 2 * rng.normal(size=(ROWS, 24))
    return left.astype(np.float32), right.astype(np.float32)


def _split(profile_of, sides):
    left, right = sides
    before = (profile_of(left[:1200]), profile_of(right[:1200]))
    return before, left[1200:], right[1200:], range(1200, ROWS)


def test_modalities_of_new_items_go_together_as_before(profile_of, sides) -> None:
    before, left, right, ids = _split(profile_of, sides)
    found = margin(profile_of(left, ids), profile_of(right, ids), before, None, seed=0)
    assert found.pairs == found.new_pairs == 1200
    assert found.value > 20 * found.error > 0
    assert abs(found.drop) < LEAST_DROP
    assert found.p_value > 0.01


def test_a_modality_shifted_by_one_row_in_a_table_of_new_items(profile_of, sides) -> None:
    before, left, right, ids = _split(profile_of, sides)
    found = margin(profile_of(np.roll(left, 1, axis=0), ids), profile_of(right, ids), before, None, seed=0)
    assert found.p_value <= 1e-4
    assert found.drop > 0.9
    assert abs(found.value) < 5 * found.error


def test_new_items_with_each_other_s_vectors_among_known_ones(profile_of, sides) -> None:
    left, right = sides
    before = (profile_of(left[:2300]), profile_of(right[:2300]))
    mixed = left.copy()
    mixed[2300:] = np.roll(left[2300:], 1, axis=0)
    found = margin(profile_of(mixed), profile_of(right), before, None, seed=0)
    assert (found.pairs, found.new_pairs) == (ROWS, 100)
    assert found.p_value <= 1e-4
    assert found.drop > 0.7


def test_without_a_baseline_the_margin_is_measured_and_nothing_compared(profile_of, sides) -> None:
    left, right = sides
    found = margin(profile_of(left), profile_of(right), None, None, seed=0)
    assert found.value > 20 * found.error
    assert (found.p_value, found.trusted_value, found.drop) == (None, None, 0)


def test_modalities_that_have_nothing_to_do_with_each_other(profile_of, sides) -> None:
    left, right = sides
    right = np.random.default_rng(1).permutation(right)
    before = (profile_of(left[:1200]), profile_of(right[:1200]))
    found = margin(profile_of(left), profile_of(right), before, None, seed=0)
    assert abs(found.value) < 4 * found.error
    assert (found.p_value, found.new_value) == (None, None)


def test_pairs_across_entities(profile_of, sides) -> None:
    left, right = sides
    order = np.random.default_rng(2).permutation(ROWS)
    music = profile_of(right[order], ids=[f"m{row}" for row in order])
    pairs = (pa.array([f"v{i}" for i in range(ROWS)]), pa.array([f"vm{i}" for i in range(ROWS)]))
    assert margin(profile_of(left), music, None, pairs, seed=0).value == pytest.approx(
        margin(profile_of(left), profile_of(right), None, None, seed=0).value, rel=0.1
    )


def test_too_few_or_flat_pairs(profile_of, sides) -> None:
    left, right = sides
    assert margin(profile_of(left[:100]), profile_of(right[:100]), None, None, seed=0) is None
    flat = margin(profile_of(np.ones_like(left)), profile_of(right), None, None, seed=0)
    assert (flat.value, flat.error) == (0, 0)


def _videos_with_music(seed: int, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pieces of music, and videos that sound like the piece of theirs (its number in ``own``) and noise."""
    rng = np.random.default_rng(seed)
    music = rng.normal(size=(own.max() + 1, 24))
    video = 0.6 * music[own] @ rng.normal(size=(24, 24)) / np.sqrt(24) + rng.normal(size=(len(own), 24))
    return video.astype(np.float32), music.astype(np.float32)


def _margin_of_music(profile_of, seed: int, own: np.ndarray, known: int, *, mixed_up: bool = False):
    """The first ``known`` pairs, and the pieces of these, were accepted; the others' videos may be exchanged."""
    video, music = _videos_with_music(seed, own)
    if mixed_up:
        video[known:] = np.random.default_rng(seed).permutation(video[known:])
    pieces = own[:known].max() + 1
    pairs = (pa.array([f"v{i}" for i in range(len(own))]), pa.array([f"v{i}" for i in own]))
    before = (profile_of(video[:known]), profile_of(music[:pieces]))
    return margin(profile_of(video), profile_of(music), before, pairs, seed=0)


def test_pairs_that_share_music_are_one_piece_of_evidence(profile_of) -> None:
    p_values = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        own = np.concatenate([rng.integers(0, 400, 1500), rng.integers(400, 425, 300)])
        found = _margin_of_music(profile_of, seed, own, 1500)
        assert found.new_pairs == 300
        p_values.append(found.p_value)
    assert min(p_values) > 0.005
    mixed_up = _margin_of_music(profile_of, 0, own, 1500, mixed_up=True)
    assert mixed_up.p_value < 5e-4
    assert mixed_up.drop > 0.7


def test_too_few_pieces_of_music_say_nothing(profile_of) -> None:
    rng = np.random.default_rng(0)
    few_new = np.concatenate([rng.integers(0, 400, 1500), rng.integers(400, 412, 300)])
    assert _margin_of_music(profile_of, 0, few_new, 1500, mixed_up=True).p_value is None
    assert _margin_of_music(profile_of, 0, np.arange(1500) % 50, 1500) is None


def test_the_error_of_a_margin_is_that_of_drawing_other_music(profile_of) -> None:
    # Thirty videos to a piece: between pairs the spread would be told as less than half of this.
    own = np.repeat(np.arange(80), 30)
    rng = np.random.default_rng(1)
    mix = rng.normal(size=(24, 24)) / np.sqrt(24)
    found = []
    for seed in range(24):
        rng = np.random.default_rng(seed)
        music = rng.normal(size=(80, 24))
        video = music[own] @ mix + 0.5 * rng.normal(size=(len(own), 24))
        pairs = (pa.array([f"v{i}" for i in range(len(own))]), pa.array([f"v{i}" for i in own]))
        found.append(margin(profile_of(video), profile_of(music), None, pairs, seed=0))
    spread = np.std([one.value for one in found])
    assert 0.6 * spread < np.mean([one.error for one in found]) < 1.6 * spread


def test_few_new_pieces_with_one_video_each_do_not_alarm(profile_of) -> None:
    # Their mean scores vary more than those of pieces with ten videos.
    own = np.concatenate([np.repeat(np.arange(200), 10), np.arange(200, 260)])
    p_values = [_margin_of_music(profile_of, seed, own, 2000).p_value for seed in range(20)]
    assert min(p_values) > 0.005


def test_new_pairs_beyond_the_sample_are_judged(profile_of, sides) -> None:
    left, right = sides
    before = (profile_of(left[:2300], sample=1200), profile_of(right[:2300], sample=1200))
    mixed = np.concatenate([left[:2300], np.roll(left[2300:], 1, axis=0)])
    for vectors, broken in ((left, False), (mixed, True)):
        now = [profile_of(side, sample=1200, known=2300) for side in (vectors, right)]
        assert len(now[0].beyond) > 30
        found = margin(*now, before, None, seed=0)
        assert (found.pairs, found.new_pairs) == (1200, 100)
        assert (found.p_value <= 1e-4) == broken


@pytest.mark.parametrize("rows", [3, 900, 2400])
def test_vectors_near_the_end_of_float32(profile_of, sides, rows) -> None:
    before = (profile_of(sides[0][:1200]), profile_of(sides[1][:1200]))
    left = sides[0].copy()
    left[:rows] = np.sign(left[:rows]) * np.float32(3e38)
    found = margin(profile_of(left), profile_of(sides[1]), before, None, seed=0)
    assert np.isfinite([found.value, found.error, found.drop]).all()
    if rows == 3:
        assert found.value > 20 * found.error
        assert found.trusted_value is not None
    assert margin(*before, (profile_of(left[:1200]), before[1]), None, seed=0) is not None
