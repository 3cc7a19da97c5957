"""How values are written on a page: instants, ages, figures, sizes."""

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from markupsafe import Markup

from contracts.clock import utc_now

__all__ = ["FILTERS", "age", "figure", "instant", "size"]

_STEPS = (("day", 86_400), ("h", 3_600), ("min", 60))
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")
NOTHING: Final = "–"


_LONG = 3 * 365 * 86400
"""Seconds after which an age says less than a date."""


def _moment(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def instant(value: datetime | str | None) -> Markup | str:
    """``2026-01-31 12:00 UTC``, as an element that says the whole instant."""
    if value is None:
        return NOTHING
    moment = _moment(value)
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), f"{moment:%Y-%m-%d %H:%M} UTC")


def age(value: datetime | str | None) -> Markup | str:
    """``3 h ago``, with the instant in full beside the pointer; after three years the instant itself."""
    if value is None:
        return NOTHING
    moment = _moment(value)
    seconds = (utc_now() - moment).total_seconds()
    said = "just now"
    if abs(seconds) >= _LONG:
        return instant(value)
    for unit, length in _STEPS:
        if abs(seconds) >= length:
            count = int(abs(seconds) // length)
            plural = "s" if unit == "day" and count > 1 else ""
            said = f"{count} {unit}{plural} ago" if seconds > 0 else f"in {count} {unit}{plural}"
            break
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        moment.isoformat(), f"{moment:%Y-%m-%d %H:%M:%S}", said
    )


def figure(value: Any, digits: int = 4) -> str:
    """A number with so many decimals; whole numbers with thousands set off; ``–`` for none, and what is not finite."""
    if value is None:
        return NOTHING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}f}" if math.isfinite(value) else str(value)


def size(value: float | None) -> str:
    """Bytes, in a unit that people read."""
    if value is None:
        return NOTHING
    power = min(int(math.log(value, 1024)) if value >= 1 else 0, len(_SIZES) - 1)
    return f"{value / 1024**power:.{0 if power == 0 else 1}f} {_SIZES[power]}"


FILTERS: Final[dict[str, Callable[..., Any]]] = {"instant": instant, "age": age, "figure": figure, "size": size}
"""Name in templates → function."""
