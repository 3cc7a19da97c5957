"""What encoders make of videos, music and posts: each sees another part, through noise."""

from dataclasses import dataclass

import numpy as np

from feature_repo.simulator.catalogue import Catalogue
from feature_repo.simulator.draws import Floats, Rows
from feature_repo.simulator.music import Music
from feature_repo.simulator.posting import Posts
from feature_repo.simulator.tastes import CONTENT, STYLE

__all__ = ["Seen", "see_music", "see_posts", "see_videos"]

_BLIND = 0.25
"""Share of the factors that a modality misses."""


@dataclass(frozen=True)
class Seen:
    """Vectors of one modality."""

    rows: Rows
    """``[n]``, which videos, pieces of music or posts have one."""
    vectors: Floats
    """``[n, width]``"""


def _encode(rng: np.random.Generator, factors: Floats, width: int, noise: float, blind: float = _BLIND) -> Floats:
    """A noisy encoder's view of factors ``[n, d]``, ``[n, width]``: the signal's standard deviation is about 0.5."""
    missed = rng.random((factors.shape[1], 1)) < blind
    projection = np.where(missed, 0.0, rng.normal(size=(factors.shape[1], width))).astype(np.float32)
    seen = np.tanh(factors @ projection)
    seen += np.float32(noise) * rng.standard_normal(seen.shape, np.float32)
    return np.asarray(seen, np.float32)


def see_videos(rng: np.random.Generator, videos: Catalogue, music: Music, background: Rows) -> dict[str, Seen]:
    """``visual`` is the clearest, ``textual`` less so, ``acoustic`` the noisiest, and hears the background music."""
    content, mood = videos.factors[:, :CONTENT], 0.3 * videos.mood
    heard = np.hstack([content, 0.5 * music.style[background, :STYLE], 0.3 * music.mood[background]])
    everything = np.arange(len(videos))
    return {
        "visual": Seen(everything, _encode(rng, np.hstack([content, mood]), 64, 0.3)),
        "acoustic": Seen(everything, _encode(rng, heard, 32, 0.8)),
        "textual": Seen(everything, _encode(rng, np.hstack([content, 0.5 * mood]), 48, 0.5)),
    }


def see_music(rng: np.random.Generator, music: Music) -> dict[str, Seen]:
    """``music_acoustic`` hears style, mood, tempo and pitch."""
    tempo, pitch = np.log2(music.tempo / 110)[:, None], np.log2(music.pitch / 220)[:, None]
    heard = np.hstack([music.style[:, :STYLE], 0.5 * music.mood, 0.5 * tempo, 0.5 * pitch]).astype(np.float32)
    return {"music_acoustic": Seen(np.arange(len(music)), _encode(rng, heard, 32, 0.4))}


def see_posts(rng: np.random.Generator, posts: Posts) -> dict[str, Seen]:
    """Deep vectors see topics first, handcrafted ones moods; a post without a text or a picture has no such vector."""
    written, shown = np.flatnonzero(posts.text), np.flatnonzero(posts.video | (posts.images > 0))
    found = {}
    for name, rows, width, noise, topic, mood in (
        ("post_textual", written, 32, 0.4, 1.0, 0.5),
        ("post_textual_handcrafted", written, 16, 0.4, 0.15, 0.7),
        ("post_visual", shown, 32, 0.6, 1.0, 0.4),
        ("post_visual_handcrafted", shown, 12, 0.6, 0.2, 0.6),
    ):
        factors = np.hstack([topic * posts.content[rows], mood * posts.mood[rows]]).astype(np.float32)
        # A blind spot on a mood would leave it out of the modality altogether: there are but two.
        found[name] = Seen(rows, _encode(rng, factors, width, noise, blind=0.0))
    return found
