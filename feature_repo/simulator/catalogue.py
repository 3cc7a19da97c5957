"""Videos: who publishes what, when, and which background music they choose."""

from dataclasses import dataclass

import numpy as np

from feature_repo.raw_tables import Microseconds
from feature_repo.simulator.draws import DAY_US, START_US, Floats, Rows, Shelf, at_least, blocks, choose, unit
from feature_repo.simulator.moods import Moods
from feature_repo.simulator.music import Music
from feature_repo.simulator.tastes import CONTENT, HIDDEN, STYLE, TOPICS, People, bridge, topics

__all__ = ["EARLIEST_DAYS", "MUSIC_SHARPNESS", "SHOWN", "Catalogue", "accompany", "publish", "suits", "wanted_of"]

EARLIEST_DAYS = 60
"""The oldest video was published so many days before the period."""
SHOWN = 32
"""Videos, or pieces of music, between which a user chooses at a time."""
_OWN_TOPIC = 0.7
_MUSIC_OFFERED = 48
MUSIC_SHARPNESS = 7.0
"""How much own taste and what fits the video decide which music it gets, in log odds per unit."""


@dataclass(frozen=True)
class Catalogue:
    """All videos, by row."""

    author: Rows
    topic: Rows
    """``[N]``, the main topic."""
    factors: Floats
    """``[N, 24]``: content factors, then hidden ones."""
    mood: Floats
    """``[N, 2]``, valence and arousal."""
    appeal: Floats
    """``[N]``, relative."""
    duration: Floats
    """``[N]``, seconds."""
    published: Microseconds
    shelf: Shelf

    def __len__(self) -> int:
        return len(self.author)


def publish(
    rng: np.random.Generator, people: People, moods: Moods, count: int, days: int, least_per_user: int
) -> Catalogue:
    """Draw videos: seven in ten from the 60 days before the period, the rest during it."""
    directions = topics()
    author = at_least(rng, people.productivity, count, least_per_user)
    early = rng.random(count) < 0.7
    early[:SHOWN] = True  # the first event needs something to choose from
    ages = np.where(early, -rng.uniform(0, EARLIEST_DAYS, count), rng.uniform(0, days, count))
    published = START_US + (ages * DAY_US).astype(np.int64)

    own = people.favourites[author, rng.integers(2, size=count)]
    main = np.where(rng.random(count) < _OWN_TOPIC, own, rng.integers(TOPICS, size=count))
    second = rng.integers(TOPICS, size=count)
    share = rng.uniform(0.0, 0.5, (count, 1))
    content = (1 - share) * directions[main] + share * directions[second] + 0.1 * rng.normal(size=(count, CONTENT))
    hidden = rng.normal(size=(count, HIDDEN)) + 0.5 * people.taste[author, CONTENT:]
    tone = np.random.default_rng(2028).normal(size=(TOPICS, 2))  # the platform's, as the topics are
    mood = 0.5 * tone[main] + 0.5 * moods.at(author, published) + 0.5 * rng.normal(size=(count, 2))
    appeal = rng.lognormal(0.0, 1.1, count).astype(np.float32)
    return Catalogue(
        author=author,
        topic=main,
        factors=np.hstack([np.sqrt(2 / 3) * unit(content), np.sqrt(1 / 3) * unit(hidden)]).astype(np.float32),
        mood=mood.astype(np.float32),
        appeal=appeal,
        duration=np.clip(rng.lognormal(2.8, 0.7, count), 3, 600).astype(np.float32),
        published=published,
        shelf=Shelf.of(published, appeal),
    )


def accompany(
    rng: np.random.Generator, catalogue: Catalogue, people: People, music: Music, least_per_music: int
) -> Rows:
    """The background music of each video, ``[N]``.

    The author is offered 48 pieces by popularity and weighs own taste against what fits the video; how much of each
    differs between authors. A fitting mood and a language they know count too.
    """
    wanted = wanted_of(catalogue)
    chosen = np.empty(len(catalogue), np.int64)
    for part in blocks(len(catalogue)):
        offered = music.shelf.offer(rng, catalogue.published[part], _MUSIC_OFFERED)
        chosen[part] = choose(rng, offered, suits(people, music, catalogue.author[part], wanted[part], offered))
    for piece in np.flatnonzero(np.bincount(chosen, minlength=len(music)) < least_per_music):
        # A threshold keeps only music in use: where chance left a piece unused, those whom it suits best take it.
        taken = np.bincount(chosen, minlength=len(music))
        able = np.flatnonzero((taken[chosen] > least_per_music) & (catalogue.published >= music.published[piece]))
        asked = rng.choice(able, size=min(len(able), 4096), replace=False)
        offered = np.full((len(asked), 1), piece)
        suitable = suits(people, music, catalogue.author[asked], wanted[asked], offered)[:, 0]
        for video in asked[np.argsort(-suitable)]:
            if taken[piece] >= least_per_music:
                break
            if taken[chosen[video]] > least_per_music:
                taken[chosen[video]] -= 1
                taken[piece] += 1
                chosen[video] = piece
    return chosen


def wanted_of(catalogue: Catalogue) -> Floats:
    """What music fits each video, ``[N, 8]``: the style that goes with its content, then its mood."""
    return np.hstack([unit(catalogue.factors[:, :CONTENT] @ bridge()), catalogue.mood])


def suits(people: People, music: Music, authors: Rows, wanted: Floats, offered: Rows) -> Floats:
    """How much each offered piece ``[n, k]`` suits author and video; ``[n, k]``."""
    style = music.style[offered]
    own = np.einsum("nks,ns->nk", style, people.style[authors])
    fits = np.einsum("nks,ns->nk", style[:, :, :STYLE], wanted[:, :STYLE])
    apart = ((music.mood[offered] - wanted[:, None, STYLE:]) ** 2).sum(axis=2)
    known = (music.language[offered][:, :, None] == people.languages[authors][:, None, :]) @ np.array([1.0, 0.5])
    care = people.fit[authors][:, None]
    return np.asarray(MUSIC_SHARPNESS * ((1 - care) * own + care * fits) - 0.5 * apart + known, np.float32)
