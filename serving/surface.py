"""What to say when no surface has a champion."""

from contracts.errors import NotFound
from contracts.surfaces import VIDEO_FEED

__all__ = ["no_champion"]


def no_champion(*surfaces: str) -> NotFound:
    """Error for surfaces of which none has a champion."""
    option = f" --surface {surfaces[0]}" if len(surfaces) == 1 and surfaces[0] != VIDEO_FEED else ""
    return NotFound(
        f"champion of {' or '.join(surfaces)}",
        found="no version with that alias",
        expected="a version to serve",
        next_step=f'run `backbeat models promote best --to champion --reason "first champion"{option}`',
    )
