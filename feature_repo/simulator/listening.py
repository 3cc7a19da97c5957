"""Listens: taste, popularity, and above all else the mood of the moment."""

import numpy as np

from feature_repo.raw_tables import Microseconds
from feature_repo.simulator.catalogue import SHOWN
from feature_repo.simulator.draws import DAY_US, START_US, Floats, Rows, apart, at_least, blocks, choose, instants
from feature_repo.simulator.moods import Moods
from feature_repo.simulator.music import Music
from feature_repo.simulator.plan import Plan
from feature_repo.simulator.posting import Posts
from feature_repo.simulator.tastes import People
from feature_repo.simulator.watching import Acts

__all__ = ["SHARPNESS", "listen", "wanted"]

SHARPNESS = 4.0
"""How much the agreement of taste and music decides what is heard, in log odds per unit."""
_MOOD, _LANGUAGE = 1.2, 0.8
_AFTER_POST, _HOURS_AFTER = 0.5, 5.0
_HOUR_US = DAY_US // 24


def listen(
    rng: np.random.Generator, people: People, moods: Moods, music: Music, posts: Posts | None, plan: Plan
) -> Acts:
    """Draw listens; half of them come within hours of a post of the same user, as people do both in one sitting."""
    free, free_times = _sittings(rng, people, posts, plan)
    everyone = np.repeat(np.arange(plan.users), plan.least_listens)
    users = np.concatenate([everyone, free])
    times = np.concatenate([instants(rng, len(everyone), plan.days), free_times])
    order = np.argsort(times, kind="stable")
    users, times = users[order], apart(times[order])
    heard, agreement = np.empty(plan.listens, np.int64), np.empty(plan.listens, np.float32)
    for part in blocks(plan.listens):
        who = users[part]
        offered = music.shelf.offer(rng, times[part], SHOWN)
        scores = wanted(people, music, who, moods.at(who, times[part]), offered)
        heard[part] = choose(rng, offered, scores)
        agreement[part] = wanted(people, music, who, moods.at(who, times[part]), heard[part][:, None])[:, 0]
    return Acts(users, heard, times, agreement / SHARPNESS)


def _sittings(rng: np.random.Generator, people: People, posts: Posts | None, plan: Plan) -> tuple[Rows, Microseconds]:
    """Who listens when, ``[n]``: those listens that nobody is owed."""
    count = plan.listens - plan.users * plan.least_listens
    users = at_least(rng, people.activity, count, 0)
    times = instants(rng, count, plan.days)
    if posts is not None and len(posts):
        after = rng.integers(len(posts), size=count)
        later = posts.time[after] + (rng.exponential(_HOURS_AFTER, count) * _HOUR_US).astype(np.int64)
        moved = (rng.random(count) < _AFTER_POST) & (later < START_US + plan.days * DAY_US)
        users, times = np.where(moved, posts.user[after], users), np.where(moved, later, times)
    return users, times


def wanted(people: People, music: Music, users: Rows, mood: Floats, offered: Rows) -> Floats:
    """How much users ``[n]`` in a mood ``[n, 2]`` want each offered piece ``[n, k]``; ``[n, k]``."""
    taste = np.einsum("nks,ns->nk", music.style[offered], people.style[users])
    # Music that suits a mood has the same one: the product grows with both, and a weak mood decides little.
    suits = np.einsum("nkm,nm->nk", music.mood[offered], mood * people.swayed[users][:, None])
    known = (music.language[offered][:, :, None] == people.languages[users][:, None, :]) @ np.array([1.0, 0.5])
    return np.asarray(SHARPNESS * taste + _MOOD * suits + _LANGUAGE * known, np.float32)
