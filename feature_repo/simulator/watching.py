"""Views, and the likes, shares and follows that come of them."""

from dataclasses import dataclass

import numpy as np

from feature_repo.raw_tables import Microseconds
from feature_repo.simulator.catalogue import SHOWN, Catalogue
from feature_repo.simulator.draws import DAY_US, START_US, Floats, Rows, apart, blocks, choose, instants, pick
from feature_repo.simulator.moods import Moods
from feature_repo.simulator.music import Music
from feature_repo.simulator.tastes import People, taste_at

__all__ = ["SHARPNESS", "Acts", "Sway", "follow_up", "items_of", "watch", "wishes_of"]

SHARPNESS = 8.0
"""How much the agreement of taste and video decides what is watched, in log odds per unit."""
_MUSIC, _MOOD = 1.2, 0.3
_SECOND = 1_000_000


@dataclass(frozen=True)
class Acts:
    """What users did with items, in order of time."""

    user: Rows
    item: Rows
    time: Microseconds
    agreement: Floats
    """``[n]``, how well the item agreed with the user's taste."""

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: Rows, times: Microseconds) -> "Acts":
        """Some of them at other times, in order of those."""
        order = np.argsort(times, kind="stable")
        rows = rows[order]
        return Acts(self.user[rows], self.item[rows], apart(times[order]), self.agreement[rows])


def watch(
    rng: np.random.Generator, catalogue: Catalogue, people: People, moods: Moods, music: Music, background: Rows,
    days: int, count: int, least_per_user: int,
) -> Acts:  # fmt: skip
    """Draw views until there are enough of distinct user-video pairs."""
    items = items_of(catalogue, music, background)
    cumulative = np.cumsum(people.activity)
    width = len(catalogue)
    kept, times, agreement = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    while len(kept) < count:
        owed = np.maximum(least_per_user - np.bincount(kept // width, minlength=len(people.activity)), 0)
        viewers = np.repeat(np.arange(len(owed)), owed)
        if len(viewers) == 0:  # nobody is short of views
            viewers = pick(rng, cumulative, int(1.1 * (count - len(kept))) + 100)
        when = instants(rng, len(viewers), days)
        watched, agreed = _watch_once(rng, catalogue, items, people, moods, viewers, when, days)
        kept = np.concatenate([kept, viewers * width + watched])
        times, agreement = np.concatenate([times, when]), np.concatenate([agreement, agreed])
        # Keep the first drawn of each pair, in the order drawn, so that a cut at `count` favours no time.
        first = np.sort(np.unique(kept, return_index=True)[1])
        kept, times, agreement = kept[first], times[first], agreement[first]
    kept, times, agreement = kept[:count], times[:count], agreement[:count]
    order = np.argsort(times, kind="stable")
    kept = kept[order]
    return Acts(kept // width, kept % width, apart(times[order]), agreement[order])


def _watch_once(
    rng: np.random.Generator, catalogue: Catalogue, items: Floats, people: People, moods: Moods,
    viewers: Rows, times: Microseconds, days: int,
) -> tuple[Rows, Floats]:  # fmt: skip
    watched, agreement = np.empty(len(viewers), np.int64), np.empty(len(viewers), np.float32)
    for part in blocks(len(viewers)):
        who, when = viewers[part], times[part]
        wish = wishes_of(people, moods, who, when, days)
        shown = catalogue.shelf.offer(rng, when, SHOWN)
        scores = np.einsum("esf,ef->es", items[shown], wish)
        watched[part] = choose(rng, shown, scores)
        agreement[part] = np.einsum("ef,ef->e", items[watched[part]], wish) / SHARPNESS
    return watched, agreement


def items_of(catalogue: Catalogue, music: Music, background: Rows) -> Floats:
    """What of each video counts for those who choose, ``[N, 34]``; its product with a wish is what a choice goes by."""
    items = np.hstack([SHARPNESS * catalogue.factors, _MUSIC * music.style[background], _MOOD * catalogue.mood])
    return items.astype(np.float32)


def wishes_of(people: People, moods: Moods, users: Rows, times: Microseconds, days: int) -> Floats:
    """What users ``[n]`` wish for at instants ``[n]`` of a period of so many days, ``[n, 34]``."""
    progress = ((times - START_US) / (days * DAY_US)).astype(np.float32)
    return np.hstack([taste_at(people, users, progress), people.style[users], moods.at(users, times)])


@dataclass(frozen=True)
class Sway:
    """How agreement sways a choice between doing something and leaving it."""

    usual: float
    """Chance where the agreement is average."""
    steepness: float
    """How much agreement counts, in log odds per unit."""

    def chance(self, agreement: Floats, average: np.floating | float) -> Floats:
        """The chance at each agreement, ``[n]``, where the average one is given."""
        odds = np.log(self.usual / (1 - self.usual)) + self.steepness * (agreement - average)
        return np.asarray(1 / (1 + np.exp(-odds)))


def follow_up(rng: np.random.Generator, acts: Acts, sway: Sway, soonest_s: float) -> Acts:
    """Acts that follow some seconds after others, each at most once, the likelier the better the item agreed.

    Args:
        rng: Chance.
        acts: Views, or listens.
        sway: Share of acts that are followed up, by agreement.
        soonest_s: Least seconds between the two; the mean is a minute more.
    """
    if len(acts) == 0:
        return acts
    rows = np.flatnonzero(rng.random(len(acts)) < sway.chance(acts.agreement, acts.agreement.mean()))
    wait = soonest_s + np.minimum(rng.exponential(60.0, len(rows)), 3600)
    return acts.take(rows, acts.time[rows] + (wait * _SECOND).astype(np.int64))
