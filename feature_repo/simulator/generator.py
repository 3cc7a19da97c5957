"""From a few numbers to the offline tables of a platform."""

from collections.abc import Callable
from typing import Any

from contracts.console import Advance
from contracts.errors import BadInput
from feature_repo.raw_tables import RawTables
from feature_repo.simulator.media import MediaPlan, write_media
from feature_repo.simulator.plan import Plan
from feature_repo.simulator.platform import grow
from feature_repo.simulator.presets import scaled
from feature_repo.simulator.tabulate import tabulate

__all__ = ["generate", "plan_of", "simulate"]

_USUAL = {"users": 1500, "videos": 1000, "days": 28, "seed": 7, "events": 20_000}


def simulate(users: int, videos: int, days: int, seed: int, events: int, **more: Any) -> RawTables:
    """Generate the platform that the package describes; equal arguments give equal tables.

    Args:
        users: Number of users.
        videos: Number of videos.
        days: Length of the period, in days from 2025-01-01 UTC.
        seed: Seed of everything that is drawn.
        events: Number of views.
        **more: Further fields of ``Plan``; numbers of music, posts, listens and follows are in proportion if absent.

    Raises:
        BadInput: A number is outside its range, or there are more events than a quarter of all user-video pairs.
    """
    return tabulate(grow(plan_of(users=users, videos=videos, days=days, seed=seed, events=events, **more)))


def generate(plan: Plan, media: MediaPlan | None = None) -> tuple[RawTables, Callable[[Advance], bool]]:
    """Generate a platform, and have its media files written later, by whoever holds the home's writer lock.

    Args:
        plan: How large.
        media: Which items have files; none if None.

    Returns:
        The tables, and a function that writes the files and says whether they were new.
    """
    platform = grow(plan)
    raw = tabulate(platform, media)
    texts = {
        table: raw.tables[table][column].combine_chunks()
        for table, column in (("videos", "title"), ("posts", "text"))
        if table in raw.tables
    }

    def write(advance: Advance) -> bool:
        return media is not None and write_media(platform, media, texts, advance)

    return raw, write


def plan_of(preset: str | None = None, scale: float | None = None, **given: Any) -> Plan:
    """A plan with what is given, then what a preset says, then the usual proportions.

    Args:
        preset: One of ``PRESETS``, or None.
        scale: Factor for the counts of the preset.
        **given: Fields of ``Plan``; those that are None are as if absent.

    Raises:
        NotFound: There is no such preset.
        BadInput: A number is out of range, or there is a scale without a preset.
    """
    if preset is None and scale is not None:
        raise BadInput("option --scale", found="no --preset", expected="one to scale", next_step="add --preset NAME")
    numbers: dict[str, Any] = {} if preset is None else scaled(preset, scale)
    numbers |= {name: value for name, value in given.items() if value is not None}
    numbers = _USUAL | numbers
    users = numbers["users"]
    usual = {
        "music": max(numbers["videos"] // 3, 20),
        "posts": 4 * users,
        "listens": 6 * users,
        "follows": min(8 * users, users * (users - 1) // 8),
    }
    return Plan(**(usual | numbers))
