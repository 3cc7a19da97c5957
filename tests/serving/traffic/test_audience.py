"""Who comes and when: Poisson arrivals, by activity, with some strangers."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from contracts.errors import BadInput
from contracts.surfaces import BACKGROUND_MUSIC, MUSIC, VIDEO_FEED
from feature_repo.simulator.platform import Platform
from serving.traffic.audience import audience_of


def test_arrivals_are_a_poisson_process(world: Platform) -> None:
    visits = list(islice(audience_of(world, VIDEO_FEED, seed=1).visits(seed=1, rate=40), 4_000))
    gaps = np.diff([visit.due_s for visit in visits])
    assert gaps.mean() == pytest.approx(1 / 40, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1), "as of an exponential distribution"
    assert [visit.number for visit in visits[:3]] == [0, 1, 2]


def test_heavy_users_come_more_often_and_strangers_return(world: Platform) -> None:
    audience = audience_of(world, VIDEO_FEED, seed=1, strangers=0.1)
    counts = np.bincount([visit.user for visit in islice(audience.visits(1, None), 6_000)], minlength=330)
    known, strangers = counts[:300], counts[300:]
    assert np.corrcoef(known, world.people.activity)[0, 1] > 0.9
    assert strangers.sum() == pytest.approx(600, abs=100)
    assert len(strangers) == 30
    assert (strangers > 1).sum() > 20
    assert (audience.name(299), audience.name(300)) == ("u299", "stranger-0")


def test_equal_seeds_equal_visits(world: Platform) -> None:
    def first(seed: int) -> list[tuple[float, int, float]]:
        visits = islice(audience_of(world, VIDEO_FEED, seed).visits(seed, rate=5), 50)
        return [(visit.due_s, visit.user, visit.rng.random()) for visit in visits]

    assert first(3) == first(3) != first(4)


def test_only_so_many_users(world: Platform) -> None:
    audience = audience_of(world, MUSIC, seed=1, users=20, strangers=0.0)
    assert len({visit.user for visit in islice(audience.visits(1, None), 2_000)}) == 20
    with pytest.raises(BadInput, match="at most 300, the users of the platform"):
        audience_of(world, MUSIC, seed=1, users=301)


def test_music_for_a_video_is_asked_for_by_its_author(world: Platform) -> None:
    visits = list(islice(audience_of(world, BACKGROUND_MUSIC, seed=1, strangers=0.2).visits(1, None), 500))
    own = [visit for visit in visits if visit.user < 300]
    assert 350 < len(own) < 450
    assert all(world.videos.author[visit.video] == visit.user for visit in own)
    assert all(visit.video is None for visit in islice(audience_of(world, MUSIC, seed=1).visits(1, None), 5))


def test_users_without_a_video_ask_for_no_music(world: Platform) -> None:
    nobody = replace(world, videos=replace(world.videos, author=np.zeros(200, np.int64)))
    with pytest.raises(BadInput, match="1 users without a video"):
        audience_of(nobody, BACKGROUND_MUSIC, seed=2, users=1)
