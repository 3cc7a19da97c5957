"""Who comes, when, and what they ask for."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput
from contracts.surfaces import BACKGROUND_MUSIC
from feature_repo.simulator.draws import Rows, pick, stream
from feature_repo.simulator.moods import Moods, moods_of
from feature_repo.simulator.platform import Platform
from feature_repo.simulator.tastes import People, people_of

__all__ = ["Audience", "Visit", "audience_of"]

_Columns = TypeVar("_Columns", People, Moods)


@dataclass(frozen=True, eq=False)
class Visit:
    """Somebody asks for a list."""

    number: int
    due_s: float
    """Seconds after the start."""
    user: int
    """Row in the audience."""
    video: int | None
    """Row of the video that music is wanted for."""
    rng: np.random.Generator
    """Chance of what happens then: of this visit's own, so that it does not hang on who else is there."""


@dataclass(frozen=True, eq=False)
class Audience:
    """The platform's users by their rows, then the strangers."""

    people: People
    moods: Moods
    known: int
    """Rows of the platform's users; those from here on are strangers."""
    weights: npt.NDArray[np.float64]
    """Cumulative chance to come: ``[U]`` of users, or ``[N]`` of videos, where these bring their authors."""
    authors: Rows | None
    """Row of the user of each video, ``[N]``, where music is wanted for a video."""
    strangers: float
    """Share of visits by strangers."""

    def name(self, user: int) -> str:
        """The id by which a user asks."""
        return f"u{user}" if user < self.known else f"stranger-{user - self.known}"

    def visits(self, seed: int, rate: float | None) -> Iterator[Visit]:
        """Visits without end, equal for equal seeds.

        Args:
            seed: Of everything that is drawn.
            rate: Visits per second on average; all are due at once if None.
        """
        number, due_s = 0, 0.0
        while True:
            rng = stream(seed, f"traffic visit {number}")
            due_s += 0.0 if rate is None else rng.exponential(1 / rate)
            chosen = int(pick(rng, self.weights, 1)[0])
            video = None if self.authors is None else chosen
            user = chosen if self.authors is None else int(self.authors[chosen])
            if rng.random() < self.strangers:
                user = self.known + int(pick(rng, np.cumsum(self.people.activity[self.known :]), 1)[0])
            yield Visit(number, due_s, user, video, rng)
            number += 1


def audience_of(
    platform: Platform, surface: str, seed: int, users: int | None = None, strangers: float = 0.05
) -> Audience:
    """Choose who may come.

    Args:
        platform: Whose users they are.
        surface: What they will ask for: music for a video is asked for by its author.
        seed: Of the choice, and of the strangers.
        users: How many of the platform's users may come; all if None.
        strangers: Share of visits by users that nobody knows.

    Raises:
        BadInput: None of the users has a video to ask music for, or there are not so many users.
    """
    known = platform.plan.users
    if users is not None and users > known:
        raise BadInput(
            "option --users",
            found=f"{users:,}",
            expected=f"at most {known:,}, the users of the platform",
            next_step="ask for fewer, or ingest a larger platform",
        )
    there = np.ones(known, bool)
    if users is not None:
        there = np.isin(np.arange(known), stream(seed, "traffic users").permutation(known)[:users])
    rng, count = stream(seed, "traffic strangers"), max(round(strangers * int(there.sum())), 1)
    authors = platform.videos.author if surface == BACKGROUND_MUSIC else None
    weights = platform.people.activity * there if authors is None else there[authors].astype(np.float64)
    if not weights.any():
        raise BadInput(
            "option --users",
            found=f"{users:,} users without a video",
            expected="authors, who ask for music",
            next_step="ask for more users",
        )
    return Audience(
        people=_joined(platform.people, people_of(rng, count)),
        moods=_joined(platform.moods, moods_of(rng, count)),
        known=known,
        weights=np.cumsum(weights),
        authors=authors,
        strangers=strangers,
    )


def _joined(ours: _Columns, others: _Columns) -> _Columns:
    columns = {f.name: np.concatenate([getattr(ours, f.name), getattr(others, f.name)]) for f in fields(ours)}
    return type(ours)(**columns)
