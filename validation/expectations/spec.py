"""The encoder that vectors are said to come from."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from validation.expectations.statistic import StatisticExpectation

__all__ = ["ExpectEmbeddingSpecToMatch"]


class ExpectEmbeddingSpecToMatch(StatisticExpectation):
    """Expect vectors to be of an embedding spec that is known: encoder, revision, preprocessing, width, normalisation.

    The column holds the spec as JSON.

    Args:
        column: Name of the column.
        accepted: The specs that may be, as JSON; the first is the one a finding is explained with.
        whose: Who expects it, for instance ``the accepted snapshot``.
    """

    accepted: list[str]
    whose: str

    success_keys: ClassVar[tuple[str, ...]] = ("accepted", "whose", "detail")
    args_keys: ClassVar[tuple[str, ...]] = ("column", "whose")

    def holds(self, value: Any) -> bool:
        """Whether it is one of those."""
        return value in self.accepted

    def explanation(self, value: Any) -> str | None:
        """The fields that differ."""
        if self.detail is not None or not self.accepted:
            return self.detail
        found, expected = json.loads(value), json.loads(self.accepted[0])
        differences = [
            f"{name} {found.get(name)!r} instead of {wanted!r}"
            for name, wanted in expected.items()
            if found.get(name) != wanted
        ]
        return ", ".join(differences)

    @classmethod
    def template(cls, parameters: Mapping[str, Any]) -> str:
        """The rule in words."""
        return "$column must be the one of $whose"

    @classmethod
    def words(cls, value: Any) -> str:
        """Encoder and revision."""
        spec = json.loads(value)
        return f"{spec['encoder']} {spec['revision']}"
