"""What running a table gave, as it is stored in ``docs/results.json``; everything shown is made from it."""

import statistics
from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, TypeAdapter

from training.experiments.tables import Table

__all__ = [
    "NOT_ASKED",
    "Figure",
    "Measured",
    "RowResult",
    "SeedResult",
    "TableResult",
    "read_all",
    "write_all",
]

NOT_ASKED = "not asked for yet"
"""Why a row has no figures of our own where nothing went wrong."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Document):
    """One number over the seeds."""

    mean: float
    deviation: float | None
    """Sample standard deviation; None for a single seed, or where nothing was drawn."""


class SeedResult(_Document):
    """One training."""

    seed: int | None
    """None where nothing is drawn by chance."""
    figures: dict[str, float]
    """Label of a column → value. A column without one is not in it."""
    seconds: float
    """What the training took, validation included."""
    surface: str | None = None
    version: str | None = None
    """Of the registered model; None where none was made."""
    run_id: str | None = None


class Measured(_Document):
    """What decides the figures of a row besides the data; figures of another are not shown for it."""

    model: str
    variant: str
    options: dict[str, Any]
    """Those that the table sets."""
    config: str
    """Digest of all options, defaults included."""
    service: str
    protocol: str
    """Digest of the fingerprint."""


class RowResult(_Document):
    """One row: the paper's figures, and ours where there are any."""

    label: str
    group: str = ""
    paper: dict[str, float] = {}
    tuned: str = ""
    measured: Measured | None = None
    """None where nothing is built here."""
    code_revision: str | None = None
    seeds: tuple[SeedResult, ...] = ()
    not_run: str | None = None
    """Why there are no figures of a row that could have some."""

    @property
    def key(self) -> str:
        """As of :class:`training.experiments.tables.Row`."""
        return f"{self.group}/{self.label}" if self.group else self.label

    def figure(self, column: str) -> Figure | None:
        """Mean and deviation over the seeds that have the column; None where none does."""
        return _over_seeds([seed.figures[column] for seed in self.seeds if column in seed.figures])

    @property
    def seconds(self) -> float | None:
        """What one training took on average; None where there was none."""
        taken = [seed.seconds for seed in self.seeds if seed.version is not None]
        return statistics.fmean(taken) if taken else None

    def difference(self, other: "RowResult", column: str) -> Figure | None:
        """How much higher this row is than another one, over the seeds of both; None where they share none."""
        gaps = [
            mine.figures[column] - theirs.figures[column]
            for mine in self.seeds
            for theirs in other.seeds
            # What nothing is drawn for stands against every seed.
            if (mine.seed == theirs.seed or None in (mine.seed, theirs.seed))
            and column in mine.figures
            and column in theirs.figures
        ]
        return _over_seeds(gaps)


class TableResult(_Document):
    """One table with all that is known of its rows."""

    name: str
    title: str
    source: str
    data: str
    real: bool
    prepare: tuple[str, ...]
    columns: tuple[str, ...]
    """Labels."""
    rows: tuple[RowResult, ...]
    orderings: tuple[tuple[str, str], ...]
    picture: Literal["bars", "lines"]
    digits: int
    note: str
    snapshot: str
    protocols: dict[str, str]
    """Digest of each fingerprint of the rows → split and candidates in words."""
    command: str
    """The last one that measured something."""
    finished: AwareDatetime

    @classmethod
    def of(cls, table: Table, **measured: Any) -> Self:
        """A result that takes from the table what does not depend on measuring."""
        return cls(
            name=table.name,
            title=table.title,
            source=table.source,
            data=table.data,
            real=table.real,
            prepare=table.prepare,
            columns=tuple(column.label for column in table.columns),
            orderings=table.orderings,
            picture=table.picture,
            digits=table.digits,
            note=table.note,
            **measured,
        )

    @property
    def groups(self) -> list[str]:
        """Headings, in order; one empty one where there are none."""
        return list(dict.fromkeys(row.group for row in self.rows))

    def of_group(self, group: str) -> list[RowResult]:
        """The rows below a heading."""
        return [row for row in self.rows if row.group == group]

    @property
    def has_paper(self) -> bool:
        """Whether any figure is a paper's."""
        return any(row.paper for row in self.rows)

    @property
    def seconds(self) -> float:
        """What all its trainings took together."""
        return sum(seed.seconds for row in self.rows for seed in row.seeds)


_ALL: TypeAdapter[dict[str, TableResult]] = TypeAdapter(dict[str, TableResult])


def read_all(text: str) -> dict[str, TableResult]:
    """The tables of ``results.json`` by name.

    Raises:
        pydantic.ValidationError: The text is not such a document.
    """
    return _ALL.validate_json(text)


def write_all(results: Iterable[TableResult]) -> str:
    """The text of ``results.json``, by name."""
    ordered = {result.name: result for result in sorted(results, key=lambda result: result.name)}
    return _ALL.dump_json(ordered, indent=2).decode() + "\n"


def _over_seeds(values: list[float]) -> Figure | None:
    if not values:
        return None
    return Figure(mean=statistics.fmean(values), deviation=statistics.stdev(values) if len(values) > 1 else None)
