"""The records as Parquet: closed files of one table and one day each, that whoever analyses can read without us.

``<directory>/<table>/date=<day>/<since>-<until>.parquet``. The name of a file says which rows it has: those whose time
lies in that interval, the end exclusive. So the files themselves say what has been written, and nothing else does.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from contracts.errors import Conflict
from contracts.files import file_written_whole
from contracts.log_rows import FeatureSnapshotRow
from contracts.platform import PlatformBase, ResponseRow, ShadowRow
from contracts.serving_rows import FeedbackRow
from contracts.tables import TIMESTAMP

__all__ = ["LOG_TABLES", "LogFiles", "LogTable", "Segment"]

_INSTANT = "%Y%m%dT%H%M%S.%fZ"
_NAME = re.compile(r"(\d{8}T\d{6}\.\d{6}Z)-(\d{8}T\d{6}\.\d{6}Z)\.parquet")

_ITEMS = pa.list_(pa.struct({"item_id": pa.string(), "score": pa.float64(), "step": pa.string()}))
_MISSING = pa.list_(pa.struct({"feature": pa.string(), "reason": pa.string()}))


@dataclass(frozen=True)
class LogTable:
    """A table of the platform that is written as Parquet."""

    rows: type[PlatformBase]
    time: str
    """The column that says which file a row is in."""
    response: str
    """The column that names the served list."""
    schema: pa.Schema
    """The columns of the table; what has no fixed fields is a text of JSON."""

    def table(self, rows: Sequence[Any]) -> pa.Table:
        """Rows of the database as Arrow."""
        columns = {}
        for place, field in enumerate(self.schema):
            values = [row[place] for row in rows]
            if field.type == pa.string():
                values = [json.dumps(value) if isinstance(value, dict) else value for value in values]
            columns[field.name] = pa.array(values, field.type)
        return pa.table(columns, self.schema)


LOG_TABLES = {
    "responses": LogTable(
        ResponseRow,
        "at",
        "id",
        pa.schema(
            {
                "id": pa.string(),
                "at": TIMESTAMP,
                "surface": pa.string(),
                "version": pa.string(),
                "user_id": pa.string(),
                "items": _ITEMS,
                "latency_ms": pa.float64(),
                "arm": pa.string(),
                "propensities": pa.list_(pa.float64()),
                "experiment": pa.string(),
                "teams": pa.list_(pa.int64()),
                "video_id": pa.string(),
            }
        ),
    ),
    "shadow_lists": LogTable(
        ShadowRow,
        "at",
        "response_id",
        pa.schema(
            {
                "response_id": pa.string(),
                "version": pa.string(),
                "at": TIMESTAMP,
                "items": _ITEMS,
                "latency_ms": pa.float64(),
                "error": pa.string(),
            }
        ),
    ),
    "feedback": LogTable(
        FeedbackRow,
        "received_at",
        "response_id",
        pa.schema(
            {
                "response_id": pa.string(),
                "event_id": pa.string(),
                "item_id": pa.string(),
                "kind": pa.string(),
                "seconds": pa.float64(),
                "at": TIMESTAMP,
                "received_at": TIMESTAMP,
                "late": pa.bool_(),
            }
        ),
    ),
    "feature_snapshots": LogTable(
        FeatureSnapshotRow,
        "at",
        "response_id",
        pa.schema(
            {
                "response_id": pa.string(),
                "at": TIMESTAMP,
                "surface": pa.string(),
                "user_id": pa.string(),
                "query": pa.string(),
                "missing": _MISSING,
                "computed_on": pa.string(),
            }
        ),
    ),
}
"""Table → how it is written."""


@dataclass(frozen=True)
class Segment:
    """One file."""

    path: Path
    since: datetime
    until: datetime
    """Exclusive."""


class LogFiles:
    """The files under a directory.

    Args:
        directory: Made when the first file is written.
        patience_s: How long to wait for another process that changes them.
    """

    def __init__(self, directory: Path, patience_s: float = 60.0) -> None:
        self._directory = directory
        self._patience_s = patience_s

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who changes the files.

        Raises:
            Conflict: Somebody else is at it, and does not come to an end.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._directory / "files.lock")
        try:
            lock.acquire(timeout=self._patience_s)
        except Timeout:
            raise Conflict(
                f"log files {self._directory}",
                found="another command or a service writing or deleting there",
                expected="one at a time",
                next_step="wait until it has ended, then run the same command again",
            ) from None
        try:
            yield
        finally:
            lock.release()

    def segments(self, table: str) -> list[Segment]:
        """The files of a table in order of time."""
        found = []
        for path in (self._directory / table).glob("date=*/*.parquet"):
            if matched := _NAME.fullmatch(path.name):
                since, until = (datetime.strptime(text, _INSTANT).replace(tzinfo=UTC) for text in matched.groups())
                found.append(Segment(path, since, until))
        return sorted(found, key=lambda each: (each.since, each.until))

    @contextmanager
    def written(self, table: str, since: datetime, until: datetime) -> Iterator[pq.ParquetWriter]:
        """A file of the rows of an interval within one day, there once the block has ended well."""
        name = f"{since.strftime(_INSTANT)}-{until.strftime(_INSTANT)}.parquet"
        path = self._directory / table / f"date={since:%Y-%m-%d}" / name
        with (
            file_written_whole(path) as scratch,
            pq.ParquetWriter(scratch, LOG_TABLES[table].schema, compression="zstd") as writer,
        ):
            yield writer

    def prune(self, before: datetime) -> int:
        """Take out what was recorded before a moment, each row by its own time; how many rows."""
        gone, limit = 0, pa.scalar(before, TIMESTAMP)
        for table, log in LOG_TABLES.items():
            for segment in self.segments(table):
                if segment.until <= before:
                    gone += pq.read_metadata(segment.path).num_rows
                    segment.path.unlink()
                elif segment.since < before:
                    gone += _keep(segment, log.time, partial(_not_before, limit))
        return gone

    def delete_user(self, user_id: str, response_ids: Sequence[str]) -> int:
        """Take out all lists of a user and what belongs to them; how many rows.

        Args:
            user_id: The user.
            response_ids: Lists of the user that may not be among the files themselves.
        """
        naming = [table for table, log in LOG_TABLES.items() if "user_id" in log.schema.names]
        ids = [pa.array(response_ids, pa.string())]
        for table in naming:
            for segment in self.segments(table):
                key = LOG_TABLES[table].response
                rows = pq.read_table(
                    segment.path, columns=[key], filters=[("user_id", "=", user_id)], partitioning=None
                )
                ids += rows[key].chunks
        others = partial(_none_of, pa.concat_arrays(ids))
        # Those that name the user last: whoever is interrupted finds what belongs to them again.
        return sum(
            _keep(segment, LOG_TABLES[table].response, others)
            for table in sorted(LOG_TABLES, key=naming.__contains__)
            for segment in self.segments(table)
        )


def _not_before(limit: pa.Scalar, moments: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.greater_equal(moments, limit)


def _none_of(ids: pa.Array, values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.invert(pc.is_in(values, value_set=ids))


def _keep(segment: Segment, column: str, wanted: Callable[[pa.ChunkedArray], pa.ChunkedArray]) -> int:
    """Write a file again with the rows whose value is wanted, or remove it where none is; how many rows are gone."""
    with pq.ParquetFile(segment.path) as file:
        total = file.metadata.num_rows
        kept = pc.sum(wanted(file.read([column])[column])).as_py() or 0
        if kept == total:
            return 0
        if kept:
            with (
                file_written_whole(segment.path) as scratch,
                pq.ParquetWriter(scratch, file.schema_arrow, compression="zstd") as writer,
            ):
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group)
                    writer.write_table(rows.filter(wanted(rows[column])))
        else:
            segment.path.unlink()
    return int(total - kept)
