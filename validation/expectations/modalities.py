"""Modalities of one thing, which tell something of one another."""

from collections.abc import Mapping
from typing import Any, ClassVar

from validation.expectations.statistic import StatisticExpectation

__all__ = ["ExpectPairedModalitiesToAgree"]


class ExpectPairedModalitiesToAgree(StatisticExpectation):
    """Expect vectors of two modalities to agree better for the same item than for items paired at random.

    The column holds that margin. It falls where the rows of one modality carry other items' vectors, even if each
    table by itself looks as it always did.

    Args:
        column: Name of the margin.
        least: Least margin, learned from accepted snapshots.
    """

    least: float

    success_keys: ClassVar[tuple[str, ...]] = ("least", "detail")
    args_keys: ClassVar[tuple[str, ...]] = ("column", "least")

    def holds(self, value: Any) -> bool:
        """Whether the margin is no smaller."""
        return bool(value >= self.least)

    def allowed(self) -> str:
        """The least margin."""
        return f"at least {self.least:.3f}"

    @classmethod
    def template(cls, parameters: Mapping[str, Any]) -> str:
        """The rule in words."""
        return "$column must be at least $least: an item's own pairing agrees better than a random one"

    @classmethod
    def words(cls, value: Any) -> str:
        """The margin."""
        return f"a margin of {value:.3f}"
