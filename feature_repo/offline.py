"""The offline store: immutable sets of Parquet tables, and which of them is current."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.clock import to_utc, utc_now
from contracts.current import current_snapshot_id, make_current
from contracts.errors import NotFound
from contracts.files import directory_written_whole
from contracts.home import Home
from contracts.snapshot import Snapshot, TableInfo
from contracts.tables import check_table
from feature_repo.raw_tables import RawTables

__all__ = [
    "current_snapshot",
    "event_period",
    "newest_snapshot_of",
    "read_snapshot",
    "read_table",
    "snapshot_directory",
    "write_snapshot",
]

_MANIFEST = "snapshot.json"
_GROUP_ROWS = 65_536  # whoever reads in chunks holds at least one group


def write_snapshot(home: Home, raw: RawTables) -> tuple[Snapshot, bool]:
    """Write the tables as one snapshot and make it the current one.

    Args:
        home: Where to; the caller holds its writer lock.
        raw: The tables.

    Returns:
        The snapshot, and whether it is new; equal data of the same name is found again and not written twice.

    Raises:
        BadInput: A table breaks its schema.
        StorageFull: The disk ran out of space.
    """
    for name, table in raw.tables.items():
        check_table(name, table)
    infos = {
        name: TableInfo(rows=table.num_rows, sha256=_content_hash(table)) for name, table in sorted(raw.tables.items())
    }
    content = {
        "dataset": raw.dataset,  # whose ids these are: the same tables under another name are other users' data
        "tables": {name: info.sha256 for name, info in infos.items()},
        "embeddings": {modality: spec.model_dump(mode="json") for modality, spec in sorted(raw.specs.items())},
        "split": raw.split.model_dump(mode="json"),
    }
    snapshot_id = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    directory = snapshot_directory(home, snapshot_id)
    created = not _is_whole(directory, raw)
    if created:
        shutil.rmtree(directory, ignore_errors=True)  # what is left of a snapshot that lost a file
        snapshot = Snapshot(
            id=snapshot_id,
            dataset=raw.dataset,
            source=raw.source,
            created_at=utc_now(),
            tables=infos,
            embeddings=dict(sorted(raw.specs.items())),
            split=raw.split,
            media=None if raw.media is None else str(raw.media.absolute()),
        )
        with directory_written_whole(directory) as scratch:
            for name, table in raw.tables.items():
                pq.write_table(table, scratch / f"{name}.parquet", compression="zstd", row_group_size=_GROUP_ROWS)
            (scratch / _MANIFEST).write_text(snapshot.model_dump_json(indent=2), encoding="utf-8")
    else:
        snapshot = read_snapshot(home, snapshot_id)
    make_current(home, snapshot_id)
    return snapshot, created


def _is_whole(directory: Path, raw: RawTables) -> bool:
    return all((directory / name).is_file() for name in (_MANIFEST, *(f"{table}.parquet" for table in raw.tables)))


def current_snapshot(home: Home) -> Snapshot:
    """The snapshot that the last ingest wrote or found again.

    Raises:
        NotFound: Nothing was ingested yet.
    """
    snapshot_id = current_snapshot_id(home)
    if snapshot_id is None:
        home.require()
        raise NotFound(
            f"home {home.root}",
            found="no data in it",
            expected="a snapshot of offline tables",
            next_step="run `backbeat ingest simulate` or `backbeat ingest mmssl PATH`",
        )
    return read_snapshot(home, snapshot_id)


def read_snapshot(home: Home, snapshot_id: str) -> Snapshot:
    """The manifest of one snapshot.

    Raises:
        NotFound: There is none of that id.
    """
    path = snapshot_directory(home, snapshot_id) / _MANIFEST
    if not path.is_file():
        raise NotFound(
            f"snapshot {snapshot_id}",
            found=f"no {path}",
            expected="one of the snapshots in the home's offline directory",
            next_step="ingest the data again",
        )
    return Snapshot.model_validate_json(path.read_bytes())


def newest_snapshot_of(home: Home, dataset: str) -> Snapshot:
    """The current snapshot if it is of that data set, else the one of that data set written last.

    Raises:
        NotFound: No snapshot has that data set.
    """
    current = current_snapshot_id(home)
    found = [read_snapshot(home, path.parent.name) for path in home.offline.glob(f"*/{_MANIFEST}")]
    own = [snapshot for snapshot in found if snapshot.dataset == dataset]
    if not own:
        raise NotFound(
            f"data set {dataset!r}",
            found=f"snapshots of {', '.join(sorted({each.dataset for each in found})) or 'nothing'}",
            expected="a snapshot of that data set",
            next_step="run `backbeat ingest …` with that data, or name another data set",
        )
    return max(own, key=lambda snapshot: (snapshot.id == current, snapshot.created_at))


def snapshot_directory(home: Home, snapshot_id: str) -> Path:
    """Where a snapshot's tables are."""
    return home.offline / snapshot_id


def read_table(home: Home, snapshot: Snapshot, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one offline table.

    Args:
        home: Where the snapshot is.
        snapshot: Whose table.
        name: Name of the table.
        columns: Columns to read; all if None.

    Raises:
        NotFound: The snapshot has no such table, or its file is gone.
    """
    path = snapshot_directory(home, snapshot.id) / f"{name}.parquet"
    if not path.is_file():
        raise NotFound(
            f"table {name!r} of snapshot {snapshot.id}",
            found=f"no {path}",
            expected=f"one of {', '.join(snapshot.tables)}, as ingested",
            next_step="ingest the data again",
        )
    return pq.read_table(path, columns=list(columns) if columns is not None else None)


def event_period(home: Home, snapshot: Snapshot) -> tuple[datetime, datetime]:
    """First and last event time over all tables of a snapshot."""
    bounds = [
        pc.min_max(read_table(home, snapshot, name, ["event_time"])["event_time"]).as_py() for name in snapshot.tables
    ]
    known = [bound for bound in bounds if bound["min"] is not None]
    return to_utc(min(bound["min"] for bound in known)), to_utc(max(bound["max"] for bound in known))


def _content_hash(table: pa.Table) -> str:
    """SHA-256 over the values of all columns, whatever their chunks and buffers look like."""
    hasher = hashlib.sha256()
    for name in table.schema.names:
        kind = str(table.schema.field(name).type).replace("<element: ", "<item: ")  # what Parquet calls a list's values
        hasher.update(f"{name} {kind}\0".encode())
        for part in _value_buffers(table[name].combine_chunks()):
            hasher.update(np.ascontiguousarray(part).data)
    return hasher.hexdigest()


def _value_buffers(column: pa.Array) -> list[npt.NDArray[Any]]:
    known = [column.is_valid().to_numpy(zero_copy_only=False)] if column.null_count else []
    if pa.types.is_list(column.type):
        lengths = pc.list_value_length(column).fill_null(0).to_numpy()
        return [*known, lengths, *_value_buffers(column.flatten())]
    if pa.types.is_string(column.type):
        column = column.fill_null("")
        offsets = np.frombuffer(column.buffers()[1] or bytes(4), np.int32)[column.offset :][: len(column) + 1]
        text = np.frombuffer(column.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
        return [*known, np.diff(offsets), text]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return [*known, column.fill_null(0).to_numpy()]
