"""Music: genre, language, mood, pitch and tempo, a style, popularity."""

from dataclasses import dataclass

import numpy as np

from feature_repo.raw_tables import Microseconds
from feature_repo.simulator.draws import DAY_US, START_US, Floats, Rows, Shelf, unit
from feature_repo.simulator.tastes import STYLE, STYLE_HIDDEN

__all__ = ["GENRES", "LANGUAGES", "Music", "music_of"]

GENRES = {
    "pop": (118, 220, 0.5, 0.3),
    "rock": (128, 165, 0.0, 0.7),
    "hip-hop": (92, 131, -0.1, 0.5),
    "electronic": (128, 262, 0.3, 0.8),
    "folk": (100, 196, 0.1, -0.4),
    "classical": (84, 330, 0.0, -0.5),
    "jazz": (110, 247, 0.3, -0.2),
    "r&b": (88, 208, 0.2, -0.2),
    "ballad": (72, 277, -0.5, -0.6),
    "metal": (150, 110, -0.6, 0.9),
    "country": (112, 185, 0.3, 0.1),
    "reggae": (80, 147, 0.6, -0.1),
}
"""Genre → its usual tempo (beats per minute), pitch (Hz), valence and arousal."""

LANGUAGES = ("zh", "en", "ja", "ko", "es")
_GENRE_SHARES = 1 / np.arange(1, len(GENRES) + 1) ** 0.6
_LANGUAGE_SHARES = (0.45, 0.3, 0.1, 0.1, 0.05)


@dataclass(frozen=True)
class Music:
    """All pieces of music, by row."""

    genre: Rows
    language: Rows
    mood: Floats
    """``[M, 2]``, valence and arousal."""
    pitch: Floats
    """``[M]``, Hz."""
    tempo: Floats
    """``[M]``, beats per minute."""
    style: Floats
    """``[M, 8]``, length 1: style factors, then hidden ones."""
    popularity: Floats
    published: Microseconds
    shelf: Shelf

    def __len__(self) -> int:
        return len(self.genre)


def music_of(rng: np.random.Generator, count: int, days: int) -> Music:
    """Draw pieces of music; nine in ten are older than the first video, the others appear during the period."""
    genre = rng.choice(len(GENRES), size=count, p=_GENRE_SHARES / _GENRE_SHARES.sum())
    usual = np.array(list(GENRES.values()))[genre]
    mood = usual[:, 2:] + 0.55 * rng.normal(size=(count, 2))
    tempo = usual[:, 0] * np.exp(0.08 * (mood[:, 1] - usual[:, 3]) + 0.08 * rng.normal(size=count))
    pitch = usual[:, 1] * np.exp2(0.15 * mood[:, 0] + 0.2 * rng.normal(size=count))
    centres = unit(np.random.default_rng(2027).normal(size=(len(GENRES), STYLE)))  # the platform's, as the topics are
    style = unit(centres[genre] + 0.25 * rng.normal(size=(count, STYLE)))
    hidden = unit(rng.normal(size=(count, STYLE_HIDDEN)))
    old = rng.random(count) < 0.9
    old[: count // 2] = True  # the first video needs something to choose from
    ages = np.where(old, -rng.uniform(100, 1500, count), rng.uniform(0, days, count))
    published = START_US + (ages * DAY_US).astype(np.int64)
    popularity = rng.lognormal(0.0, 1.0, count).astype(np.float32)
    return Music(
        genre=genre,
        language=rng.choice(len(LANGUAGES), size=count, p=_LANGUAGE_SHARES),
        mood=mood.astype(np.float32),
        pitch=np.clip(pitch, 80, 880).astype(np.float32),
        tempo=np.clip(tempo, 60, 180).astype(np.float32),
        style=np.hstack([np.sqrt(0.8) * style, np.sqrt(0.2) * hidden]).astype(np.float32),
        popularity=popularity,
        published=published,
        shelf=Shelf.of(published, popularity),
    )
