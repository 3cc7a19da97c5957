"""Users: profiles, tastes in videos and in music, activity."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.simulator.draws import Floats, Rows, unit

__all__ = [
    "CONTENT",
    "DRIFT",
    "GENDERS",
    "HIDDEN",
    "REGIONS",
    "STYLE",
    "STYLE_HIDDEN",
    "TOPICS",
    "People",
    "bridge",
    "people_of",
    "taste_at",
    "topics",
]

TOPICS = 24
CONTENT = 16
"""Factors of a video that encoders see."""
HIDDEN = 8
"""Factors of a video that none sees."""
STYLE = 6
"""Factors of the style of music that encoders see."""
STYLE_HIDDEN = 2
"""Those that none sees."""
DRIFT = 0.36
"""How far a taste turns over the whole period."""
GENDERS = ("female", "male", "other")
REGIONS = ("north", "east", "south", "west", "centre", "coast", "islands", "abroad")
_LANGUAGE_OF_REGION = np.array([0, 0, 0, 0, 0, 1, 2, 1])
_MISSING = {"gender": 0.08, "age": 0.15, "region": 0.05}


@dataclass(frozen=True)
class People:
    """All users, by row."""

    taste: Floats
    """``[U, 24]`` at the start of the period, length 1: content factors, then hidden ones."""
    towards: Floats
    """``[U, 24]``, where tastes turn."""
    favourites: Rows
    """``[U, 4]``, topics that the taste is made of, the first is the user's most usual one."""
    style: Floats
    """``[U, 8]``, taste in music, length 1: style factors, then hidden ones."""
    languages: Rows
    """``[U, 2]``, first and second language of the music a user likes."""
    fit: Floats
    """``[U]``, 0 to 1: how much a user who publishes cares that music fits the video, rather than what they like."""
    swayed: Floats
    """``[U]``, about 1: how much the mood of the moment decides on music."""
    activity: npt.NDArray[np.float64]
    """``[U]``, probability that an event is this user's."""
    productivity: npt.NDArray[np.float64]
    """``[U]``, probability that a video is this user's."""
    gender: Rows
    """``[U]``, row in ``GENDERS``, -1 for not given."""
    age: Rows
    """``[U]``, years, -1 for not given."""
    region: Rows
    """``[U]``, row in ``REGIONS``, -1 for not given."""


def topics() -> Floats:
    """The topics, ``[24, 16]``: they belong to the platform, not to one run of it, so no seed changes them."""
    return unit(np.random.default_rng(2025).normal(size=(TOPICS, CONTENT)))


def bridge() -> Floats:
    """Which style of music goes with which content, ``[16, 6]``; no seed changes it either."""
    return np.random.default_rng(2026).normal(size=(CONTENT, STYLE)).astype(np.float32)


def taste_at(people: People, users: Rows, progress: Floats) -> Floats:
    """Tastes of users ``[n]`` at shares of the period ``[n]``; ``[n, 24]``, length 1."""
    return unit(people.taste[users] + DRIFT * progress[:, None] * people.towards[users])


def people_of(rng: np.random.Generator, count: int) -> People:
    """Draw users.

    Age and gender lean a little towards topics of their own, so that profiles tell something.
    """
    directions = topics()
    gender = rng.choice(3, size=count, p=[0.52, 0.45, 0.03])
    age = np.clip(np.round(13 + rng.gamma(2.6, 6.5, count)), 13, 90).astype(np.int64)
    region = rng.choice(len(REGIONS), size=count, p=[0.2, 0.2, 0.15, 0.12, 0.12, 0.1, 0.06, 0.05])

    favourites = rng.integers(TOPICS, size=(count, 4))
    leaning = (gender * 7 + np.minimum(age // 15, 4) * 3) % TOPICS
    leans = rng.random(count) < 0.35
    favourites[leans, 0] = leaning[leans]
    shares = rng.gamma(0.6, size=(count, 4)) + 1e-3
    shares *= np.arange(4) < rng.integers(1, 5, (count, 1))
    shares[:, 0] += 0.2
    content = unit(np.einsum("us,usc->uc", shares, directions[favourites]))
    hidden = unit(rng.normal(size=(count, HIDDEN)))
    taste = np.hstack([np.sqrt(2 / 3) * content, np.sqrt(1 / 3) * hidden]).astype(np.float32)
    turned = directions[rng.integers(TOPICS, size=count)]

    style = unit(0.6 * unit(content @ bridge()) + unit(rng.normal(size=(count, STYLE))))
    style_hidden = unit(rng.normal(size=(count, STYLE_HIDDEN)))
    first = np.where(rng.random(count) < 0.8, _LANGUAGE_OF_REGION[region], rng.integers(5, size=count))
    activity = rng.lognormal(0.0, 0.9, count)
    productivity = activity**0.5 * rng.lognormal(0.0, 1.0, count)
    return People(
        taste=taste,
        towards=np.hstack([turned, np.zeros((count, HIDDEN))]).astype(np.float32),
        favourites=favourites,
        style=np.hstack([np.sqrt(0.8) * style, np.sqrt(0.2) * style_hidden]).astype(np.float32),
        languages=np.stack([first, rng.integers(5, size=count)], axis=1),
        fit=rng.beta(4.0, 4.0, count).astype(np.float32),
        swayed=rng.lognormal(0.0, 0.4, count).astype(np.float32),
        activity=activity / activity.sum(),
        productivity=productivity / productivity.sum(),
        gender=np.where(rng.random(count) < _MISSING["gender"], -1, gender),
        age=np.where(rng.random(count) < _MISSING["age"], -1, age),
        region=np.where(rng.random(count) < _MISSING["region"], -1, region),
    )
