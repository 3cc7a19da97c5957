"""What a reader of a data set or the simulator hands over, before it becomes a snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.clock import utc_now
from contracts.embeddings import EmbeddingSpec
from contracts.snapshot import SplitInstants
from contracts.tables import EMBEDDING_PREFIX, INTERACTIONS, TIMESTAMP, USERS, VIDEOS, embedding_schema

__all__ = ["Microseconds", "RawTables", "assemble", "microseconds", "numbered_ids"]

Microseconds = npt.NDArray[np.int64]
"""Instants as microseconds since 1970-01-01 UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class RawTables:
    """All offline tables of one data set, with what is known about them."""

    tables: dict[str, pa.Table]
    """``interactions``, ``users``, ``videos`` and one ``embedding_<modality>`` each, as in ``contracts.tables``."""
    specs: dict[str, EmbeddingSpec]
    """Modality → what made its vectors."""
    split: SplitInstants
    dataset: str
    source: str


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware datetime, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def numbered_ids(prefix: str, count: int) -> pa.Array:
    """Ids ``<prefix>0`` … ``<prefix><count-1>``."""
    return pa.array([f"{prefix}{number}" for number in range(count)], pa.string())


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
        vectors: Modality → rows in ``videos`` ``[n]`` and their vectors ``[n, width]``.
        specs: Modality → what made its vectors.
        split: Where training, validation and test meet.
        dataset: Name of the data.
        source: Where it came from.
    """
    now = utc_now()

    def stamped(columns: list[pa.Array], times: Microseconds, schema: pa.Schema) -> pa.Table:
        seen = pa.repeat(pa.scalar(now, TIMESTAMP), len(times))
        return pa.table([*columns, pa.array(times, pa.int64()).cast(TIMESTAMP), seen], schema=schema)

    tables = {
        "interactions": stamped(
            [
                users.take(pa.array(user_rows)),
                videos.take(pa.array(video_rows)),
                pa.repeat(pa.scalar("view"), len(user_rows)),
                pa.array(weights, pa.float32()),
            ],
            event_times,
            INTERACTIONS,
        ),
        "users": stamped([users], users_known, USERS),
        "videos": stamped([videos], videos_published, VIDEOS),
    }
    for modality, (rows, matrix) in sorted(vectors.items()):
        offsets = np.arange(len(rows) + 1, dtype=np.int32) * matrix.shape[1]
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ravel(matrix), pa.float32()))
        tables[EMBEDDING_PREFIX + modality] = stamped(
            [videos.take(pa.array(rows)), lists], videos_published[rows], embedding_schema()
        )
    return RawTables(tables, specs, split, dataset, source)
