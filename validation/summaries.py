"""Per-row facts about a table: what the suites judge. Great Expectations never sees an array column."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contracts.snapshot import SplitInstants

__all__ = ["embedding_summary", "row_summary", "split_summary"]

_ROWS_AT_ONCE = 16_384
_HASH_SEED = 20_260_101


def embedding_summary(embeddings: pa.Table, owners: pa.Table, key: str, width: int) -> pd.DataFrame:
    """Scalar facts about every vector of one table, then one row for each entity that has none.

    Args:
        embeddings: An ``embedding_<name>`` table.
        owners: The table of the entities, such as ``videos``.
        key: The column that names them.
        width: Number of components the spec promises.

    Returns:
        Columns of that name, ``known`` (the entity is in ``owners``), ``present`` (there is a vector), ``width``
        (components found), ``nonfinite`` (components that are NaN or infinite), ``zero`` (all components are 0),
        ``constant`` (all equal, but not 0), ``repeated`` (bit for bit an earlier vector other than zero) and
        ``relative_norm`` (Euclidean norm over the table's median). Statistics are null where there is no vector
        of the promised width, and the last two also where the vector is zero.
    """
    lengths = pc.fill_null(pc.list_value_length(embeddings["vector"]), 0).to_numpy()
    right = lengths == width
    facts = _vector_statistics(embeddings["vector"].filter(pa.array(right)), width).set_axis(np.flatnonzero(right))
    moving = facts["norm"] > 0
    facts["relative_norm"] = (facts["norm"] / facts.loc[moving, "norm"].median()).where(moving)
    facts["repeated"] = facts["fingerprint"][moving].duplicated().reindex(facts.index)

    catalogue, own = pc.unique(owners[key]), embeddings[key].combine_chunks()
    absent = catalogue.filter(pc.invert(pc.is_in(catalogue, value_set=own)))
    facts = facts.drop(columns=["norm", "fingerprint"]).reindex(range(len(own) + len(absent)))
    facts[key] = pa.concat_arrays([own, absent]).to_pandas()
    facts["known"] = np.append(pc.is_in(own, value_set=catalogue), np.ones(len(absent), dtype=bool))
    facts["present"] = np.arange(len(facts)) < len(own)
    facts["width"] = pd.Series(lengths, dtype=np.float64).reindex(facts.index)
    return facts


def _vector_statistics(vectors: pa.ChunkedArray, width: int) -> pd.DataFrame:
    """Statistics of vectors that all have ``width`` components, a bounded number of rows at a time."""
    multipliers = np.random.default_rng(_HASH_SEED).integers(0, 2**63, size=width, dtype=np.uint64) * 2 + 1
    parts = [
        _block_statistics(vectors[start : start + _ROWS_AT_ONCE], width, multipliers)
        for start in range(0, max(len(vectors), 1), _ROWS_AT_ONCE)
    ]
    return pd.concat(parts, ignore_index=True)


def _block_statistics(vectors: pa.ChunkedArray, width: int, multipliers: npt.NDArray[np.uint64]) -> pd.DataFrame:
    values = pc.list_flatten(vectors).to_numpy().astype(np.float32, copy=False).reshape(-1, width)
    finite = np.isfinite(values)
    clean = np.where(finite, values, np.float32(0)).astype(np.float64)
    norm = np.sqrt(np.einsum("ij,ij->i", clean, clean))
    equal = (clean == clean[:, :1]).all(axis=1) if width > 1 else np.zeros(len(clean), dtype=bool)
    return pd.DataFrame(
        {
            "nonfinite": width - finite.sum(axis=1),
            "zero": norm == 0,
            "constant": equal & (norm > 0),
            "norm": norm,
            # A multilinear hash modulo 2**64: equal bits give equal sums, and nothing else does in practice.
            "fingerprint": (values.view(np.uint32) * multipliers).sum(axis=1, dtype=np.uint64),
        }
    )


def row_summary(
    table: pa.Table, owners: Mapping[str, pa.ChunkedArray | None], key: Sequence[str], now: datetime
) -> pd.DataFrame:
    """Scalar facts about every row of a table.

    Args:
        table: Any table with ``event_time``.
        owners: Column that names entities → the ids that are known; None where their table is not there.
        key: Columns that together with the event time name a row.
        now: The instant after which a row lies in the future.

    Returns:
        The columns of ``key`` and of ``owners``, ``kind`` and ``weight`` where the table has them, for each column
        ``<name>_id`` of ``owners`` one ``<name>_known`` (a null names nobody, and nobody is unknown), ``age_hours``
        (from the event until ``now``) and ``repeated`` (an earlier row has the same key and time).
    """
    columns = [*key, *owners, "kind", "weight", "event_time"]
    facts: pd.DataFrame = table.select([name for name in table.column_names if name in columns]).to_pandas()
    for column, known in owners.items():
        ids = table[column]
        inside = pc.is_null(ids) if known is None else pc.or_(pc.is_null(ids), pc.is_in(ids, pc.unique(known)))
        facts[f"{column.removesuffix('_id')}_known"] = np.asarray(inside)
    facts["age_hours"] = (pd.Timestamp(now) - facts["event_time"]) / pd.Timedelta(hours=1)
    facts["repeated"] = facts.duplicated([*key, "event_time"])
    return facts.drop(columns="event_time")


def split_summary(events: pa.Table, key: str, split: SplitInstants) -> pd.DataFrame:
    """What each part of the split holds.

    Args:
        events: A table of events.
        key: The column that says what an event is about.
        split: Where the parts meet.

    Returns:
        One row each for ``train``, ``validation`` and ``test``: columns ``part``, ``events``, ``users``, ``items``.
    """
    facts: pd.DataFrame = events.select(["user_id", key, "event_time", "ingested_at"]).to_pandas()
    time = facts[["event_time", "ingested_at"]].max(axis=1)  # an event counts in the part in which it arrived
    conditions = [time < pd.Timestamp(split.train_until), time < pd.Timestamp(split.validation_until)]
    facts["part"] = np.select(conditions, ["train", "validation"], "test")
    counted = facts.groupby("part").agg(
        events=("user_id", "size"), users=("user_id", "nunique"), items=(key, "nunique")
    )
    return counted.reindex(["train", "validation", "test"], fill_value=0).rename_axis("part").reset_index()
