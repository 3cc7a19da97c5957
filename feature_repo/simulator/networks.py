"""Who follows whom, and whose videos people repost: birds of a feather."""

from dataclasses import dataclass

import numpy as np

from feature_repo.raw_tables import Microseconds
from feature_repo.simulator.catalogue import EARLIEST_DAYS, Catalogue
from feature_repo.simulator.draws import DAY_US, START_US, Rows, apart, blocks, choose, pick
from feature_repo.simulator.tastes import People
from feature_repo.simulator.watching import Acts

__all__ = ["Ties", "befriend", "join", "new_follows", "reposts"]

_COLUMNS = ("source", "target", "time")
_MET, _SHARPNESS, _NEAR = 24, 6.0, 1.0


@dataclass(frozen=True)
class Ties:
    """Acts that tie one user to another, in order of time."""

    source: Rows
    target: Rows
    time: Microseconds

    def __len__(self) -> int:
        return len(self.source)


def _in_order(source: Rows, target: Rows, time: Microseconds) -> Ties:
    order = np.argsort(time, kind="stable")
    return Ties(source[order], target[order], apart(time[order]))


def join(one: Ties, other: Ties) -> Ties:
    """Both, in order of time."""
    return _in_order(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in _COLUMNS))


def befriend(rng: np.random.Generator, people: People, count: int, days: int) -> Ties:
    """Follows that came of no video, each pair once: of 24 users met by fame, one of like taste and region."""
    users = len(people.taste)
    fame = np.cumsum(rng.lognormal(0.0, 1.2, users) * (0.2 + users * people.productivity))
    followers = np.cumsum(people.activity**0.6)
    kept = np.empty(0, np.int64)
    while len(kept) < count:
        draw = int(1.1 * (count - len(kept))) + 10
        source, target = pick(rng, followers, draw), np.empty(draw, np.int64)
        for part in blocks(draw):
            met = pick(rng, fame, len(source[part]) * _MET).reshape(-1, _MET)
            alike = np.einsum("nkf,nf->nk", people.taste[met], people.taste[source[part]])
            near = (people.region[met] == people.region[source[part]][:, None]) & (people.region[met] >= 0)
            itself = met == source[part][:, None]
            target[part] = choose(rng, met, _SHARPNESS * alike + _NEAR * near - 1000.0 * itself)
        keys = (source * users + target)[source != target]
        kept = np.concatenate([kept, keys])
        kept = kept[np.sort(np.unique(kept, return_index=True)[1])]
    kept = kept[:count]
    since = START_US + (rng.uniform(-EARLIEST_DAYS, days, count) * DAY_US).astype(np.int64)
    return _in_order(kept // users, kept % users, since)


def new_follows(follows: Acts, catalogue: Catalogue, known: Ties, users: int) -> Acts:
    """Those of the follows that came of a video whose author was neither the user nor followed before."""
    author = catalogue.author[follows.item]
    keys = follows.user * users + author
    first = np.zeros(len(follows), bool)
    first[np.unique(keys, return_index=True)[1]] = True  # in order of time, so the earliest
    fresh = first & ~np.isin(keys, known.source * users + known.target) & (author != follows.user)
    rows = np.flatnonzero(fresh)
    return Acts(follows.user[rows], follows.item[rows], follows.time[rows], follows.agreement[rows])


def reposts(
    rng: np.random.Generator, shares: Acts, catalogue: Catalogue, follows: Ties, people: People, days: int
) -> Ties:
    """A repost for each video shared, of its author; and some by followers, the more the more they agree."""
    author = catalogue.author[shares.item]
    others = author != shares.user
    alike = np.einsum("nf,nf->n", people.taste[follows.source], people.taste[follows.target])
    rows = np.flatnonzero(rng.random(len(follows)) < np.clip(0.15 + 0.5 * alike, 0, 1))
    left = START_US + days * DAY_US - follows.time[rows]
    later = follows.time[rows] + (rng.random(len(rows)) * left).astype(np.int64)
    return _in_order(
        np.concatenate([shares.user[others], follows.source[rows]]),
        np.concatenate([author[others], follows.target[rows]]),
        np.concatenate([shares.time[others], np.maximum(later, follows.time[rows] + 1)]),
    )
