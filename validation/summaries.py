"""Scalar facts about rows and parts of tables that hold no vectors: what their suites judge."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contracts.snapshot import SplitInstants

__all__ = ["complete_rows", "filled", "repeated_rows", "row_statistics", "row_summary", "split_summary"]


_INSTEAD = {"string": "", "timestamp[us, tz=UTC]": 0}


def complete_rows(table: pa.Table, columns: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Rows that have a value in each of some columns ``[rows]``."""
    complete = np.ones(table.num_rows, bool)
    for name in columns:
        if table[name].null_count:
            complete &= np.asarray(table[name].is_valid())
    return complete


def filled(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The table with nobody's id and the first instant of time where ids and times are null.

    No ingest lets such rows in; what is judged may have been written before it refused them.
    """
    for name in columns:
        kind = table.schema.field(name).type
        if table[name].null_count and str(kind) in _INSTEAD:
            values = table[name].fill_null(pa.scalar(_INSTEAD[str(kind)], kind))
            table = table.set_column(table.schema.get_field_index(name), name, values)
    return table


def repeated_rows(table: pa.Table, key: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Rows whose values in some columns an earlier row has too ``[rows]``."""
    return np.asarray(pd.DataFrame({name: _codes(table[name]) for name in key}).duplicated())


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A number for every value, the same for the same one: pandas compares those far faster than the values."""
    codes = column.combine_chunks().dictionary_encode().indices.fill_null(-1)
    return np.asarray(codes.to_numpy(), np.int64)


def row_summary(
    table: pa.Table,
    owners: Mapping[str, pa.ChunkedArray | None],
    key: Sequence[str],
    now: datetime,
    required: Sequence[str] = (),
) -> pd.DataFrame:
    """Scalar facts about every row of a table.

    Args:
        table: Any table with ``event_time``.
        owners: Column that names entities → the ids that are known; None where their table is not there.
        key: Columns that together name a row.
        now: The instant after which a row lies in the future.
        required: Columns that have a value in every row.

    Returns:
        For each column ``<name>_id`` of ``owners`` one ``<name>_known`` (a null names nobody, and nobody is unknown),
        ``complete`` (no null where none may be), ``kind`` (categories) and ``weight`` where the table has them,
        ``age_hours`` (from the event until ``now``) and ``repeated`` (an earlier row has the same key).
    """
    facts: dict[str, object] = {"complete": complete_rows(table, required)}
    for column, known in owners.items():
        ids = table[column]
        inside = pc.is_null(ids) if known is None else pc.or_(pc.is_null(ids), pc.is_in(ids, pc.unique(known)))
        facts[f"{column.removesuffix('_id')}_known"] = np.asarray(inside)
    if "kind" in table.column_names:
        facts["kind"] = table["kind"].combine_chunks().dictionary_encode().to_pandas()
    if "weight" in table.column_names:
        facts["weight"] = table["weight"].to_numpy()
    facts["age_hours"] = np.asarray((pd.Timestamp(now) - table["event_time"].to_pandas()) / pd.Timedelta(hours=1))
    facts["repeated"] = repeated_rows(table, key)
    return pd.DataFrame(facts)


def row_statistics(table: pa.Table, owners: Sequence[str]) -> dict[str, float]:
    """Statistics of a table as a whole.

    Args:
        table: Any table.
        owners: Columns that name entities.

    Returns:
        ``rows``; for each column ``<name>_id`` of ``owners`` the number of ``distinct_<name>``; ``share_<kind>`` of the
        rows for each kind and ``weight_mean``, of the finite ones, where the table has these columns and any rows.
    """
    statistics = {"rows": float(table.num_rows)}
    for column in owners:
        statistics[f"distinct_{column.removesuffix('_id')}"] = float(pc.count_distinct(table[column]).as_py())
    if table.num_rows and "kind" in table.column_names:
        for kind in pc.value_counts(table["kind"]).to_pylist():
            statistics[f"share_{kind['values']}"] = kind["counts"] / table.num_rows
    if "weight" in table.column_names:
        weights = table["weight"].to_numpy()
        weights = weights[np.isfinite(weights)]
        if len(weights):
            statistics["weight_mean"] = float(weights.mean(dtype=np.float64))
    return statistics


def split_summary(events: pa.Table, key: str, split: SplitInstants) -> pd.DataFrame:
    """What each part of the split holds.

    Args:
        events: A table of events.
        key: The column that says what an event is about.
        split: Where the parts meet.

    Returns:
        One row each for ``train``, ``validation`` and ``test``: columns ``part``, ``events``, ``users``, ``items``.
    """
    facts = pd.DataFrame({"user_id": _codes(events["user_id"]), key: _codes(events[key])})
    # An event counts in the part in which it arrived.
    time = np.maximum(*(events[name].to_pandas() for name in ("event_time", "ingested_at")))
    conditions = [time < pd.Timestamp(split.train_until), time < pd.Timestamp(split.validation_until)]
    facts["part"] = np.select(conditions, ["train", "validation"], "test")
    counted = facts.groupby("part").agg(
        events=("user_id", "size"), users=("user_id", "nunique"), items=(key, "nunique")
    )
    return counted.reindex(["train", "validation", "test"], fill_value=0).rename_axis("part").reset_index()
