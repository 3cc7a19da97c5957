"""The landing: pushed rows on their way into the offline store, each batch once.

A batch lands as one file named after its id, so taking in the same batch again changes nothing. ``merge`` adds what has
landed to the tables of the data set's newest snapshot, as a new snapshot.
"""

import json
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pyarrow as pa

from contracts.errors import BadInput
from contracts.files import write_bytes_whole, write_text_whole
from contracts.home import Home
from contracts.snapshot import PUSHED, Snapshot, SplitInstants
from contracts.tables import EMBEDDING_PREFIX, natural_key, schema_of
from feature_repo.offline import newest_snapshot_of, read_table, write_snapshot
from feature_repo.raw_tables import RawTables
from feature_repo.stream.batch import Batch

__all__ = ["Landing", "merge", "other_encoder", "table_in"]


class Landing:
    """What was pushed for one data set and is in none of its snapshots yet.

    Args:
        home: Which home.
        dataset: Name of the data set.
    """

    def __init__(self, home: Home, dataset: str) -> None:
        self._directory = home.stream / "landed" / quote(dataset, safe="")
        self._refused = home.stream / "refused"

    def land(self, batch: Batch) -> Batch:
        """Keep a batch for good.

        Returns:
            The batch that is kept under its id: this one, or the one that landed before.

        Raises:
            StorageFull: The disk ran out of space.
        """
        path = self._directory / batch.table / f"{batch.id}.parquet"
        if path.exists():
            return Batch.from_bytes(path.read_bytes(), str(path))
        write_bytes_whole(path, batch.to_bytes())
        return batch

    def refuse(self, name: str, data: bytes, reason: BadInput) -> None:
        """Set rows aside with the reason, for somebody to look at.

        Args:
            name: Name of the files, e.g. the batch's id.
            data: The rows as they came.
            reason: Why they were not taken in.
        """
        write_bytes_whole(self._refused / f"{name}.parquet", data)
        write_text_whole(self._refused / f"{name}.json", json.dumps(reason.as_dict(), indent=2))

    def files(self) -> list[Path]:
        """The batches, one file each."""
        return sorted(self._directory.glob("*/*.parquet"))

    def tables(self, snapshot: Snapshot) -> dict[str, pa.Table]:
        """The rows by table of a snapshot that they belong to; vectors that no encoder of it made are left out."""
        while True:
            try:
                return self._tables(snapshot, self.files())
            except FileNotFoundError:  # a merge takes files away when it has them in a snapshot
                continue

    def take_away(self, path: Path, snapshot: Snapshot) -> None:
        """Remove a batch that a snapshot has now, or set it aside where none of the snapshot's encoders made it."""
        batch = Batch.from_bytes(path.read_bytes(), str(path))
        if table_in(snapshot, batch) is None:
            self.refuse(batch.id, batch.to_bytes(), other_encoder(batch, snapshot))
        path.unlink()

    def _tables(self, snapshot: Snapshot, files: list[Path]) -> dict[str, pa.Table]:
        parts: dict[str, list[pa.Table]] = {}
        for path in files:
            batch = Batch.from_bytes(path.read_bytes(), str(path))
            name = table_in(snapshot, batch)
            if name is not None:
                parts.setdefault(name, []).append(batch.rows)
        return {name: pa.concat_tables(tables).combine_chunks() for name, tables in sorted(parts.items())}


def table_in(snapshot: Snapshot, batch: Batch) -> str | None:
    """The table of a snapshot that a batch's rows belong to; None for vectors of an encoder that it does not have.

    Which revision of a modality is in use may have changed since the batch was pushed.
    """
    if not batch.table.startswith(EMBEDDING_PREFIX):
        return batch.table
    for name, spec in snapshot.embeddings.items():
        if spec.digest == batch.spec:
            return EMBEDDING_PREFIX + name
    return None


def other_encoder(batch: Batch, snapshot: Snapshot) -> BadInput:
    """Why vectors cannot be taken in."""
    known = ", ".join(f"{name} {spec.digest}" for name, spec in sorted(snapshot.embeddings.items())) or "none"
    return BadInput(
        f"batch {batch.id} for table {batch.table}",
        found=f"vectors of the spec {batch.spec or 'nobody named'}",
        expected=f"vectors of a spec of snapshot {snapshot.id} ({known})",
        next_step="encode them with the encoder in use and push them again under a new batch id",
    )


def merge(
    home: Home, dataset: str, train_until: datetime | None = None, validation_until: datetime | None = None
) -> tuple[Snapshot, dict[str, int], bool]:
    """Write a snapshot of the data set's newest tables and everything that has landed since, and make it current.

    A row that says the same as one that is there already is not added again, and vectors of an encoder that the
    snapshot no longer has are set aside. Interrupted at any point, it can be repeated: what has landed is removed only
    once the snapshot is there.

    Args:
        home: Which home; the caller holds its writer lock.
        dataset: Name of the data set.
        train_until: Where training is to end; as before if None.
        validation_until: Where validation is to end; as before if None.

    Returns:
        The snapshot, the rows added to each table, and whether the snapshot is new.

    Raises:
        NotFound: No snapshot has that data set.
        BadInput: The two instants are not in order.
        StorageFull: The disk ran out of space.
    """
    base = newest_snapshot_of(home, dataset)
    landing = Landing(home, dataset)
    files = landing.files()
    arrived = landing.tables(base)
    tables = {name: read_table(home, base, name) for name in base.tables}
    added = {}
    for name, rows in arrived.items():
        known = tables.get(name, schema_of(name).empty_table())
        fresh = _unknown_rows(name, known, rows)
        tables[name] = pa.concat_tables([known, fresh]).combine_chunks()
        added[name] = fresh.num_rows
    raw = RawTables(
        tables=tables,
        specs=base.embeddings,
        split=_split(base, train_until, validation_until),
        dataset=dataset,
        source=base.source.removesuffix(PUSHED) + PUSHED,
        media=None if base.media is None else Path(base.media),
    )
    snapshot, created = write_snapshot(home, raw)
    for path in files:
        landing.take_away(path, base)
    return snapshot, added, created


def _split(base: Snapshot, train_until: datetime | None, validation_until: datetime | None) -> SplitInstants:
    first, second = train_until or base.split.train_until, validation_until or base.split.validation_until
    if first >= second:
        raise BadInput(
            "end of training",
            found=first.isoformat(),
            expected=f"an instant before the end of validation, {second.isoformat()}",
            next_step="give --train-until and --validation-until in order",
        )
    moved = train_until is not None or validation_until is not None
    return SplitInstants(train_until=first, validation_until=second, nominal=base.split.nominal and not moved)


def _unknown_rows(name: str, known: pa.Table, rows: pa.Table) -> pa.Table:
    """Those of ``rows`` that neither ``known`` nor an earlier arrival has, in order of arrival."""
    keys = natural_key(name)
    frame = pl.DataFrame(rows).sort("ingested_at", maintain_order=True).unique(keys, keep="first", maintain_order=True)
    fresh = frame.join(pl.DataFrame(known.select(list(keys))), on=list(keys), how="anti", maintain_order="left")
    return fresh.to_arrow().cast(rows.schema)
