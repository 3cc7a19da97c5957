"""Judging a snapshot: what the suites measure, held against their rules by Great Expectations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from great_expectations import expectations as gxe
from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from contracts.reports import Finding, SuiteVerdict
from validation.comparison import Comparison, compare_tables
from validation.context import RULE, hold, offending_rows
from validation.expectations.house import number
from validation.expectations.statistic import UNMEASURED, StatisticExpectation
from validation.material import MOST_BY_ROW, Material
from validation.statistics.profile import Profile
from validation.suites import SUITES
from validation.suites.compared_rules import compared_facts
from validation.suites.suite import Evidence, Rule

__all__ = ["Judged", "Judgement", "judge", "rules_of"]

_EXAMPLES = 5

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Judgement:
    """One suite's outcome on one table."""

    verdict: SuiteVerdict
    results: tuple[ExpectationSuiteValidationResult, ...]
    """Great Expectations' own, of the asset ``rows`` and of the asset ``batch``, for the data docs."""
    severity: float
    """That of the worst finding, 0 where all holds."""
    offenders: Rows
    """Rows of the table that break a rule on every row, in order."""
    whole: bool
    """Whether a rule on the whole table is broken, or more than 1 % of the rows offend: then it is not certain that
    setting rows aside mends the table."""
    broken: Mapping[str, Rows] = field(default_factory=dict)
    """Rule in words → rows of the table that break it."""


@dataclass(frozen=True)
class Judged:
    """A snapshot, judged."""

    judgements: list[Judgement]
    """Worst first."""
    profiles: dict[str, Profile]
    """Digest of a spec → what is to be kept of its vectors."""
    statistics: dict[str, dict[str, float]]
    """Table → what was measured of it as a whole."""
    comparisons: dict[str, Comparison]
    """Table of vectors → how it compares with the accepted one."""

    @property
    def success(self) -> bool:
        """Whether every rule holds."""
        return all(judgement.verdict.success for judgement in self.judgements)


@dataclass(frozen=True)
class _Held:
    """The rules on every row of one table, held."""

    result: ExpectationSuiteValidationResult
    findings: list[Finding]
    broken: dict[str, Rows]
    """Rule in words → rows of the table that break it."""
    beyond_rows: bool
    """Whether one is broken by more than rows that could be set aside."""


def judge(material: Material) -> Judged:
    """Hold every suite against every table it judges, in memory.

    Tables of vectors are read one by one and let go when they are measured.
    """
    # On small matrices BLAS loses more by its threads than it gains, and on a busy machine many times over.
    with threadpool_limits(1, user_api="blas"):
        return _judged(material)


def _judged(material: Material) -> Judged:
    evidence: dict[tuple[str, str], Evidence] = {}
    held: dict[tuple[str, str], _Held] = {}
    measured: dict[str, Evidence] = {}
    for name, suite in SUITES.items():
        for table in suite.tables(material):
            found = suite.measure(material, table, measured)
            held[name, table] = _hold_rows(f"{name}/{table}", found, suite.on_rows(material, table))
            # Of a large table the facts of all rows are most of what was measured, and they are judged.
            measured[table] = evidence[name, table] = replace(found, rows=found.rows.iloc[:0].copy(), identity={})
    compared = _compared(material, evidence)
    judgements = [
        _judgement(material, name, table, found, held[name, table]) for (name, table), found in compared.items()
    ]
    return Judged(
        judgements=sorted(judgements, key=lambda judgement: judgement.severity, reverse=True),
        profiles={
            material.spec(table).digest: found.profile
            for (_, table), found in compared.items()
            if found.profile is not None and table in material.snapshot.tables
        },
        statistics={table: found.statistics for (_, table), found in compared.items() if found.statistics},
        comparisons={t: found.comparison for (_, t), found in compared.items() if found.comparison is not None},
    )


def rules_of(material: Material) -> Iterator[tuple[str, str, Rule]]:
    """The rules that a snapshot would be held against, as suite, table and rule."""
    evidence: dict[tuple[str, str], Evidence] = {}
    measured: dict[str, Evidence] = {}
    for name, suite in SUITES.items():
        for table in suite.tables(material):
            measured[table] = evidence[name, table] = suite.measure(material, table, measured)
    for (name, table), found in _compared(material, evidence).items():
        for rule in [*SUITES[name].on_rows(material, table), *SUITES[name].on_table(material, table, found).rules]:
            yield name, table, rule


def _compared(material: Material, evidence: Mapping[tuple[str, str], Evidence]) -> dict[tuple[str, str], Evidence]:
    """What was measured, with what came out when all tables of vectors were held against the accepted ones."""
    profiles = {table: found.profile for (_, table), found in evidence.items() if found.profile is not None}
    comparisons = compare_tables(material, profiles)
    return {
        (name, table): _with_comparison(found, comparisons[table]) if table in comparisons else found
        for (name, table), found in evidence.items()
    }


def _with_comparison(evidence: Evidence, comparison: Comparison) -> Evidence:
    return replace(
        evidence,
        statistics=evidence.statistics | comparison.statistics,
        facts=evidence.facts | compared_facts(comparison),
        comparison=comparison,
    )


def _hold_rows(suite: str, evidence: Evidence, rules: Sequence[Rule]) -> _Held:
    result = hold(suite, "rows", evidence.rows, [rule.expectation for rule in rules])
    failed = [(one, rules[one.expectation_config.meta[RULE]]) for one in result.results if not one.success]
    by_row = [(one, rule) for one, rule in failed if one.result.get("unexpected_count")]
    offending = offending_rows(suite, evidence.rows, [rule.expectation for _, rule in by_row]) if by_row else []
    broken: dict[str, Rows] = {}
    beyond = len(by_row) < len(failed)
    for place, rows, values in offending:
        one, rule = by_row[place]
        own = rows[rows < evidence.own]
        beyond |= len(own) < len(rows)
        if isinstance(rule.expectation, gxe.ExpectColumnValuesToBeUnique):
            # The library names all of equal rows; the first of them may stay when the others are set aside.
            own = own[evidence.rows[rule.expectation.column].iloc[own].duplicated().to_numpy()]
        if len(own):
            broken[rule.expectation.description] = own
        _name_examples(one, evidence, rows[:_EXAMPLES], values[:_EXAMPLES])
    return _Held(result, [_finding(one, rule) for one, rule in failed], broken, beyond)


def _name_examples(result: ExpectationValidationResult, evidence: Evidence, rows: Rows, values: Sequence[Any]) -> None:
    """Put the first offending rows into a result by name, as the library renders them."""
    column = result.expectation_config.kwargs["column"]
    names = evidence.columns(rows)
    if column in names:  # judged by numbers that stand for the values
        values = names[column]
    rest = {name: found for name, found in names.items() if name != column}
    listed = [
        {column: value} | {name: found[place] for name, found in rest.items()} for place, value in enumerate(values)
    ]
    result.result["partial_unexpected_list"] = list(values)
    result.result["unexpected_index_column_names"] = list(rest)
    result.result["partial_unexpected_index_list"] = listed
    result.result["examples"] = [" ".join(map(str, row)) for row in zip(*names.values(), strict=True)]


def _judgement(material: Material, name: str, table: str, evidence: Evidence, held: _Held) -> Judgement:
    suite = SUITES[name]
    on_table = suite.on_table(material, table, evidence)
    facts: dict[str, Any] = evidence.statistics | evidence.facts
    columns = {rule.expectation.column for rule in on_table.rules}
    frame = pd.DataFrame({column: [facts.get(column)] for column in sorted(columns)})
    result = hold(f"{name}/{table}", "batch", frame, [rule.expectation for rule in on_table.rules])
    failed = [(one, on_table.rules[one.expectation_config.meta[RULE]]) for one in result.results if not one.success]
    findings = [*held.findings, *(_finding(one, rule) for one, rule in failed)]
    # Of equal ones those come first that name rows: the others say what follows from them.
    findings.sort(key=lambda finding: round(finding.severity, 3), reverse=True)
    offenders = np.unique(np.concatenate([np.zeros(0, np.int64), *held.broken.values()]))
    verdict = SuiteVerdict(
        suite=name,
        table=table,
        success=not findings,
        evaluated=len(held.result.results) + len(result.results),
        findings=findings,
        version=suite.version,
        notes=on_table.notes,
    )
    return Judgement(
        verdict=verdict,
        results=(held.result, result),
        severity=findings[0].severity if findings else 0.0,
        offenders=offenders,
        whole=bool(failed) or held.beyond_rows or len(offenders) > MOST_BY_ROW * evidence.own,
        broken=held.broken,
    )


def _finding(result: ExpectationValidationResult, rule: Rule) -> Finding:
    config, facts = result.expectation_config, result.result
    percent = facts.get("unexpected_percent")
    severity = facts.get("severity", 1.0) if percent is None else percent / 100
    # What is at fault comes before all that follows from it, however far that is beyond its limits.
    severity = severity / 2 if rule.consequence else (1 + severity) / 2
    return Finding(
        expectation=config.type,
        column=config.kwargs.get("column"),
        observed=_observed(rule, facts),
        rule=rule.expectation.description,
        examples=list(facts.get("examples", rule.examples))[:_EXAMPLES],
        severity=severity,
        advice=rule.advice,
    )


def _observed(rule: Rule, facts: Mapping[str, Any]) -> str:
    if facts.get("unexpected_count"):
        judged = facts["element_count"] - facts.get("missing_count", 0)
        return f"{facts['unexpected_count']:,} of {judged:,} rows ({_percent(facts['unexpected_percent'])}) break it"
    if "observed_value" not in facts:
        return "nothing: the expectation could not be evaluated"
    if isinstance(rule.expectation, StatisticExpectation):
        return rule.expectation.observed_words(facts)
    value = facts["observed_value"]
    return UNMEASURED if value is None or pd.isna(value) else number(value)


def _percent(percent: float) -> str:
    return f"{percent:.1f}%" if percent >= 0.1 else "under 0.1%"
