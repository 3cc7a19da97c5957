"""Time, always UTC and always aware."""

from datetime import UTC, datetime

from contracts.errors import BadInput

__all__ = ["parse_instant", "to_utc", "utc_now"]


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


def parse_instant(text: str, subject: str) -> datetime:
    """An instant in UTC from ISO 8601 with a zone.

    Args:
        text: Such as ``2026-01-31T12:00:00+00:00``.
        subject: Where it was given, for the error.

    Raises:
        BadInput: It is no instant, or has no zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadInput(
            subject,
            found=repr(text),
            expected="an instant with its zone, such as 2026-01-31T12:00:00+00:00",
            next_step="give date, time and zone, then run the command again",
        )
    return moment.astimezone(UTC)
