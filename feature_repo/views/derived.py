"""Feature tables computed from a snapshot's events: what was known about a user or a video after each event."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.files import directory_written_whole
from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import TIMESTAMP
from feature_repo.offline import read_table

__all__ = ["HISTORY_LENGTH", "derived_directory", "ensure_derived", "user_history", "video_popularity"]

HISTORY_LENGTH = 50
"""Videos kept of a user's history."""

_REVISION = "r1"
"""Raise it when the same events would give other rows, so that homes compute them again."""

_USER_HISTORY = pa.schema(
    [
        ("user_id", pa.string()),
        ("video_ids", pa.list_(pa.string())),
        ("event_times", pa.list_(pa.int64())),
        ("event_time", TIMESTAMP),
    ]
)
_CHUNK = 65_536


def derived_directory(home: Home, snapshot_id: str) -> Path:
    """Where a snapshot's derived tables are; they can be computed again from the snapshot."""
    return home.cache / "features" / snapshot_id / _REVISION


def ensure_derived(home: Home, snapshot: Snapshot) -> tuple[Path, bool]:
    """Compute the derived tables unless they are there.

    Returns:
        Their directory, and whether they were computed now.

    Raises:
        StorageFull: The disk ran out of space.
    """
    target = derived_directory(home, snapshot.id)
    if target.exists():
        return target, False
    events = read_table(home, snapshot, "interactions", ["user_id", "video_id", "event_time"])
    with directory_written_whole(target) as scratch:
        with pq.ParquetWriter(scratch / "user_history.parquet", _USER_HISTORY, compression="zstd") as writer:
            for chunk in user_history(events):
                writer.write_table(chunk)
        pq.write_table(video_popularity(events), scratch / "video_popularity.parquet", compression="zstd")
    return target, True


def user_history(events: pa.Table) -> Iterator[pa.Table]:
    """What each user had seen after each event.

    Args:
        events: ``user_id``, ``video_id`` and ``event_time``, in any order; equal times keep the table's order.

    Yields:
        Tables of at most 65,536 rows, one row per user and instant: the last 50 video ids up to and including
        that instant, oldest first, and their times in microseconds since 1970-01-01 UTC.
    """
    order, position, last = _sequences(events, "user_id")
    users, videos = events["user_id"].combine_chunks(), events["video_id"].combine_chunks()
    times = _times(events)[order]
    rows = np.flatnonzero(last)
    for start in range(0, len(rows), _CHUNK):
        ends = rows[start : start + _CHUNK]
        lengths = np.minimum(position[ends] + 1, HISTORY_LENGTH)
        offsets = np.r_[0, np.cumsum(lengths)]
        # Event number of each entry: the run of `length` events that ends at `end`.
        entries = np.arange(offsets[-1]) + np.repeat(ends + 1 - lengths - offsets[:-1], lengths)
        bounds = pa.array(offsets, pa.int32())
        yield pa.table(
            [
                users.take(pa.array(order[ends])),
                pa.ListArray.from_arrays(bounds, videos.take(pa.array(order[entries]))),
                pa.ListArray.from_arrays(bounds, pa.array(times[entries])),
                pa.array(times[ends]).cast(TIMESTAMP),
            ],
            schema=_USER_HISTORY,
        )


def video_popularity(events: pa.Table) -> pa.Table:
    """How often each video had been viewed after each event.

    Args:
        events: ``video_id`` and ``event_time``, in any order.

    Returns:
        One row per video and instant: ``video_id``, ``views`` up to and including that instant, ``event_time``.
    """
    order, position, last = _sequences(events, "video_id")
    rows = order[last]
    return pa.table(
        {
            "video_id": events["video_id"].combine_chunks().take(pa.array(rows)),
            "views": pa.array(position[last] + 1),
            "event_time": pa.array(_times(events)[rows]).cast(TIMESTAMP),
        }
    )


def _sequences(
    events: pa.Table, key: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Order the events by key and time.

    Returns:
        Row of each event in that order; its position within its key; whether it is the last of its key and
        instant. All ``[E]``. Rows of one key and instant would be a toss-up in a point-in-time join, so only
        the last of them may become a feature row.
    """
    keys = events[key].combine_chunks().dictionary_encode().indices.to_numpy()
    times = _times(events)
    order = np.lexsort((times, keys))
    keys, times = keys[order], times[order]
    new_key = np.r_[True, keys[1:] != keys[:-1]][: len(keys)]
    starts = np.flatnonzero(new_key)
    position = np.arange(len(keys)) - np.repeat(starts, np.diff(np.r_[starts, len(keys)]))
    last = np.r_[new_key[1:] | (times[1:] != times[:-1]), True][: len(keys)]
    return order, position, last


def _times(events: pa.Table) -> npt.NDArray[np.int64]:
    return np.asarray(events["event_time"].combine_chunks().cast(pa.int64()).to_numpy())
