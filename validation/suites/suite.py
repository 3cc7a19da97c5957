"""What a suite is: the tables it judges, how a table becomes scalar rows, and what is expected of those."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
import pyarrow as pa
from great_expectations.expectations import Expectation

from contracts.snapshot import Snapshot

__all__ = ["Material", "Suite"]


@dataclass(frozen=True)
class Material:
    """A snapshot with its tables at hand."""

    snapshot: Snapshot
    tables: Mapping[str, pa.Table]
    now: datetime
    """The instant of the judgement."""


@dataclass(frozen=True)
class Suite:
    """One suite.

    Every expectation's ``description`` is the rule in words; reports and data docs show it.
    """

    tables: Callable[[Snapshot], list[str]]
    """Which of a snapshot's tables it judges, one by one; none where it has none of them."""
    summarise: Callable[[Material, str], pd.DataFrame]
    """Turns a table into rows of scalars."""
    expectations: Callable[[Material, str], list[Expectation]]
    """What is expected of those rows."""
    identity: Callable[[Material, str], tuple[str, ...]]
    """Columns that tell a reader which row it is."""
