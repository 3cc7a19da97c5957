"""Pushing: rows that just happened, on their way to the consumer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, unknown_name
from contracts.home import Home
from contracts.settings import Settings
from contracts.tables import EMBEDDING_PREFIX, TABLES
from feature_repo.offline import current_snapshot
from feature_repo.readers.own.problems import Problem, TablesRefused
from feature_repo.readers.own.single import convert_table, read_table_file
from feature_repo.stream.batch import Batch, new_batch_id
from feature_repo.stream.inbox import open_inbox

__all__ = ["push", "push_file", "push_lines"]

_MEND = "mend the rows and push them again; nothing of them was sent"


def push(
    settings: Settings, home: Home, table: str, rows: pa.Table, batch_id: str | None = None, source: str = "rows"
) -> Batch:
    """Send rows of one table to the consumer of the current snapshot's data set.

    They count from the moment at which the consumer takes them in. The batch is durable when this returns, and whole:
    with anything wrong in it, none of it is sent.

    Args:
        settings: Name the profile.
        home: Which home.
        table: One of the offline tables, or ``embedding_<name>`` of a spec that the snapshot has.
        rows: Its columns; those that may be null may be absent. An ``ingested_at`` of theirs does not count.
        batch_id: Name of the batch, so that sending it again after a lost answer does no harm; a new one if None.
        source: What the rows are called in errors.

    Raises:
        NotFound: There is no such table, no snapshot, or no spec of that name.
        TablesRefused: Rows break the table's contract; it carries every problem.
        ServiceUnavailable: Redis does not answer (production).
    """
    spec, dataset = _expected(home, table)
    converted, problems = convert_table(table, rows, file=source, spec=spec)
    return _send(settings, home, _Place(dataset, table, spec), converted, problems, batch_id, source)


def push_file(settings: Settings, home: Home, table: str, file: Path, batch_id: str | None = None) -> Batch:
    """The same for a Parquet or CSV file."""
    spec, dataset = _expected(home, table)
    converted, problems = read_table_file(file, table, spec=spec)
    return _send(settings, home, _Place(dataset, table, spec), converted, problems, batch_id, file.name)


def push_lines(
    settings: Settings, home: Home, table: str, lines: BinaryIO, batch_id: str | None = None, source: str = "-"
) -> Batch:
    """The same for one JSON object a line; instants are ISO 8601 text with a zone.

    Raises:
        BadInput: A line is no JSON object.
    """
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError:
            row = line
        if row is not None and not isinstance(row, dict):
            raise BadInput(
                f"{source}, line {number}",
                found=line[:80].decode(errors="replace").strip(),
                expected='a JSON object such as {"user_id": "u1", …}',
                next_step=_MEND,
            )
        if row is not None:
            rows.append(row)
    if not rows:
        raise BadInput(source, found="no rows", expected="one JSON object a line", next_step=_MEND)
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            # Of several kinds: as text, so that the check of the table names every row that is wrong.
            columns[name] = pa.array([None if value is None else str(value) for value in values], pa.string())
    return push(settings, home, table, pa.table(columns), batch_id, source)


def _expected(home: Home, table: str) -> tuple[EmbeddingSpec | None, str]:
    snapshot = current_snapshot(home)
    if not table.startswith(EMBEDDING_PREFIX):
        if table not in TABLES:
            known = [*TABLES, *_embedding_tables(snapshot.embeddings)]
            raise unknown_name("table", table, known, next_step="name one of those")
        return None, snapshot.dataset
    name = table.removeprefix(EMBEDDING_PREFIX)
    if name not in snapshot.embeddings:
        raise unknown_name(
            "embedding table",
            table,
            _embedding_tables(snapshot.embeddings),
            next_step="ingest the first vectors with `backbeat ingest tables` or `backbeat features encode`",
        )
    return snapshot.embeddings[name], snapshot.dataset


def _embedding_tables(embeddings: dict[str, EmbeddingSpec]) -> list[str]:
    return [EMBEDDING_PREFIX + name for name in embeddings]


@dataclass(frozen=True)
class _Place:
    dataset: str
    table: str
    spec: EmbeddingSpec | None


def _send(
    settings: Settings,
    home: Home,
    place: _Place,
    rows: pa.Table | None,
    problems: list[Problem],
    batch_id: str | None,
    source: str,
) -> Batch:
    if problems or rows is None:
        raise TablesRefused(source, problems, _MEND)
    batch = Batch(
        id=batch_id or new_batch_id(),
        dataset=place.dataset,
        table=place.table,
        rows=rows.combine_chunks(),
        spec=place.spec.digest if place.spec else "",
    )
    open_inbox(settings, home, place.dataset).put(batch)
    return batch
