"""What to say when a surface has no champion."""

from contracts.errors import NotFound

__all__ = ["no_champion"]


def no_champion(surface: str) -> NotFound:
    """Error for a surface without a champion."""
    return NotFound(
        f"champion of {surface}",
        found="no version with that alias",
        expected="a version to serve",
        next_step='run `backbeat models promote best --to champion --reason "first champion"`',
    )
