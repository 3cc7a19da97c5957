"""A snapshot's tables, read when they are looked at and compared with what was ingested."""

from collections.abc import Callable, Iterator, Mapping

import pyarrow as pa

from contracts.errors import BadInput, Conflict, NotFound
from contracts.home import Home
from contracts.reports import table_stamps
from contracts.snapshot import Snapshot, table_path
from contracts.tables import EMBEDDING_PREFIX
from feature_repo.offline import content_hash, read_snapshot, read_table

__all__ = ["JudgedTables"]


class JudgedTables(Mapping[str, pa.Table]):
    """Table → its rows. Of the embedding tables only the last one asked for is kept in memory.

    Args:
        home: Where the snapshot is.
        snapshot: Whose tables.

    Raises:
        NotFound: (on look-up) A file is gone.
        BadInput: (on look-up) A file is damaged, or its content is not what was ingested.
        Conflict: (on look-up) The file was replaced since this object was made.
    """

    def __init__(self, home: Home, snapshot: Snapshot) -> None:
        self.stamps = table_stamps(home, snapshot.id, snapshot.tables)
        """Table → stamp of its file when this object was made."""
        self.on_read: Callable[[str], None] = lambda _: None
        """Told the name of a table when it has been read and checked for the first time."""
        self._home, self._snapshot = home, snapshot
        self._verified: set[str] = set()
        self._rows: dict[str, pa.Table] = {}
        self._vectors: tuple[str, pa.Table] | None = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._snapshot.tables)

    def __len__(self) -> int:
        return len(self._snapshot.tables)

    def __contains__(self, name: object) -> bool:
        return name in self._snapshot.tables

    def __getitem__(self, name: str) -> pa.Table:
        if name not in self._snapshot.tables:
            raise KeyError(name)
        if name in self._rows:
            return self._rows[name]
        if self._vectors is not None and self._vectors[0] == name:
            return self._vectors[1]
        self._vectors = None  # before the next one is read, which may be as large
        pa.default_memory_pool().release_unused()
        table = self._read(name)
        if name.startswith(EMBEDDING_PREFIX):
            self._vectors = name, table
        else:
            self._rows[name] = table
        return table

    def close(self) -> None:
        """Look at the tables that nobody asked for, and at whether any file was replaced meanwhile.

        Raises:
            Conflict: One was.
        """
        for name in self._snapshot.tables:
            if name not in self._verified:
                self[name]
        self._rows.clear()
        self._vectors = None
        self._require_unchanged()
        if read_snapshot(self._home, self._snapshot.id) != self._snapshot:
            raise self._changed(["the manifest"])

    def _read(self, name: str) -> pa.Table:
        try:
            table = read_table(self._home, self._snapshot, name)
            if name not in self._verified:
                self._verify(name, table)
        except (BadInput, NotFound):
            self._require_unchanged()  # a file that is being replaced looks damaged
            raise
        return table

    def _verify(self, name: str, table: pa.Table) -> None:
        found, ingested = content_hash(table), self._snapshot.tables[name].sha256
        if found != ingested:
            path = table_path(self._home, self._snapshot.id, name)
            raise BadInput(
                f"table {name!r} of snapshot {self._snapshot.id}",
                found=f"{path} with content {found[:12]}…, not what was ingested",
                expected=f"content {ingested[:12]}…, as in the snapshot's manifest",
                next_step="remove that file and ingest the data again",
            )
        self._verified.add(name)
        self.on_read(name)

    def _require_unchanged(self) -> None:
        now = table_stamps(self._home, self._snapshot.id, self.stamps)
        changed = [name for name, stamp in self.stamps.items() if now[name] != stamp]
        if changed:
            raise self._changed(changed)

    def _changed(self, what: list[str]) -> Conflict:
        return Conflict(
            f"snapshot {self._snapshot.id}",
            found=f"{', '.join(what)} changed while it was being validated",
            expected="files that stay as they are until the report is written; nothing was stored",
            next_step="end what writes below the home's offline directory, then run `backbeat validate run`",
        )
