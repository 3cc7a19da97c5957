"""Running suites: expectations in, verdicts and Great Expectations' own results out."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import great_expectations as gx
from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult

from contracts.reports import Finding, SuiteVerdict
from validation.suites import SUITES
from validation.suites.suite import Material, Suite

__all__ = ["Judgement", "judge"]

_EXAMPLES = 5


@dataclass(frozen=True)
class Judgement:
    """One suite's outcome on one table."""

    verdict: SuiteVerdict
    result: ExpectationSuiteValidationResult
    """For the data docs."""
    severity: float
    """Largest share of rows that break a rule, 1 for a rule on the whole table, 0 when all hold."""


def judge(material: Material) -> Iterator[Judgement]:
    """Hold every suite against every table it judges, in an ephemeral context that leaves nothing on disk."""
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("snapshot")
    for name, suite in SUITES.items():
        for table in suite.tables(material.snapshot):
            asset = source.add_dataframe_asset(f"{name}/{table}")
            batches = asset.add_batch_definition_whole_dataframe("all")
            batch = batches.get_batch({"dataframe": suite.summarise(material, table)})
            yield _judgement(name, suite, table, batch, material)


def _judgement(name: str, suite: Suite, table: str, batch: Any, material: Material) -> Judgement:
    identity = suite.identity(material, table)
    result = batch.validate(
        gx.ExpectationSuite(name=name, expectations=suite.expectations(material, table)),
        result_format={
            "result_format": "SUMMARY",
            "unexpected_index_column_names": list(identity),
            "partial_unexpected_count": _EXAMPLES,
        },
    )
    broken = sorted((r for r in result.results if not r.success), key=_share, reverse=True)
    verdict = SuiteVerdict(
        suite=name,
        table=table,
        success=bool(result.success),
        evaluated=len(result.results),
        findings=[_finding(r, identity) for r in broken],
    )
    return Judgement(verdict, result, severity=_share(broken[0]) if broken else 0.0)


def _share(result: ExpectationValidationResult) -> float:
    percent = result.result.get("unexpected_percent")
    return percent / 100 if percent is not None else 1.0


def _finding(result: ExpectationValidationResult, identity: tuple[str, ...]) -> Finding:
    config, facts = result.expectation_config, result.result
    examples = [" ".join(str(row[name]) for name in identity) for row in facts.get("partial_unexpected_index_list", [])]
    return Finding(
        expectation=config.type,
        column=config.kwargs.get("column"),
        observed=_observed(facts),
        rule=config.description,
        examples=examples[:_EXAMPLES],
    )


def _observed(facts: dict[str, Any]) -> str:
    if "unexpected_count" in facts:
        judged = facts["element_count"] - facts.get("missing_count", 0)
        return f"{facts['unexpected_count']:,} of {judged:,} rows ({_percent(facts['unexpected_percent'])}) break it"
    if "observed_value" in facts:
        return f"{facts['observed_value']:,}"
    return "nothing: the expectation could not be evaluated"


def _percent(percent: float) -> str:
    return f"{percent:.1f}%" if percent >= 0.1 else "under 0.1%"
