"""Numbers between bounds, row by row, a column at a time."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider import (
    ColumnMapMetricProvider,
    column_condition_partial,
)

from validation.expectations.house import HouseExpectation

__all__ = ["ColumnValuesWithin", "ExpectColumnValuesToLieWithin"]


class ColumnValuesWithin(ColumnMapMetricProvider):  # type: ignore[misc]
    """Which values lie between the bounds; the comparison runs over the whole column at once."""

    condition_metric_name = "column_values.within"
    condition_value_keys = ("min_value", "max_value", "strict_min")

    @column_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(
        cls,
        column: pd.Series,
        min_value: float | None,
        max_value: float | None,
        strict_min: bool,
        **_: Any,
    ) -> pd.Series:
        values = column.to_numpy()
        within = np.ones(len(values), bool)
        if min_value is not None:
            within &= values > min_value if strict_min else values >= min_value
        if max_value is not None:
            within &= values <= max_value
        return pd.Series(within, index=column.index)


class ExpectColumnValuesToLieWithin(HouseExpectation, ColumnMapExpectation):  # type: ignore[misc]
    """Expect the numbers of a column to lie between two bounds, both of them allowed.

    It says what ``ExpectColumnValuesToBeBetween`` says. That one calls a Python function for every row, which at a
    million rows takes a hundred times as long.

    Args:
        column: A column of numbers; nulls are not judged.
        min_value: Least value; None for no bound.
        max_value: Greatest value; None for no bound.
        strict_min: Whether the least value itself is too small.
        mostly: Share of the rows that must lie within.
    """

    min_value: float | None = None
    max_value: float | None = None
    strict_min: bool = False

    map_metric: ClassVar[str | None] = "column_values.within"
    success_keys: ClassVar[tuple[str, ...]] = ("min_value", "max_value", "strict_min", "mostly")
    args_keys: ClassVar[tuple[str, ...]] = ("column", "min_value", "max_value", "strict_min", "mostly")
    library_metadata: ClassVar[dict[str, Any]] = {
        "maturity": "production",
        "tags": ["column map expectation"],
        "contributors": [],
    }

    @classmethod
    def template(cls, parameters: Mapping[str, Any]) -> str:
        """The bounds in words."""
        ends = []
        if parameters.get("min_value") is not None:
            ends.append("greater than $min_value" if parameters.get("strict_min") else "at least $min_value")
        if parameters.get("max_value") is not None:
            ends.append("at most $max_value")
        rule = f"$column must be {' and '.join(ends)}" if ends else "$column may be any number"
        return rule if parameters.get("mostly", 1) == 1 else f"{rule}, in a share of $mostly of the rows at least"
