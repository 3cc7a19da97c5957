"""What tuning searches: the range of one option, written beside its type, ``Annotated[float, Floats(…)]``."""

from dataclasses import dataclass

__all__ = ["Choice", "Floats", "Ints", "Range"]


@dataclass(frozen=True)
class Floats:
    """All numbers from one to another."""

    low: float
    high: float
    log: bool = False
    """Whether each order of magnitude is as likely as the next, rather than each number."""


@dataclass(frozen=True)
class Ints:
    """All whole numbers from one to another, both included."""

    low: int
    high: int
    log: bool = False
    """As of :class:`Floats`."""


@dataclass(frozen=True)
class Choice:
    """Some values without an order."""

    values: tuple[bool | int | float | str, ...]


Range = Floats | Ints | Choice
