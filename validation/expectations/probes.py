"""Items that are encoded again."""

from collections.abc import Mapping
from typing import Any, ClassVar

from validation.expectations.house import number
from validation.expectations.statistic import StatisticExpectation

__all__ = ["ExpectProbesToReencodeAlike"]


class ExpectProbesToReencodeAlike(StatisticExpectation):
    """Expect items that are encoded again to come out as they are stored, or as they came out when last accepted.

    The column holds the largest distance, a root mean square over dimensions in the table's standard deviations.

    Args:
        column: Name of the distance.
        tolerance: Greatest distance between two encodings of the same media.
    """

    tolerance: float

    success_keys: ClassVar[tuple[str, ...]] = ("tolerance", "detail")
    args_keys: ClassVar[tuple[str, ...]] = ("column", "tolerance")

    def holds(self, value: Any) -> bool:
        """Whether the distance is no larger."""
        return bool(value <= self.tolerance)

    def allowed(self) -> str:
        """The tolerance."""
        return f"at most {number(self.tolerance)}"

    @classmethod
    def template(cls, parameters: Mapping[str, Any]) -> str:
        """The rule in words."""
        return "$column must be at most $tolerance standard deviations"

    @classmethod
    def words(cls, value: Any) -> str:
        """The distance."""
        return f"{number(value)} standard deviations"
