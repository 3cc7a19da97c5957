"""A small simulated short-video platform: never real data, and no model's own assumptions.

The generative model, for U users, N videos and E viewing events over a number of days:

1. *Topics.* There are 24 topics, each a direction in a space of 16 content factors. A video mixes one main topic
   with some of another and a personal deviation. It has 8 more factors, such as humour, that no encoder sees.
2. *Encoders.* A modality sees a random nonlinear projection of the 16 content factors, each with its own blind
   spots and noise: visual (64 numbers) is the clearest, textual (48) less so, acoustic (32) the noisiest.
3. *Appeal.* Each video has a log-normal appeal, so views are heavy-tailed whatever the tastes are.
4. *Publication.* Seven videos in ten were published in the 60 days before the first event, the rest during the
   period. A video has content vectors from its publication on.
5. *Tastes.* A user likes one to four topics and some hidden factors. Over the whole period the taste turns a
   little (about 20 degrees) towards another topic.
6. *Events.* Users differ log-normally in activity. Events follow the hours of the day. At each event the platform
   shows 32 videos already published, drawn by appeal; the user watches one of them, with probability
   proportional to exp(8 x agreement of taste and video), and never the same video twice.

Factors that every encoder sees, factors that none sees, popularity and drift are all present, so content-based,
collaborative and popularity models each have something to find.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput
from contracts.snapshot import SplitInstants
from feature_repo.raw_tables import Microseconds, RawTables, assemble, microseconds, numbered_ids

__all__ = ["simulate"]

_START = datetime(2025, 1, 1, tzinfo=UTC)
_DAY_US = timedelta(days=1) // timedelta(microseconds=1)
_TOPICS, _CONTENT, _HIDDEN = 24, 16, 8
_ENCODERS = {"visual": (64, 0.3), "acoustic": (32, 0.8), "textual": (48, 0.5)}
"""Modality → width and standard deviation of the noise (the signal's is about 0.5)."""
_SHOWN, _SHARPNESS, _DRIFT = 32, 8.0, 0.36
_CHUNK = 16_384
_RANGES = {"users": (10, 10_000_000), "videos": (50, 10_000_000), "days": (2, 365), "events": (100, 100_000_000)}

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


def simulate(users: int, videos: int, days: int, seed: int, events: int) -> RawTables:
    """Generate the platform described above; equal arguments give equal tables.

    Args:
        users: Number of users.
        videos: Number of videos.
        days: Length of the period, in days from 2025-01-01 UTC.
        seed: Seed of everything that is drawn.
        events: Number of viewing events.

    Raises:
        BadInput: A number is outside its range, or there are more events than a quarter of all user-video pairs.
    """
    _check({"users": users, "videos": videos, "days": days, "events": events})
    rng = np.random.default_rng(seed)
    catalogue = _publish(rng, videos, days)
    tastes = _tastes(rng, users)
    viewers, watched, times = _watch(rng, catalogue, tastes, days, events)
    order = np.argsort(times, kind="stable")
    viewers, watched, times = viewers[order], watched[order], times[order]
    settings = f"users={users} videos={videos} days={days} events={events} seed={seed}"
    encoded = {name: _encode(rng, catalogue.factors, *how) for name, how in _ENCODERS.items()}
    start = microseconds(_START)
    return assemble(
        users=numbered_ids("u", users),
        users_known=start - rng.integers(1, 90 * _DAY_US, users),
        videos=numbered_ids("v", videos),
        videos_published=catalogue.published,
        user_rows=viewers,
        video_rows=watched,
        weights=np.ones(events, np.float32),
        event_times=times,
        vectors={name: (np.arange(videos), matrix) for name, matrix in encoded.items()},
        specs={
            name: EmbeddingSpec.model_validate(
                {
                    "modality": name,
                    "encoder": f"simulator-{name}",
                    "revision": "1",
                    "preprocessing": f"seed {seed}",
                    "width": matrix.shape[1],
                    "dtype": "float32",
                    "normalisation": "none",
                }
            )
            for name, matrix in encoded.items()
        },
        split=SplitInstants(
            train_until=_moment(times[int(0.8 * events)]),
            validation_until=_moment(times[int(0.9 * events)]),
            nominal=False,
        ),
        dataset="simulated",
        source=f"simulator {settings}",
    )


def _check(given: dict[str, int]) -> None:
    for name, value in given.items():
        low, high = _RANGES[name]
        if not low <= value <= high:
            raise BadInput(
                f"option --{name}", found=value, expected=f"{low:,} to {high:,}", next_step="choose a number in range"
            )
    pairs = given["users"] * given["videos"]
    if given["events"] > pairs // 4:
        raise BadInput(
            "option --events",
            found=f"{given['events']:,}",
            expected=f"at most {pairs // 4:,}, a quarter of all user-video pairs",
            next_step="ask for fewer events, or for more users or videos",
        )


@dataclass(frozen=True)
class _Catalogue:
    factors: Floats
    """``[N, 24]``: content factors, then hidden ones."""
    appeal: Floats
    """``[N]``, relative."""
    published: Microseconds


@dataclass(frozen=True)
class _Tastes:
    before: Floats
    """``[U, 24]`` at the start of the period, length 1."""
    towards: Floats
    """``[U, 24]``, where they turn."""
    activity: npt.NDArray[np.float64]
    """``[U]``, probability that an event is this user's."""


def _unit(matrix: npt.NDArray[np.floating]) -> Floats:
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), np.float32)


def _publish(rng: np.random.Generator, count: int, days: int) -> _Catalogue:
    topics = _topics(count=_TOPICS)
    main, second = rng.integers(_TOPICS, size=(2, count))
    share = rng.uniform(0.0, 0.5, (count, 1))
    content = (1 - share) * topics[main] + share * topics[second] + 0.1 * rng.normal(size=(count, _CONTENT))
    hidden = rng.normal(size=(count, _HIDDEN))
    factors = np.hstack([np.sqrt(2 / 3) * _unit(content), np.sqrt(1 / 3) * _unit(hidden)]).astype(np.float32)
    early = rng.random(count) < 0.7
    early[:_SHOWN] = True  # the first event needs something to choose from
    ages = np.where(early, -rng.uniform(0, 60, count), rng.uniform(0, days, count))
    published = microseconds(_START) + (ages * _DAY_US).astype(np.int64)
    return _Catalogue(factors, rng.lognormal(0.0, 1.1, count).astype(np.float32), published)


def _topics(count: int) -> Floats:
    # Topics belong to the platform, not to one run of it, so they do not depend on the seed.
    return _unit(np.random.default_rng(2025).normal(size=(count, _CONTENT)))


def _tastes(rng: np.random.Generator, count: int) -> _Tastes:
    topics = _topics(count=_TOPICS)
    shares = rng.gamma(0.6, size=(count, 4)) + 1e-3
    shares *= np.arange(4) < rng.integers(1, 5, (count, 1))
    content = np.einsum("us,usc->uc", shares, topics[rng.integers(_TOPICS, size=(count, 4))])
    hidden = _unit(rng.normal(size=(count, _HIDDEN)))
    before = np.hstack([np.sqrt(2 / 3) * _unit(content), np.sqrt(1 / 3) * hidden])
    towards = np.hstack([topics[rng.integers(_TOPICS, size=count)], np.zeros((count, _HIDDEN))])
    activity = rng.lognormal(0.0, 0.9, count)
    return _Tastes(before.astype(np.float32), towards.astype(np.float32), activity / activity.sum())


def _watch(
    rng: np.random.Generator, catalogue: _Catalogue, tastes: _Tastes, days: int, events: int
) -> tuple[Rows, Rows, Microseconds]:
    """Draw events until there are enough of distinct user-video pairs: users, videos and times, ``[events]`` each."""
    by_publication = np.argsort(catalogue.published, kind="stable")
    published = catalogue.published[by_publication]
    cumulative = np.cumsum(catalogue.appeal[by_publication], dtype=np.float64)
    count = len(published)
    kept = np.empty((2, 0), np.int64)
    while kept.shape[1] < events:
        draw = int(1.1 * (events - kept.shape[1])) + 100
        viewers = rng.choice(len(tastes.activity), size=draw, p=tastes.activity)
        elapsed = _instants(rng, draw, days)
        times = microseconds(_START) + elapsed
        watched = np.empty(draw, np.int64)
        for start in range(0, draw, _CHUNK):
            part = slice(start, start + _CHUNK)
            available = cumulative[np.searchsorted(published, times[part], side="right") - 1]
            targets = rng.random((len(available), _SHOWN)) * available[:, None]
            shown = by_publication[np.searchsorted(cumulative, targets, side="right")]
            progress = (elapsed[part] / (days * _DAY_US)).astype(np.float32)[:, None]
            taste = _unit(tastes.before[viewers[part]] + _DRIFT * progress * tastes.towards[viewers[part]])
            agreement = np.einsum("esf,ef->es", catalogue.factors[shown], taste)
            choice = np.argmax(_SHARPNESS * agreement + rng.gumbel(size=shown.shape), axis=1)
            watched[part] = np.take_along_axis(shown, choice[:, None], axis=1)[:, 0]
        kept = np.hstack([kept, np.stack([viewers * count + watched, times])])
        # Keep the first drawn of each pair, in the order drawn, so that a cut at `events` favours no time.
        kept = kept[:, np.sort(np.unique(kept[0], return_index=True)[1])]
    pairs, times = kept[:, :events]
    return pairs // count, pairs % count, times


def _instants(rng: np.random.Generator, count: int, days: int) -> Microseconds:
    """Microseconds after the start, ``[count]``: any day, few at four in the morning, most at eight in the evening."""
    hours = (rng.beta(2.5, 1.7, count) * 24 + 4) % 24
    return rng.integers(days, size=count) * _DAY_US + (hours / 24 * _DAY_US).astype(np.int64)


def _encode(rng: np.random.Generator, factors: Floats, width: int, noise: float) -> Floats:
    """What a noisy encoder makes of the content factors, ``[N, width]``."""
    blind = rng.random(_CONTENT) < 0.25
    projection = np.where(blind[:, None], 0.0, rng.normal(size=(_CONTENT, width)))
    seen = np.tanh(factors[:, :_CONTENT] @ projection)
    return (seen + noise * rng.normal(size=seen.shape)).astype(np.float32)


def _moment(time_us: np.int64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(time_us))
