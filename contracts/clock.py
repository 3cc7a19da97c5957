"""Time, always UTC and always aware."""

from datetime import UTC, datetime

from contracts.errors import BadInput

__all__ = ["to_utc", "utc_now"]


def utc_now() -> datetime:
    """The present moment, timezone-aware, to the microsecond."""
    return datetime.now(UTC)


def to_utc(moment: datetime) -> datetime:
    """Convert an aware datetime to UTC.

    Raises:
        BadInput: The datetime has no time zone.
    """
    if moment.tzinfo is None:
        raise BadInput(
            f"timestamp {moment.isoformat()}",
            found="no time zone",
            expected="an aware timestamp such as 2026-01-31T12:00:00+00:00",
            next_step="attach the zone the data was recorded in, then run the command again",
        )
    return moment.astimezone(UTC)
