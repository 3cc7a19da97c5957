"""What the commands ask of the tables by name."""

import shlex
from collections.abc import Mapping
from typing import NamedTuple

from contracts.errors import BadInput, unknown_name
from contracts.snapshot import Snapshot
from training.experiments.tables import CHANCE, Row, Table
from training.studies import Study

__all__ = ["AskedStudy", "asked_study", "known_table", "require_data"]


class AskedStudy(NamedTuple):
    """How one model is judged in a table."""

    table: Table | None
    """None where no table was named."""
    service: str | None
    """Feature service; the model's own if None."""
    study: Study | None
    """As the surface asks if None."""


def known_table(name: str, tables: Mapping[str, Table]) -> Table:
    """Look a table up.

    Raises:
        NotFound: No table has that name.
    """
    if name not in tables:
        raise unknown_name("experiment", name, tables, next_step="run `backbeat experiment` to list them")
    return tables[name]


def require_data(table: Table, snapshot: Snapshot) -> None:
    """Refuse data that the table is not about.

    Raises:
        BadInput: The snapshot is of another data set.
    """
    if snapshot.dataset != table.data:
        raise BadInput(
            f"experiment {table.name!r} on snapshot {snapshot.id}",
            found=f"data set {snapshot.dataset!r}",
            expected=repr(table.data),
            next_step=f"run {', '.join(f'`{command}`' for command in table.prepare)}",
        )


def asked_study(name: str, model: str, tables: Mapping[str, Table]) -> AskedStudy:
    """What a table, or one group of it, holds out for a model, and how it ranks; what all rows share counts for a model
    that has no row there.

    Args:
        name: Of the table, or ``TABLE/GROUP``.
        model: A name in :data:`training.models.MODELS`.
        tables: By their names.

    Raises:
        NotFound: No table has that name, or it has no such group.
        BadInput: The groups are judged in several ways and none is named.
    """
    label, _, group = name.partition("/")
    table = known_table(label, tables)
    rows = [row for row in table.rows if row.model not in (None, CHANCE)]
    groups = sorted({row.group for row in rows if row.group})
    if group:
        if group not in groups:
            raise unknown_name(
                f"group of {label}", group, groups, next_step=f"run `backbeat experiment {label}` to see its rows"
            )
        rows = [row for row in rows if row.group == group]
    own = [row for row in rows if row.model == model] or rows
    ways: list[AskedStudy] = []
    for row in own:
        if (way := _way(table, row)) not in ways:
            ways.append(way)
    if len(ways) > 1:
        raise BadInput(
            f"study {name!r}",
            found=f"{len(ways)} ways to judge {model}",
            expected=f"{label}/GROUP with one of {', '.join(groups)}",
            next_step=f"give e.g. `--study {shlex.quote(f'{label}/{groups[0]}')}`",
        )
    return ways[0]


def _way(table: Table, row: Row) -> AskedStudy:
    return AskedStudy(table, row.service or table.service, row.study or table.study)
