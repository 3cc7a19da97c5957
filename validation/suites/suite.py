"""What a suite is: the tables it judges, what it measures of them, and the rules on that."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from great_expectations import expectations as gxe
from great_expectations.expectations import Expectation

from validation.comparison import Comparison
from validation.material import Material

if TYPE_CHECKING:
    from validation.statistics.profile import Profile

__all__ = ["Evidence", "Rule", "Suite", "TableRules", "complete_rule"]


@dataclass(frozen=True)
class Rule:
    """One expectation, and what to do where it does not hold."""

    expectation: Expectation
    """Its ``description`` is the rule in words; reports and data docs show it."""
    advice: str
    """One sentence."""
    compared: bool = False
    """Whether it needs an accepted snapshot."""
    examples: tuple[str, ...] = ()
    """The items that break a rule on the whole table, by name."""
    consequence: bool = False
    """Whether it tells what other faults lead to rather than what is at fault: it is shown after those."""


@dataclass(frozen=True)
class TableRules:
    """Rules on a table as a whole."""

    rules: list[Rule] = field(default_factory=list)
    """Those for which there is evidence to judge."""
    notes: list[str] = field(default_factory=list)
    """Which were left out, and why."""


@dataclass(frozen=True)
class Evidence:
    """What was measured of one table."""

    rows: pd.DataFrame
    """A row per row of the table in its order, then any that the table should have and has not. Numbers and categories
    only: what Great Expectations reads fast."""
    own: int
    """How many of them are the table's."""
    identity: Mapping[str, pa.Array | pa.ChunkedArray]
    """Columns that tell a reader which row it is, as long as ``rows``."""
    statistics: dict[str, float] = field(default_factory=dict)
    """Of the table as a whole, as far as they could be measured; later snapshots' bands are learned from these."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Further columns for rules on the whole; None for what could not be measured."""
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Statistic → the first of the rows that make it up, by name."""
    profile: "Profile | None" = None
    comparison: Comparison | None = None

    def columns(self, rows: npt.NDArray[np.int64]) -> dict[str, list[str]]:
        """The identity of some rows, by column."""
        return {name: column.take(pa.array(rows)).to_pylist() for name, column in self.identity.items()}


@dataclass(frozen=True)
class Suite:
    """One suite."""

    version: int
    """Higher with every change of a rule."""
    tables: Callable[[Material], list[str]]
    """Which tables it judges, one by one; none where there is nothing for it."""
    measure: Callable[[Material, str, Mapping[str, Evidence]], Evidence]
    """What it measures of a table, given what was measured of those before."""
    on_rows: Callable[[Material, str], list[Rule]]
    """What is expected of every row."""
    on_table: Callable[[Material, str, Evidence], TableRules] = lambda *_: TableRules()
    """What is expected of the whole, given what was measured of it."""


def complete_rule(columns: Sequence[str]) -> Rule:
    """The rule that some columns of a row have a value, on the fact ``complete``."""
    named = f"{', '.join(columns[:-1])} and {columns[-1]}"
    rule = gxe.ExpectColumnValuesToBeInSet(column="complete", value_set=[True], description=f"every row has {named}")
    return Rule(rule, "Fill these values in at the source, or leave the rows out, and ingest again.")
