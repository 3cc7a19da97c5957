"""A table as far as it could be read, and what its rows must be by themselves."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contracts.tables import INTERACTION_KINDS, LISTEN_KINDS, NATURAL_KEYS, TABLES
from feature_repo.readers.own.columns import convert, false_where_null
from feature_repo.readers.own.files import Content, read_content
from feature_repo.readers.own.problems import Place, Problems, shown

__all__ = ["Draft", "check_rows", "check_times", "draft_of", "duplicated", "read_draft"]

_KINDS = {"interactions": INTERACTION_KINDS, "listens": LISTEN_KINDS}

_NETWORK = "^[a-z][a-z0-9_]*$"
_COMPUTED_NETWORK = "co_like"
_EARLIEST = datetime(1800, 1, 1, tzinfo=UTC)
"""Older than any recording; earlier moments are mistakes, and not every library can represent them."""


@dataclass
class Draft:
    """The columns of a table that have its types; a value that could not be had is null."""

    name: str
    columns: dict[str, pa.ChunkedArray]
    rows: int
    place: Place

    def table(self) -> pa.Table:
        """The table, once nothing is wrong with it; columns that may be absent are filled in."""
        schema = TABLES[self.name]
        given = self.columns | {"ingested_at": self.columns.get("ingested_at", self.columns["event_time"])}
        columns = [given.get(field.name, pa.nulls(self.rows, field.type)) for field in schema]
        return pa.table(columns, schema=schema)


def read_draft(file: Path, name: str, problems: Problems) -> Draft | None:
    """Read the file of one table and convert its columns.

    Args:
        file: A Parquet or CSV file.
        name: The table.
        problems: Where problems go.

    Returns:
        What could be read, or None.
    """
    content = read_content(file, name, TABLES[name].names, problems)
    return None if content is None else draft_of(content, name)


def draft_of(content: Content, name: str) -> Draft:
    """Convert the columns that a file has; what the table has and the file has not is a problem."""
    schema, place = TABLES[name], content.place
    for field in schema:
        if not field.nullable and field.name != "ingested_at" and field.name not in content.names:
            place.add(
                "a missing column",
                allowed=f"{field.name} ({field.type})",
                hint="add it; of this table only " + ", ".join(_optional(schema)) + " may be absent",
                column=field.name,
            )
    if content.table.num_rows == 0 and content.table.num_columns:
        place.add("an empty table", allowed="at least one row", hint="fill it, or take the file out of the directory")
    converted = {
        column: convert(content.table[column], schema.field(column), text=content.text, place=place)
        for column in content.table.column_names
    }
    columns = {column: values for column, values in converted.items() if values is not None}
    return Draft(name, columns, content.table.num_rows, place)


def _optional(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if field.nullable or field.name == "ingested_at"]


def check_rows(draft: Draft, now: datetime) -> None:
    """Find what is wrong with the rows of one table by themselves."""
    columns, place = draft.columns, draft.place
    for column, values in columns.items():
        if column.endswith("_id"):
            place.add_rows(
                false_where_null(pc.equal(pc.utf8_trim_whitespace(values), "")),
                "an empty id",
                allowed="a name that is not empty",
                hint="fill it in, or leave the row out",
                column=column,
                values=values,
            )
    if "network" in columns:
        networks = columns["network"]
        place.add_rows(
            false_where_null(pc.invert(pc.match_substring_regex(networks, _NETWORK)))
            | false_where_null(pc.equal(networks, _COMPUTED_NETWORK)),
            "a name that a network cannot have",
            allowed=f"lower-case letters, digits and _, such as follow; not {_COMPUTED_NETWORK}, which is computed",
            hint="rename the network; features are named after it",
            column="network",
            values=networks,
        )
    if draft.name in _KINDS and "kind" in columns:
        kinds = _KINDS[draft.name]
        place.add_rows(
            false_where_null(pc.invert(pc.is_in(columns["kind"], pa.array(kinds)))) & _valid(columns["kind"]),
            "an unknown kind",
            allowed=", ".join(kinds),
            hint="name the kind that it is, or leave the row out",
            column="kind",
            values=columns["kind"],
        )
    if "weight" in columns:
        place.add_rows(
            false_where_null(pc.less_equal(columns["weight"], 0)),
            "a weight that is not positive",
            allowed="positive and finite weights; 1 where an event has none",
            hint="leave out what did not happen; dislikes are no events",
            column="weight",
            values=columns["weight"],
        )
    check_times(columns, place, now)
    _check_duplicates(draft)


def check_times(columns: dict[str, pa.ChunkedArray], place: Place, now: datetime) -> None:
    """Nothing happened after now, and nothing was known before it happened."""
    for column in ("event_time", "ingested_at"):
        if column in columns:
            place.add_rows(
                false_where_null(pc.less(columns[column], pa.scalar(_EARLIEST, columns[column].type))),
                "too early",
                allowed=f"moments from {_EARLIEST:%Y} on",
                hint="check the unit (seconds, milliseconds) of the moments",
                column=column,
                values=columns[column],
            )
            place.add_rows(
                false_where_null(pc.greater(columns[column], pa.scalar(now, columns[column].type))),
                "in the future",
                allowed=f"moments until now, {now.isoformat(timespec='seconds')}",
                hint="check the zone and the unit (seconds, milliseconds) of the moments",
                column=column,
                values=columns[column],
            )
    if {"event_time", "ingested_at"} <= set(columns):
        place.add_rows(
            false_where_null(pc.less(columns["ingested_at"], columns["event_time"])),
            "ingested before it happened",
            allowed="ingested_at at or after event_time",
            hint="leave the column out where arrival times are not known",
            column="ingested_at",
            values=columns["ingested_at"],
        )


def _check_duplicates(draft: Draft) -> None:
    key = NATURAL_KEYS[draft.name]
    if set(key) <= set(draft.columns):
        bad = duplicated([draft.columns[column] for column in key])
        rows = np.flatnonzero(bad)
        draft.place.add_rows(
            bad,
            "a row whose key stands in an earlier row",
            allowed=f"each {' with '.join(key)} once",
            hint="keep one row of each key"
            + ("; a further state of a user has a later event_time" if draft.name == "users" else ""),
            column=", ".join(key),
            values=_Combined([draft.columns[column] for column in key]) if len(rows) else np.array([]),
        )


class _Combined:
    """The values of several columns, row by row."""

    def __init__(self, columns: list[pa.ChunkedArray]) -> None:
        self._columns = columns

    def __getitem__(self, row: int) -> Any:
        return " ".join(shown(column[row]).strip("'") for column in self._columns)


def duplicated(columns: list[pa.ChunkedArray]) -> npt.NDArray[np.bool_]:
    """Where the values of several columns stand together in an earlier row, ``[n]``; never where one is null."""
    known = np.logical_and.reduce([_valid(column) for column in columns])
    codes = pd.DataFrame({number: _codes(column) for number, column in enumerate(columns)})
    return np.asarray(codes.duplicated().to_numpy() & known)


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    else:
        column = pc.dictionary_encode(column).combine_chunks()
        column = (pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column).indices
    return np.asarray(pc.fill_null(column, -1), np.int64)


def _valid(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(column.is_valid())
