"""The whole platform: every part grown from its own stream of chance, in the order in which they depend."""

from dataclasses import dataclass

from feature_repo.simulator.catalogue import Catalogue, accompany, publish
from feature_repo.simulator.draws import Rows, stream
from feature_repo.simulator.listening import listen
from feature_repo.simulator.moods import Moods, moods_of
from feature_repo.simulator.music import Music, music_of
from feature_repo.simulator.networks import Ties, befriend, join, new_follows, reposts
from feature_repo.simulator.plan import Plan
from feature_repo.simulator.posting import Posts, write_posts
from feature_repo.simulator.tastes import People, people_of
from feature_repo.simulator.watching import Acts, Sway, follow_up, watch

__all__ = ["MUSIC_SWAYS", "VIDEO_SWAYS", "Platform", "grow"]

VIDEO_SWAYS = {"like": Sway(0.2, 6.0), "share": Sway(0.04, 5.0), "follow": Sway(0.02, 6.0)}
"""Which views are followed by what."""
MUSIC_SWAYS = {"like": Sway(0.1, 1.0), "share": Sway(0.03, 1.0)}
"""Which listens are followed by what."""


@dataclass(frozen=True)
class Platform:
    """Everything that is true of a simulated platform, seen by an encoder or not."""

    plan: Plan
    people: People
    moods: Moods
    music: Music
    videos: Catalogue
    background: Rows
    """``[N]``, row of the music of each video."""
    interactions: dict[str, Acts]
    """By kind."""
    listens: dict[str, Acts]
    """By kind."""
    posts: Posts
    networks: dict[str, Ties]


def grow(plan: Plan) -> Platform:
    """Draw a platform; equal plans give equal platforms.

    Args:
        plan: How large.
    """
    seed, days = plan.seed, plan.days
    people = people_of(stream(seed, "people"), plan.users)
    moods = moods_of(stream(seed, "moods"), plan.users)
    music = music_of(stream(seed, "music"), plan.music, days)
    videos = publish(stream(seed, "videos"), people, moods, plan.videos, days, plan.least_videos)
    background = accompany(stream(seed, "background"), videos, people, music, plan.least_videos)
    views = watch(stream(seed, "views"), videos, people, moods, music, background, days, plan.events, plan.least_events)
    likes = follow_up(stream(seed, "likes"), views, VIDEO_SWAYS["like"], soonest_s=2.0)
    shares = follow_up(stream(seed, "shares"), views, VIDEO_SWAYS["share"], soonest_s=4.0)
    friends = befriend(stream(seed, "friends"), people, plan.follows, days)
    followed = follow_up(stream(seed, "follows"), views, VIDEO_SWAYS["follow"], soonest_s=3.0)
    followed = new_follows(followed, videos, friends, plan.users)
    follow = join(friends, Ties(followed.user, videos.author[followed.item], followed.time))
    posts = write_posts(stream(seed, "posts"), people, moods, plan)
    heard = listen(stream(seed, "listens"), people, moods, music, posts, plan)
    return Platform(
        plan=plan,
        people=people,
        moods=moods,
        music=music,
        videos=videos,
        background=background,
        interactions={"view": views, "like": likes, "share": shares, "follow": followed},
        listens={
            "listen": heard,
            "like": follow_up(stream(seed, "music likes"), heard, MUSIC_SWAYS["like"], soonest_s=10.0),
            "share": follow_up(stream(seed, "music shares"), heard, MUSIC_SWAYS["share"], soonest_s=10.0),
        },
        posts=posts,
        networks={
            "follow": follow,
            "repost": reposts(stream(seed, "reposts"), shares, videos, follow, people, days),
        },
    )
