"""Tempo of click tracks, pitch of tones, mode of chords."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from feature_repo.encoders.encoding import EncoderOptions, MediaItem
from feature_repo.encoders.media import write_wav
from feature_repo.encoders.music import MOODS, MusicContent, mode_of, mood_of, pitch_of, tempo_of

RATE = 22_050


def clicks(bpm: float, seconds: float = 12) -> npt.NDArray[np.float32]:
    """Short bursts of 1 kHz, as many a minute."""
    sound = np.zeros(int(seconds * RATE), np.float32)
    burst = (0.8 * np.sin(2 * np.pi * 1000 * np.arange(800) / RATE) * np.hanning(800)).astype(np.float32)
    for start in (np.arange(0, seconds - 0.1, 60 / bpm) * RATE).astype(int):
        sound[start : start + 800] += burst
    return sound


def chords(third: int, seconds: float = 4, level: float = 0.3) -> npt.NDArray[np.float32]:
    """Triads on the tonic, fourth and fifth; ``third`` is 4 half tones in major, 3 in minor."""
    fifth_third = 4  # the fifth's chord is major in both (harmonic minor)
    parts = []
    for root, middle in ((0, third), (5, third), (7, fifth_third), (0, third)):
        time = np.arange(int(seconds / 4 * RATE)) / RATE
        notes = [261.63 * 2 ** ((root + step) / 12) for step in (0, middle, 7)]
        parts.append(sum(np.sin(2 * np.pi * hertz * time) for hertz in notes) / 3)
    return (level * np.concatenate(parts)).astype(np.float32)


@pytest.mark.parametrize("bpm", [90, 120, 150])
def test_tempo_of_a_click_track(bpm: int) -> None:
    assert tempo_of(clicks(bpm)) == pytest.approx(bpm, rel=0.03)


@pytest.mark.parametrize("hertz", [110.0, 220.0, 440.0, 1000.0])
def test_pitch_of_a_tone(hertz: float, sine: Callable) -> None:
    assert pitch_of(sine(hertz, 2, RATE)) == pytest.approx(hertz, rel=0.01)


def test_pitch_is_the_median_of_what_sounds(sine: Callable) -> None:
    silence = np.zeros(4 * RATE, np.float32)
    overtones = sine(200, 3, RATE, 0.3) + sine(400, 3, RATE, 0.3) + sine(600, 3, RATE, 0.2)
    assert pitch_of(np.concatenate([silence, overtones, sine(900, 1, RATE)])) == pytest.approx(200, rel=0.01)


def test_silence_and_noise_have_no_pitch_and_silence_no_tempo() -> None:
    silence = np.zeros(3 * RATE, np.float32)
    noise = np.random.default_rng(0).normal(0, 0.2, 3 * RATE).astype(np.float32)
    assert np.isnan(pitch_of(silence))
    assert np.isnan(pitch_of(noise))
    assert np.isnan(pitch_of(silence[:100]))
    assert np.isnan(tempo_of(silence))
    assert mood_of(silence, float("nan")) is None
    assert mood_of(silence + np.float32(0.5), float("nan")) is None  # a constant is no sound
    assert np.isnan(mode_of(silence))


def test_major_and_minor_are_told_apart() -> None:
    assert mode_of(chords(4)) > 0 > mode_of(chords(3))


@pytest.mark.parametrize(
    ("third", "level", "tempo", "mood"),
    [(4, 0.9, 140.0, "happy"), (3, 0.9, 140.0, "tense"), (4, 0.05, 70.0, "calm"), (3, 0.05, 70.0, "sad")],
)
def test_the_four_moods(third: int, level: float, tempo: float, mood: str) -> None:
    assert mood_of(chords(third, level=level), tempo) == mood


def test_files_give_columns_and_faults(tmp_path: Path, sine: Callable) -> None:
    music = clicks(120, 40)
    music[: 5 * RATE] = 0  # only the middle 30 s are heard
    music += sine(440, 40, RATE, 0.05)
    write_wav(tmp_path / "music.wav", music, RATE)
    (tmp_path / "bad.wav").write_bytes(b"RIFF\x00\x00\x00\x00nothing")
    encoding = MusicContent(EncoderOptions(threads=2))
    rows, faults = encoding.encode(
        [MediaItem("music", "m", clip=tmp_path / "music.wav"), MediaItem("music", "x", clip=tmp_path / "bad.wav")]
    )
    assert [fault is None for fault in faults] == [True, False]
    assert MOODS[int(rows[0, 0])] in MOODS
    assert rows[0, 1] == pytest.approx(440, rel=0.02)
    assert rows[0, 2] == pytest.approx(120, rel=0.03)
    assert np.isnan(rows[1]).all()
    assert encoding.spec("music").width == 3
