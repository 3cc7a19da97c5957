"""What common items of two snapshots have in common: their vectors."""

from collections.abc import Mapping
from typing import Any, ClassVar

from validation.expectations.house import number
from validation.expectations.statistic import StatisticExpectation

__all__ = ["ExpectItemsToKeepTheirVectors"]


class ExpectItemsToKeepTheirVectors(StatisticExpectation):
    """Expect few of the items that an accepted snapshot had to have lost, changed or exchanged their vectors.

    The column holds the share of such items, for instance of those that carry another item's former vector.

    Args:
        column: Name of the share.
        max_share: Greatest share, in [0, 1].
    """

    max_share: float

    success_keys: ClassVar[tuple[str, ...]] = ("max_share", "detail")
    args_keys: ClassVar[tuple[str, ...]] = ("column", "max_share")

    def holds(self, value: Any) -> bool:
        """Whether the share is no greater."""
        return bool(value <= self.max_share)

    def seriousness(self, value: Any) -> float:
        """The part of the share that is too much."""
        return float(1 - self.max_share / value)

    def allowed(self) -> str:
        """The greatest share."""
        return f"at most {number(100 * self.max_share)} %"

    @classmethod
    def template(cls, parameters: Mapping[str, Any]) -> str:
        """The rule in words."""
        return "$column must be a share of at most $max_share of the items that the accepted snapshot has too"

    @classmethod
    def words(cls, value: Any) -> str:
        """As a percentage."""
        return f"{number(100 * value)} % of the items"
