"""Clicks follow the hidden taste by which the simulator's users choose."""

import numpy as np
import pytest

from contracts.errors import BadInput
from contracts.surfaces import BACKGROUND_MUSIC, MUSIC, VIDEO_FEED
from feature_repo.simulator.generator import plan_of
from feature_repo.simulator.platform import Platform, grow
from serving.traffic.appetite import appetite_for
from serving.traffic.audience import Visit, audience_of


def visit(user: int, video: int | None = None) -> Visit:
    return Visit(0, 0.0, user, video, np.random.default_rng(0))


def test_what_users_have_watched_is_clicked_more(world: Platform) -> None:
    appetite = appetite_for(VIDEO_FEED, world, audience_of(world, VIDEO_FEED, seed=0))
    rng, views = np.random.default_rng(0), world.interactions["view"]
    own, any_video = [], []
    for row in range(len(views) - 400, len(views)):  # the last ones: tastes turn
        items = np.array([views.item[row], rng.integers(len(appetite))])
        chances = appetite.chances(visit(int(views.user[row])), items)
        own.append(chances.click[0])
        any_video.append(chances.click[1])
    assert 0.2 < np.mean(own) < 0.5, "0.3 where the agreement is usual"
    assert np.mean(any_video) < 0.5 * np.mean(own)


def test_likes_have_the_chances_of_the_simulator(world: Platform) -> None:
    appetite = appetite_for(VIDEO_FEED, world, audience_of(world, VIDEO_FEED, seed=0))
    views, likes = world.interactions["view"], world.interactions["like"]
    last = np.arange(len(views) - 2_000, len(views))
    chance = [appetite.chances(visit(int(views.user[row])), views.item[row : row + 1]).after["like"][0] for row in last]
    liked = set(zip(likes.user.tolist(), likes.item.tolist(), strict=True))
    done = [(int(views.user[row]), int(views.item[row])) in liked for row in last]
    assert np.mean(chance) == pytest.approx(np.mean(done), abs=0.03)
    assert np.corrcoef(chance, done)[0, 1] > 0.2


def test_a_taste_is_the_users_own(world: Platform) -> None:
    items = np.arange(200)
    appetite = appetite_for(VIDEO_FEED, world, audience_of(world, VIDEO_FEED, seed=0, strangers=0.1))
    one, other, stranger = (appetite.chances(visit(user), items) for user in (0, 1, 305))
    assert np.corrcoef(one.click, other.click)[0, 1] < 0.8
    assert np.corrcoef(one.click, stranger.click)[0, 1] < 0.8
    assert one.watched is not None
    assert np.corrcoef(one.click, one.watched)[0, 1] > 0.7


def test_authors_take_the_music_that_they_took(world: Platform) -> None:
    appetite = appetite_for(BACKGROUND_MUSIC, world, audience_of(world, BACKGROUND_MUSIC, seed=0))
    pieces = np.arange(len(appetite))
    better = []
    for video in range(200):
        chances = appetite.chances(visit(int(world.videos.author[video]), video), pieces)
        better.append((chances.click < chances.click[world.background[video]]).mean())
        assert chances.after == {}
    assert len(appetite) == 60
    assert np.mean(better) > 0.8


def test_listeners_take_what_they_have_heard(world: Platform) -> None:
    appetite = appetite_for(MUSIC, world, audience_of(world, MUSIC, seed=0))
    heard = world.listens["listen"]
    better = []
    for row in range(len(heard) - 300, len(heard)):
        chances = appetite.chances(visit(int(heard.user[row])), np.arange(60))
        better.append((chances.click < chances.click[heard.item[row]]).mean())
    assert chances.after.keys() == {"like", "share"}
    assert np.mean(better) > 0.65


def test_nobody_listens() -> None:
    silent = grow(plan_of(users=20, videos=50, days=4, events=100, listens=0))
    with pytest.raises(BadInput, match="a platform without listens"):
        appetite_for(MUSIC, silent, audience_of(silent, MUSIC, seed=0))
