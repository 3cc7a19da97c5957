"""What every expectation of ours about one statistic of a table shares."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import pandas as pd
from great_expectations.core import ExpectationValidationResult
from great_expectations.execution_engine import ExecutionEngine, PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnAggregateExpectation
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metrics.column_aggregate_metric_provider import (
    ColumnAggregateMetricProvider,
    column_aggregate_value,
)
from great_expectations.render import LegacyDiagnosticRendererType
from great_expectations.render.renderer.renderer import renderer

from validation.expectations.house import HouseExpectation, number

__all__ = ["UNMEASURED", "ColumnStatistic", "StatisticExpectation"]

UNMEASURED = "could not be measured"


class ColumnStatistic(ColumnAggregateMetricProvider):  # type: ignore[misc]
    """The one value of a column, of a frame that holds one row: a statistic per column."""

    metric_name = "column.statistic"

    @column_aggregate_value(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column: pd.Series, **_: Any) -> Any:
        (value,) = column
        return value


class StatisticExpectation(HouseExpectation, ColumnAggregateExpectation):  # type: ignore[misc]
    """Base of expectations on one statistic, a column of a frame with one row.

    A statistic that is null could not be measured, and what cannot be measured is not expected: the expectation fails.
    Subclasses say what holds, how the rule reads and how an observed value reads; prescriptive and diagnostic renderers
    are the same for all.
    """

    detail: str | None = None
    """What else was found, in words, for a reader of a broken rule."""

    metric_dependencies: ClassVar[tuple[str, ...]] = ("column.statistic",)
    library_metadata: ClassVar[dict[str, Any]] = {
        "maturity": "production",
        "tags": ["embeddings", "column aggregate expectation"],
        "contributors": [],
    }

    @abstractmethod
    def holds(self, value: Any) -> bool:
        """Whether the statistic, which is not null, is as expected."""

    def seriousness(self, value: Any) -> float:
        """How bad a value is that does not hold, in (0, 1]."""
        return 1.0

    def allowed(self) -> str | None:
        """Which values hold, in words, where these are numbers."""
        return None

    def explanation(self, value: Any) -> str | None:
        """What a reader of a broken rule is told beside the value."""
        return self.detail

    @classmethod
    def words(cls, value: Any) -> str:
        """An observed value in words."""
        return number(value) if isinstance(value, int | float) else str(value)

    @classmethod
    def observed_words(cls, facts: Mapping[str, Any]) -> str:
        """What a result says was observed, in words."""
        value = facts.get("observed_value")
        words = UNMEASURED if value is None else cls.words(value)
        words = f"{words}, where {facts['allowed']} is allowed" if facts.get("allowed") else words
        return f"{words}: {facts['detail']}" if facts.get("detail") else words

    def _validate(
        self,
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any] | None = None,
        execution_engine: ExecutionEngine | None = None,
    ) -> dict[str, Any]:
        value = metrics["column.statistic"]
        if pd.isna(value):
            facts = {"observed_value": None, "severity": 1.0, "detail": self.detail}
            return {"success": False, "result": facts}
        value = value.item() if hasattr(value, "item") else value
        if self.holds(value):
            return {"success": True, "result": {"observed_value": value}}
        severity = min(max(float(self.seriousness(value)), 0.0), 1.0)
        facts = {"observed_value": value, "severity": severity, "detail": self.explanation(value)}
        return {"success": False, "result": facts | {"allowed": self.allowed()}}

    @classmethod
    @renderer(renderer_type=LegacyDiagnosticRendererType.OBSERVED_VALUE)  # type: ignore[untyped-decorator]
    def _diagnostic_observed_value_renderer(
        cls,
        configuration: ExpectationConfiguration | None = None,
        result: ExpectationValidationResult | None = None,
        runtime_configuration: dict[str, Any] | None = None,
    ) -> str:
        return cls.observed_words(result.result) if result else "--"
