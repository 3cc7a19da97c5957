"""Statistics in the bands that accepted snapshots lead to expect."""

from collections.abc import Mapping
from typing import Any, ClassVar

from validation.expectations.house import number
from validation.expectations.statistic import StatisticExpectation

__all__ = ["ExpectColumnShareToStayInLearnedBand", "ExpectStatisticToStayInLearnedBand"]


class ExpectStatisticToStayInLearnedBand(StatisticExpectation):
    """Expect a statistic of the table to stay where accepted snapshots had it.

    The frame has one row and a column per statistic. A statistic that is null, which accepted snapshots had, could not
    be measured: that breaks the expectation too.

    Args:
        column: Name of the statistic.
        low: Least value; None for no limit.
        high: Greatest value; None for no limit.
        learned_from: Number of accepted snapshots that the band was learned from.
    """

    low: float | None = None
    high: float | None = None
    learned_from: int = 0

    success_keys: ClassVar[tuple[str, ...]] = ("low", "high", "learned_from", "detail")
    args_keys: ClassVar[tuple[str, ...]] = ("column", "low", "high", "learned_from")

    def holds(self, value: Any) -> bool:
        """Whether it lies in the band, whose ends belong to it."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def seriousness(self, value: Any) -> float:
        """How far it lies beyond the end of the band, as a part of the larger of the two."""
        end = self.low if self.low is not None and value < self.low else self.high
        return float(abs(value - end) / max(abs(value), abs(end))) if end is not None else 1.0

    def allowed(self) -> str | None:
        """The ends of the band."""
        ends = {"at least": self.low, "at most": self.high}
        return " and ".join(f"{word} {self.words(end)}" for word, end in ends.items() if end is not None) or None

    @classmethod
    def template(cls, parameters: Mapping[str, Any]) -> str:
        """The band in words."""
        ends = [parameters.get("low") is not None, parameters.get("high") is not None]
        band = {
            (True, True): "must lie between $low and $high",
            (True, False): "must be at least $low",
            (False, True): "must be at most $high",
            (False, False): "must be measured",
        }[ends[0], ends[1]]
        number = "$learned_from " if parameters.get("learned_from") else ""
        return f"$column {band}, as learned from {number}accepted snapshots"


class ExpectColumnShareToStayInLearnedBand(ExpectStatisticToStayInLearnedBand):
    """Expect a share of the rows to stay where accepted snapshots had it.

    As ``ExpectStatisticToStayInLearnedBand``, for shares in [0, 1].
    """

    def seriousness(self, value: Any) -> float:
        """The part that is too much of those that are too many, or of those that are missing."""
        if self.high is not None and value > self.high:
            return float(1 - self.high / value)
        return float(1 - (1 - self.low) / (1 - value)) if self.low is not None else 1.0

    @classmethod
    def words(cls, value: Any) -> str:
        """As a percentage."""
        return f"{number(100 * value)} %"
