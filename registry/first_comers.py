"""What the second of two people is told: who came first."""

from contracts.errors import Conflict
from contracts.promotion_rows import MoveRow

__all__ = ["busy", "overtaken"]


def busy(row: MoveRow) -> Conflict:
    """The error of somebody who finds a move under way."""
    return Conflict(
        f"surface {row.surface}",
        found=f"{row.actor} moving version {row.version} to {row.audit['after']} since {row.at:%Y-%m-%d %H:%M:%S} UTC",
        expected="one move at a time",
        next_step=f"wait a moment, look at `backbeat models audit --surface {row.surface}`, then run the command again",
    )


def overtaken(surface: str, version: str, to: str, row: MoveRow) -> Conflict:
    """The error of somebody whose judgement is of a time before another's move.

    Args:
        surface: Registered model.
        version: The version that was to move.
        to: Where to.
        row: The move that was first.
    """
    return Conflict(
        f"{surface} version {version} → {to}",
        found=f"{row.actor} was first: version {row.version} is {row.audit['after']} "
        f"since {row.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC",
        expected="what was judged to stay as it was",
        next_step=f"look at `backbeat models audit --surface {surface}`, then run the command again",
    )
