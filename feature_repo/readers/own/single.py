"""One table by itself, without the directory that the others are in: rows that are pushed."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.clock import utc_now
from contracts.embeddings import EmbeddingSpec
from contracts.tables import ENTITY_KEYS, TABLES, embedding_schema
from feature_repo.readers.own.columns import convert, false_where_null
from feature_repo.readers.own.draft import check_rows, check_times, draft_of
from feature_repo.readers.own.files import Content, known_columns, read_content
from feature_repo.readers.own.problems import Problem, Problems
from feature_repo.readers.own.vectors import check_ids, judge_lists

__all__ = ["convert_table", "read_table_file"]

Known = Mapping[str, pa.Array | pa.ChunkedArray]
"""Column that names entities → the ids that there are."""


def read_table_file(
    file: Path, name: str, *, spec: EmbeddingSpec | None = None, known: Known | None = None
) -> tuple[pa.Table | None, list[Problem]]:
    """Read a Parquet or CSV file that holds one table; otherwise like :func:`convert_table`."""
    problems = Problems()
    columns = embedding_schema(spec.entity).names if spec else TABLES[name].names
    content = read_content(file, name, columns, problems)
    if content is None:
        return None, problems.found
    return _convert(content, name, problems, spec, known or {}, utc_now())


def convert_table(
    name: str,
    table: pa.Table,
    *,
    file: str = "the rows",
    text: bool = False,
    spec: EmbeddingSpec | None = None,
    known: Known | None = None,
) -> tuple[pa.Table | None, list[Problem]]:
    """Bring one table into its schema, or say everything that is wrong with it.

    Args:
        name: One of ``contracts.tables``.
        table: Its rows, in columns of any type that can be converted without a loss.
        file: What to call it in the problems.
        text: Whether all values are text.
        spec: Of the vectors, where it is an ``embedding_<name>``.
        known: Column → the ids that it may name; the other columns are not looked up.

    Returns:
        The table as its schema wants it, or None; and the problems, of which there is none where there is a table.
    """
    problems = Problems()
    place = problems.at(file, name)
    schema = embedding_schema(spec.entity) if spec else TABLES[name]
    columns = known_columns(table.column_names, schema.names, place)
    content = Content(table.select(columns), table.column_names, text=text, place=place)
    return _convert(content, name, problems, spec, known or {}, utc_now())


def _convert(
    content: Content, name: str, problems: Problems, spec: EmbeddingSpec | None, known: Known, now: datetime
) -> tuple[pa.Table | None, list[Problem]]:
    if spec is None:
        draft = draft_of(content, name)
        check_rows(draft, now)
        columns = draft.columns
    else:
        columns = _vector_columns(content, spec, now)
    for column, ids in known.items():
        if column in columns:
            content.place.add_rows(
                np.asarray(columns[column].is_valid())
                & ~false_where_null(pc.is_in(columns[column], value_set=pc.unique(ids))),
                "an unknown id",
                allowed="ids that the platform has",
                hint="add these entities first, or leave the rows out",
                column=column,
                values=columns[column],
            )
    if problems.found:
        return None, problems.found
    if spec is None:
        return draft.table(), []
    schema = embedding_schema(spec.entity)
    given = columns | {"ingested_at": columns.get("ingested_at", columns["event_time"])}
    return pa.table([given[field.name] for field in schema], schema=schema), []


def _vector_columns(content: Content, spec: EmbeddingSpec, now: datetime) -> dict[str, pa.ChunkedArray]:
    schema, key, place = embedding_schema(spec.entity), ENTITY_KEYS[spec.entity], content.place
    for column in (key, "vector", "event_time"):
        if column not in content.names:
            place.add("a missing column", allowed=column, hint="add it", column=column)
    columns: dict[str, pa.ChunkedArray] = {}
    for column in content.table.column_names:
        stored = content.table[column]
        if column == "vector":
            values = judge_lists(stored.chunks, stored.type, spec, place)
        else:
            values = convert(stored, schema.field(column), text=content.text, place=place)
        if values is not None:
            columns[column] = values
    if key in columns:
        check_ids(columns[key], key, place)
    check_times(columns, place, now)
    return columns
