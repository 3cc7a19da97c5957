"""Views, and the likes, shares and follows that come of them."""

from dataclasses import dataclass

import numpy as np

from feature_repo.raw_tables import Microseconds
from feature_repo.simulator.catalogue import SHOWN, Catalogue
from feature_repo.simulator.draws import DAY_US, START_US, Floats, Rows, apart, blocks, choose, instants, pick
from feature_repo.simulator.moods import Moods
from feature_repo.simulator.music import Music
from feature_repo.simulator.tastes import People, taste_at

__all__ = ["Acts", "follow_up", "watch"]

_SHARPNESS, _MUSIC, _MOOD = 8.0, 1.2, 0.3
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
    items = np.hstack([_SHARPNESS * catalogue.factors, _MUSIC * music.style[background], _MOOD * catalogue.mood])
    items = items.astype(np.float32)
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
        progress = ((when - START_US) / (days * DAY_US)).astype(np.float32)
        wish = np.hstack([taste_at(people, who, progress), people.style[who], moods.at(who, when)])
        shown = catalogue.shelf.offer(rng, when, SHOWN)
        scores = np.einsum("esf,ef->es", items[shown], wish)
        watched[part] = choose(rng, shown, scores)
        agreement[part] = np.einsum("ef,ef->e", items[watched[part]], wish) / _SHARPNESS
    return watched, agreement


def follow_up(rng: np.random.Generator, acts: Acts, usual: float, steepness: float, soonest_s: float) -> Acts:
    """Acts that follow some seconds after others, each at most once, the likelier the better the item agreed.

    Args:
        rng: Chance.
        acts: Views, or listens.
        usual: Share of acts of average agreement that are followed up.
        steepness: How much agreement counts, in log odds per unit.
        soonest_s: Least seconds between the two; the mean is a minute more.
    """
    if len(acts) == 0:
        return acts
    odds = np.log(usual / (1 - usual)) + steepness * (acts.agreement - acts.agreement.mean())
    rows = np.flatnonzero(rng.random(len(acts)) < 1 / (1 + np.exp(-odds)))
    wait = soonest_s + np.minimum(rng.exponential(60.0, len(rows)), 3600)
    return acts.take(rows, acts.time[rows] + (wait * _SECOND).astype(np.int64))
