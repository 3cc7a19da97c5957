"""Short English texts, put together column by column: titles of videos and music, texts of posts."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.simulator.catalogue import Catalogue
from feature_repo.simulator.draws import Bools, Rows
from feature_repo.simulator.moods import MOODS, label
from feature_repo.simulator.music import GENRES, Music
from feature_repo.simulator.posting import Posts
from feature_repo.simulator.tastes import TOPICS
from feature_repo.simulator.vocabulary import FEELINGS, LOOKS, OPENERS, PLACES, THINGS, TRACKS

__all__ = ["music_titles", "named", "post_texts", "video_titles"]

_UNTITLED = 0.05
_WEAK = 0.6
"""A mood weaker than this has no word."""


def named(names: Iterable[str], rows: Rows, absent: Bools | None = None) -> pa.Array:
    """The names of rows, ``[n]``; null where absent."""
    return pa.array(list(names), pa.string()).take(pa.array(rows, mask=absent))


def _any(rng: np.random.Generator, phrases: Sequence[str], count: int) -> pa.Array:
    return named(phrases, rng.integers(len(phrases), size=count))


def _any_of(rng: np.random.Generator, groups: Sequence[Sequence[str]], rows: Rows) -> pa.Array:
    """One phrase from each row's own group; all groups have as many."""
    size = len(groups[0])
    return named([phrase for group in groups for phrase in group], rows * size + rng.integers(size, size=len(rows)))


def _joined(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")


def _with_capital(texts: pa.Array) -> pa.Array:
    return _joined(pc.utf8_upper(pc.utf8_slice_codeunits(texts, 0, 1)), pc.utf8_slice_codeunits(texts, 1))


def video_titles(rng: np.random.Generator, videos: Catalogue) -> pa.Array:
    """Such as ``Sunny: street food by the river``, from topic and mood, ``[N]``; one in twenty is null."""
    count = len(videos)
    looks = _any_of(rng, list(LOOKS.values()), label(videos.mood))
    titles = _joined(
        _with_capital(looks), ": ", _any_of(rng, THINGS, videos.topic % TOPICS), " ", _any(rng, PLACES, count)
    )
    return titles.take(pa.array(np.arange(count), mask=rng.random(count) < _UNTITLED))


def music_titles(rng: np.random.Generator, music: Music) -> pa.Array:
    """Such as ``Quiet Harbour (jazz)``, from mood and genre, ``[M]``."""
    looks = _any_of(rng, list(LOOKS.values()), label(music.mood))
    return _joined(_with_capital(looks), " ", _any(rng, TRACKS, len(music)), " (", named(GENRES, music.genre), ")")


def post_texts(rng: np.random.Generator, posts: Posts) -> pa.Array:
    """Such as ``Tonight I feel calm. Green tea in my room.``, from mood and topic, ``[n]``; null where none."""
    count = len(posts)
    said = label(posts.mood, neutral_below=_WEAK)
    texts = _joined(
        _any(rng, OPENERS, count), " ", _any_of(rng, [FEELINGS[name] for name in (*MOODS, "")], said), ". ",
        _with_capital(_any_of(rng, THINGS, posts.topic)), " ", _any(rng, PLACES, count), ".",
    )  # fmt: skip
    return texts.take(pa.array(np.arange(count), mask=~posts.text))
