"""The offline store: immutable sets of Parquet tables, and which of them is current."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
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
from contracts.errors import BadInput, NotFound
from contracts.files import directory_written_whole
from contracts.home import Home
from contracts.snapshot import SNAPSHOT_MANIFEST, Snapshot, TableInfo, table_path
from contracts.tables import check_table
from feature_repo.raw_tables import RawTables

__all__ = [
    "content_hash",
    "current_snapshot",
    "event_period",
    "manifest_of",
    "newest_snapshot_of",
    "read_snapshot",
    "read_table",
    "snapshot_directory",
    "snapshot_of",
    "store_snapshot",
    "write_snapshot",
]

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
    snapshot, created = store_snapshot(home, raw)
    make_current(home, snapshot.id)
    return snapshot, created


def store_snapshot(home: Home, raw: RawTables) -> tuple[Snapshot, bool]:
    """:func:`write_snapshot`, but for what is current: that stays as it is."""
    snapshot = snapshot_of(raw)
    directory = snapshot_directory(home, snapshot.id)
    if _is_whole(directory, raw):
        return read_snapshot(home, snapshot.id), False
    shutil.rmtree(directory, ignore_errors=True)  # what is left of a snapshot that lost a file
    with directory_written_whole(directory) as scratch:
        for name, table in raw.tables.items():
            pq.write_table(table, scratch / f"{name}.parquet", compression="zstd", row_group_size=_GROUP_ROWS)
        (scratch / SNAPSHOT_MANIFEST).write_text(snapshot.model_dump_json(indent=2), encoding="utf-8")
    return snapshot, True


def snapshot_of(raw: RawTables) -> Snapshot:
    """The manifest that tables would have as a snapshot; nothing is written.

    Raises:
        BadInput: A table breaks its schema.
    """
    for name, table in raw.tables.items():
        check_table(name, table)
    infos = {
        name: TableInfo(rows=table.num_rows, sha256=content_hash(table)) for name, table in sorted(raw.tables.items())
    }
    content = {
        "dataset": raw.dataset,  # whose ids these are: the same tables under another name are other users' data
        "tables": {name: info.sha256 for name, info in infos.items()},
        "embeddings": {modality: spec.model_dump(mode="json") for modality, spec in sorted(raw.specs.items())},
        "split": raw.split.model_dump(mode="json"),
    }
    return Snapshot(
        id=_id_of(content),
        dataset=raw.dataset,
        source=raw.source,
        created_at=utc_now(),
        tables=infos,
        embeddings=dict(sorted(raw.specs.items())),
        split=raw.split,
        media=None if raw.media is None else str(raw.media.absolute()),
    )


def _id_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def manifest_of(data: bytes) -> Snapshot:
    """The manifest that a file holds.

    What the id was made from is taken as it stands in the file: a manifest of an earlier version keeps its id.

    Raises:
        ValueError: It is damaged, or its id is not the hash of its content, as somebody has changed it.
    """
    snapshot = Snapshot.model_validate_json(data)
    written = json.loads(data)
    hashes = {name: info["sha256"] for name, info in written["tables"].items()}
    own = _id_of({"tables": hashes, **{part: written[part] for part in ("dataset", "embeddings", "split")}})
    if own != snapshot.id:
        raise ValueError(f"its content has id {own}, and it says {snapshot.id}")
    return snapshot


def _is_whole(directory: Path, raw: RawTables) -> bool:
    return all(
        (directory / name).is_file() for name in (SNAPSHOT_MANIFEST, *(f"{table}.parquet" for table in raw.tables))
    )


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
        BadInput: Its manifest is damaged, or was changed since it was written.
    """
    path = snapshot_directory(home, snapshot_id) / SNAPSHOT_MANIFEST
    if not path.is_file():
        raise NotFound(
            f"snapshot {snapshot_id}",
            found=f"no {path}",
            expected="one of the snapshots in the home's offline directory",
            next_step="ingest the data again",
        )
    try:
        snapshot = manifest_of(path.read_bytes())
        if snapshot.id != snapshot_id:
            raise ValueError(f"it is of snapshot {snapshot.id}")
    except ValueError as error:
        raise BadInput(
            f"snapshot {snapshot_id}",
            found=f"a manifest {path} that is not as it was written ({str(error).partition(chr(10))[0]})",
            expected="the tables, embedding specs, split and data set that the snapshot's id was made from",
            next_step="restore it from a backup, or remove it and ingest the data again",
        ) from None
    return snapshot


def newest_snapshot_of(home: Home, dataset: str) -> Snapshot:
    """The current snapshot if it is of that data set, else the one of that data set written last.

    Raises:
        NotFound: No snapshot has that data set.
    """
    current = current_snapshot_id(home)
    found = [read_snapshot(home, path.parent.name) for path in home.offline.glob(f"*/{SNAPSHOT_MANIFEST}")]
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
        BadInput: The file is damaged.
    """
    path = table_path(home, snapshot.id, name)
    if not path.is_file():
        raise NotFound(
            f"table {name!r} of snapshot {snapshot.id}",
            found=f"no {path}",
            expected=f"one of {', '.join(snapshot.tables)}, as ingested",
            next_step="ingest the data again",
        )
    try:
        return pq.read_table(path, columns=list(columns) if columns is not None else None)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput(
            f"table {name!r} of snapshot {snapshot.id}",
            found=f"a damaged file {path} ({str(error).splitlines()[0]})",
            expected="a Parquet file, as ingested",
            next_step="remove it and ingest the data again",
        ) from None


def event_period(home: Home, snapshot: Snapshot) -> tuple[datetime, datetime]:
    """First and last event time over all tables of a snapshot."""
    bounds = [
        pc.min_max(read_table(home, snapshot, name, ["event_time"])["event_time"]).as_py() for name in snapshot.tables
    ]
    known = [bound for bound in bounds if bound["min"] is not None]
    return to_utc(min(bound["min"] for bound in known)), to_utc(max(bound["max"] for bound in known))


def content_hash(table: pa.Table) -> str:
    """SHA-256 over the values of all columns, whatever their chunks and buffers look like; nothing is copied whole.

    It is what a snapshot's manifest has of each table.
    """
    hasher = hashlib.sha256()
    for name in table.schema.names:
        kind = str(table.schema.field(name).type).replace("<element: ", "<item: ")  # what Parquet calls a list's values
        hasher.update(f"{name} {kind}\0".encode())
        for part in _value_buffers(table[name].chunks):
            hasher.update(np.ascontiguousarray(part).data)
    return hasher.hexdigest()


def _value_buffers(chunks: Sequence[pa.Array]) -> Iterator[npt.NDArray[Any]]:
    """Validity where a value is null, then lengths, then values: each of all chunks before the next."""
    if any(chunk.null_count for chunk in chunks):
        yield from (chunk.is_valid().to_numpy(zero_copy_only=False) for chunk in chunks)
    kind = chunks[0].type if chunks else pa.null()
    if pa.types.is_list(kind):
        yield from (pc.list_value_length(chunk).fill_null(0).to_numpy() for chunk in chunks)
        yield from _value_buffers([chunk.flatten() for chunk in chunks])
    elif pa.types.is_string(kind):
        texts = [_text_buffers(chunk.fill_null("")) for chunk in chunks]
        yield from (lengths for lengths, _ in texts)
        yield from (text for _, text in texts)
    elif pa.types.is_timestamp(kind):
        yield from (chunk.cast(pa.int64()).fill_null(0).to_numpy() for chunk in chunks)
    else:
        yield from (chunk.fill_null(0).to_numpy() for chunk in chunks)


def _text_buffers(column: pa.StringArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    offsets = np.frombuffer(column.buffers()[1] or bytes(4), np.int32)[column.offset :][: len(column) + 1]
    text = np.frombuffer(column.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    return np.diff(offsets), text
