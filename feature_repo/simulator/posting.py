"""Posts: what users write and show, which reveals their topics and the mood of the moment."""

from dataclasses import dataclass

import numpy as np

from feature_repo.raw_tables import Microseconds
from feature_repo.simulator.draws import Bools, Floats, Rows, apart, at_least, instants, unit
from feature_repo.simulator.moods import Moods
from feature_repo.simulator.plan import Plan
from feature_repo.simulator.tastes import CONTENT, TOPICS, People, topics

__all__ = ["Posts", "write_posts"]

_REVEALED = 0.5  # standard deviation of what a post shows of a mood beside the mood itself, which has about 1
_MOST_IMAGES = 9


@dataclass(frozen=True)
class Posts:
    """All posts, in order of time."""

    user: Rows
    time: Microseconds
    topic: Rows
    content: Floats
    """``[n, 16]``, length 1."""
    mood: Floats
    """``[n, 2]``, the mood that the post shows: the user's, and noise."""
    text: Bools
    images: Rows
    """``[n]``, number of images, 0 to 9."""
    video: Bools

    def __len__(self) -> int:
        return len(self.user)


def write_posts(rng: np.random.Generator, people: People, moods: Moods, plan: Plan) -> Posts:
    """Draw posts; each has a text, images or a short video."""
    count = plan.posts
    users = at_least(rng, people.activity**0.7 * rng.lognormal(0.0, 0.6, plan.users), count, plan.least_posts)
    times = np.sort(instants(rng, count, plan.days), kind="stable")
    topic = people.favourites[users, rng.integers(4, size=count)]
    topic = np.where(rng.random(count) < 0.7, topic, rng.integers(TOPICS, size=count))
    times = apart(times)
    mood = moods.at(users, times) + _REVEALED * rng.normal(size=(count, 2))

    video = rng.random(count) < plan.post_video
    images = _images(rng, count, plan.post_images / max(1 - plan.post_video, 1e-9))
    images[video] = 0
    bare = ~video & (images == 0)
    # A post with nothing to see has a text, so among the others a text is a little rarer than in all.
    rest = 1 - bare.mean() if count else 1.0
    text = bare | (rng.random(count) < max((plan.post_text - bare.mean()) / max(rest, 1e-9), 0.0) if count else bare)
    return Posts(
        user=users,
        time=times,
        topic=topic,
        content=unit(topics()[topic] + 0.15 * rng.normal(size=(count, CONTENT))),
        mood=mood.astype(np.float32),
        text=text,
        images=images,
        video=video,
    )


def _images(rng: np.random.Generator, count: int, mean: float) -> Rows:
    """Images of each post without a video: none, or one to nine, ``mean`` on average."""
    shares = 0.6 ** np.arange(_MOST_IMAGES)
    several = float((shares / shares.sum()) @ np.arange(1, _MOST_IMAGES + 1))
    if mean > several:  # then no post goes without, and high numbers grow likelier
        shares = np.full(_MOST_IMAGES, 1.0)
        several = (1 + _MOST_IMAGES) / 2
    number = rng.choice(np.arange(1, _MOST_IMAGES + 1), size=count, p=shares / shares.sum())
    return np.where(rng.random(count) < mean / several, number, 0)
