"""What users would do with an item that they see, by their hidden taste."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from contracts.errors import BadInput
from contracts.surfaces import BACKGROUND_MUSIC, MUSIC, VIDEO_FEED
from feature_repo.simulator.catalogue import MUSIC_SHARPNESS, suits, wanted_of
from feature_repo.simulator.draws import DAY_US, START_US, Floats, Rows
from feature_repo.simulator.listening import SHARPNESS as LISTENING
from feature_repo.simulator.listening import wanted
from feature_repo.simulator.platform import MUSIC_SWAYS, VIDEO_SWAYS, Platform
from feature_repo.simulator.watching import SHARPNESS as WATCHING
from feature_repo.simulator.watching import Sway, items_of, wishes_of
from serving.traffic.audience import Audience, Visit

__all__ = ["Appetite", "Chances", "appetite_for"]

_USUAL_CLICK = 0.3
_WATCHED = Sway(0.5, 3.0)
"""Mean share of a video that is watched."""


@dataclass(frozen=True, eq=False)
class Chances:
    """Of ``n`` items, each if it is seen."""

    click: Floats
    """``[n]``."""
    after: Mapping[str, Floats]
    """Kind of event → its chance after a click, ``[n]``."""
    watched: Floats | None = None
    """Mean share that is watched after a click, ``[n]``; None of what has no length."""
    seconds: Floats | None = None
    """Length, ``[n]``; likewise."""


class Appetite(Protocol):
    """The taste that decides on one surface."""

    letter: str
    """With which the items' ids begin."""
    satisfied: float
    """Chance that who has clicked leaves."""

    def __len__(self) -> int:
        """Number of items."""

    def chances(self, visit: Visit, items: Rows) -> Chances:
        """What the visitor would do with each of the items ``[n]``."""


def appetite_for(surface: str, platform: Platform, audience: Audience) -> Appetite:
    """The taste that decides on a surface.

    Raises:
        BadInput: Nobody on the platform listens to music, so that nothing is known of the usual listen.
    """
    kinds: Mapping[str, type[_Videos | _Accompaniment | _Listening]] = {
        VIDEO_FEED: _Videos,
        BACKGROUND_MUSIC: _Accompaniment,
        MUSIC: _Listening,
    }
    return kinds[surface](platform, audience)


class _Videos:
    """As the simulator's users choose what they watch."""

    letter = "v"
    satisfied = 0.1

    def __init__(self, platform: Platform, audience: Audience) -> None:
        self._audience, self._days = audience, platform.plan.days
        self._items = items_of(platform.videos, platform.music, platform.background)
        self._seconds = platform.videos.duration
        self._average = float(platform.interactions["view"].agreement.mean())

    def __len__(self) -> int:
        return len(self._items)

    def chances(self, visit: Visit, items: Rows) -> Chances:
        """By agreement of taste and video, of taste and background music, and of the moods."""
        who, end = np.array([visit.user]), np.array([START_US + self._days * DAY_US])
        wish = wishes_of(self._audience.people, self._audience.moods, who, end, self._days)[0]
        agreement = self._items[items] @ wish / WATCHING
        return Chances(
            click=Sway(_USUAL_CLICK, WATCHING).chance(agreement, self._average),
            after={kind: sway.chance(agreement, self._average) for kind, sway in VIDEO_SWAYS.items()},
            watched=_WATCHED.chance(agreement, self._average),
            seconds=self._seconds[items],
        )


class _Accompaniment:
    """As the simulator's authors choose the music of a video: one piece, and they are done."""

    letter = "m"
    satisfied = 1.0

    def __init__(self, platform: Platform, audience: Audience) -> None:
        self._audience, self._music = audience, platform.music
        self._wanted = wanted_of(platform.videos)
        chosen = suits(
            platform.people, platform.music, platform.videos.author, self._wanted, platform.background[:, None]
        )
        self._average = float(chosen.mean()) / MUSIC_SHARPNESS

    def __len__(self) -> int:
        return len(self._music)

    def chances(self, visit: Visit, items: Rows) -> Chances:
        """By own taste and by what fits the video, in the author's proportions."""
        assert visit.video is not None
        author, fits = np.array([visit.user]), self._wanted[[visit.video]]
        found = suits(self._audience.people, self._music, author, fits, items[None])[0]
        return Chances(Sway(_USUAL_CLICK, MUSIC_SHARPNESS).chance(found / MUSIC_SHARPNESS, self._average), after={})


class _Listening:
    """As the simulator's users choose what they listen to."""

    letter = "m"
    satisfied = 0.1

    def __init__(self, platform: Platform, audience: Audience) -> None:
        heard = platform.listens["listen"]
        if not len(heard):
            raise BadInput(
                "traffic for music",
                found="a platform without listens",
                expected="users who listen to music",
                next_step="ingest one with `backbeat ingest simulate --listens N`",
            )
        self._audience, self._music = audience, platform.music
        self._end = START_US + platform.plan.days * DAY_US
        self._average = float(heard.agreement.mean())

    def __len__(self) -> int:
        return len(self._music)

    def chances(self, visit: Visit, items: Rows) -> Chances:
        """By taste, mood and language."""
        who = np.array([visit.user])
        mood = self._audience.moods.at(who, np.array([self._end]))
        agreement = wanted(self._audience.people, self._music, who, mood, items[None])[0] / LISTENING
        return Chances(
            click=Sway(_USUAL_CLICK, LISTENING).chance(agreement, self._average),
            after={kind: sway.chance(agreement, self._average) for kind, sway in MUSIC_SWAYS.items()},
        )
