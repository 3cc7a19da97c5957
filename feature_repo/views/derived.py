"""The derived views of a snapshot as files: what was known about an entity from each instant on at which it changed."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.console import progress
from contracts.files import file_written_whole
from contracts.home import Home
from contracts.snapshot import Snapshot
from feature_repo.offline import read_table

__all__ = ["derived_directory", "ensure_derived"]

_REVISION = "r2"
"""Raise it when the same tables would give other rows, so that homes compute them again."""

_GROUP_ROWS = {True: 16_384, False: 65_536}
"""Whether a view has lists → rows of a group: who reads in chunks holds at least one of them."""


def derived_directory(home: Home, snapshot_id: str) -> Path:
    """Where a snapshot's derived views are; they can be computed again from the snapshot."""
    return home.cache / "features" / snapshot_id / _REVISION


def ensure_derived(home: Home, snapshot: Snapshot) -> tuple[Path, bool]:
    """Compute the derived views that are not there.

    The directory is there once all of its views are. Whatever was computed before an interruption is kept.

    Args:
        home: Where the snapshot is; the caller holds its writer lock.
        snapshot: Whose views.

    Returns:
        Their directory, and whether any was computed now.

    Raises:
        NotFound: A table that a view is computed from is gone.
        StorageFull: The disk ran out of space.
    """
    from feature_repo.views.builder import BuildContext, schema_of_view
    from feature_repo.views.builders import builders_of
    from feature_repo.views.catalogue import views_of  # which itself asks for the directory above

    target = derived_directory(home, snapshot.id)
    building = target if target.exists() else target.with_name(f"{_REVISION}.building")
    views = views_of(home, snapshot)
    missing = {
        name: builder
        for name, builder in builders_of(home, snapshot).items()
        if not (building / f"{name}.parquet").exists()
    }
    if missing:
        building.mkdir(parents=True, exist_ok=True)
        for remains in building.glob(".*.partial"):  # of a process that was killed; the caller's lock keeps others out
            remains.unlink(missing_ok=True)
        context = BuildContext(snapshot, home.centres)
        with progress("computing features of views", len(missing)) as advance:
            for name, builder in missing.items():
                tables = {table: read_table(home, snapshot, table) for table in builder.needs}
                _write(building / f"{name}.parquet", schema_of_view(views[name]), builder.build(tables, context))
                advance(1, name)
    if building != target:
        building.mkdir(parents=True, exist_ok=True)
        building.rename(target)
    return target, bool(missing) or building != target


def _write(path: Path, schema: pa.Schema, chunks: Iterator[pa.Table]) -> None:
    group = _GROUP_ROWS[any(pa.types.is_list(kind) for kind in schema.types)]
    with file_written_whole(path) as scratch, pq.ParquetWriter(scratch, schema, compression="zstd") as writer:
        for chunk in chunks:
            writer.write_table(chunk, row_group_size=group)
