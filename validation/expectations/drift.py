"""Differences between what is new and what was accepted, told from chance."""

from collections.abc import Mapping
from typing import Any, ClassVar

from validation.expectations.statistic import StatisticExpectation

__all__ = ["ExpectNoDriftBeyondChance"]


class ExpectNoDriftBeyondChance(StatisticExpectation):
    """Expect the vectors of new items to be such as the accepted ones.

    The column holds a p-value: the probability that a difference as large as the one that was found is chance,
    corrected for all tests of the run (Holm, 1979), and 1 where the difference is too small to matter to anybody.

    Args:
        column: Name of the p-value.
        alpha: The p-value down to which a difference is not taken for chance.
    """

    alpha: float

    success_keys: ClassVar[tuple[str, ...]] = ("alpha", "detail")
    args_keys: ClassVar[tuple[str, ...]] = ("column", "alpha")

    def holds(self, value: Any) -> bool:
        """Whether chance may be all there is to it."""
        return bool(value > self.alpha)

    @classmethod
    def template(cls, parameters: Mapping[str, Any]) -> str:
        """The rule in words."""
        return "$column must be a p-value above $alpha: new items differ from accepted ones by chance only"

    @classmethod
    def words(cls, value: Any) -> str:
        """The p-value."""
        return "no difference that matters" if value == 1 else f"a difference that is chance with p = {value:.2g}"
