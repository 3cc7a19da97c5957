"""What a reader of a data set or the simulator hands over, before it becomes a snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.embeddings import EmbeddingSpec
from contracts.snapshot import SplitInstants
from contracts.tables import EMBEDDING_PREFIX, INTERACTIONS, TIMESTAMP, USERS, VIDEOS, embedding_schema

__all__ = ["Microseconds", "RawTables", "assemble", "microseconds", "numbered_ids", "table_of", "vector_lists"]

Microseconds = npt.NDArray[np.int64]
"""Instants as microseconds since 1970-01-01 UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class RawTables:
    """All offline tables of one data set, with what is known about them."""

    tables: dict[str, pa.Table]
    """By name, as in ``contracts.tables``: ``users``, ``embedding_<name>`` …"""
    specs: dict[str, EmbeddingSpec]
    """Name of the embeddings → what made them."""
    split: SplitInstants
    dataset: str
    source: str
    media: Path | None = None
    """Directory that the paths in the media columns are below."""


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware datetime, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def numbered_ids(prefix: str, count: int) -> pa.Array:
    """Ids ``<prefix>0`` … ``<prefix><count-1>``."""
    return pc.binary_join_element_wise(prefix, pa.array(np.arange(count)).cast(pa.string()), "")


def assemble(
    *,
    users: pa.Array,
    users_known: Microseconds,
    videos: pa.Array,
    videos_published: Microseconds,
    user_rows: npt.NDArray[np.int64],
    video_rows: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32],
    event_times: Microseconds,
    vectors: Mapping[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]],
    specs: dict[str, EmbeddingSpec],
    split: SplitInstants,
    dataset: str,
    source: str,
) -> RawTables:
    """Put columns into the schemas of the offline tables; every interaction is a ``view``.

    Args:
        users: User ids, ``[U]``.
        users_known: When each account was first known, ``[U]``.
        videos: Video ids, ``[N]``.
        videos_published: When each video was published, ``[N]``.
        user_rows: Row in ``users`` of each event, ``[E]``.
        video_rows: Row in ``videos`` of each event, ``[E]``.
        weights: Weight of each event, ``[E]``.
        event_times: Instant of each event, ``[E]``.
        vectors: Name of the embeddings → rows in ``videos`` ``[n]`` and their vectors ``[n, width]``.
        specs: Name of the embeddings → what made them.
        split: Where training, validation and test meet.
        dataset: Name of the data.
        source: Where it came from.
    """
    tables = {
        "interactions": table_of(
            INTERACTIONS,
            event_times,
            user_id=users.take(pa.array(user_rows)),
            video_id=videos.take(pa.array(video_rows)),
            kind=pa.repeat(pa.scalar("view"), len(user_rows)),
            weight=pa.array(weights, pa.float32()),
        ),
        "users": table_of(USERS, users_known, user_id=users),
        "videos": table_of(VIDEOS, videos_published, video_id=videos),
    }
    for name, (rows, matrix) in sorted(vectors.items()):
        tables[EMBEDDING_PREFIX + name] = table_of(
            embedding_schema(),
            videos_published[rows],
            video_id=videos.take(pa.array(rows)),
            vector=vector_lists(matrix),
        )
    return RawTables(tables, specs, split, dataset, source)


def table_of(
    schema: pa.Schema, event_times: Microseconds, ingested_at: Microseconds | None = None, **columns: pa.Array
) -> pa.Table:
    """Put columns into a schema.

    Args:
        schema: One of ``contracts.tables``.
        event_times: Instant of each row, ``[n]``.
        ingested_at: When each row was known, ``[n]``; when it happened if None.
        **columns: The other columns, ``[n]``; those not given are null.
    """
    given = columns | {
        "event_time": pa.array(event_times, pa.int64()).cast(TIMESTAMP),
        "ingested_at": pa.array(event_times if ingested_at is None else ingested_at, pa.int64()).cast(TIMESTAMP),
    }
    return pa.table([given.get(field.name, pa.nulls(len(event_times), field.type)) for field in schema], schema=schema)


def vector_lists(matrix: npt.NDArray[np.float32]) -> pa.ListArray:
    """``[n, width]`` as a column of lists."""
    offsets = np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ravel(matrix), pa.float32()))
