"""An online store in one SQLite file: one row per entity, and the newest stays whatever order rows come in.

Feast's own SQLite store keeps a row per feature, overwrites newer values by older ones, rounds event times to the
second, and does not look at the TTL when it reads.
"""

import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from feast import Entity, FeatureView, RepoConfig
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig

from feature_repo.stores.columnar import ColumnarOnlineStore
from feature_repo.stores.rows import ABSENT, Fetched, PackedRows, table_name

__all__ = ["ONLINE_STORE_TYPE", "NewestSqliteOnlineStore", "NewestSqliteOnlineStoreConfig"]

ONLINE_STORE_TYPE: Final = "feature_repo.stores.sqlite.NewestSqliteOnlineStore"
"""How Feast's configuration names the store below."""

_PATIENCE_SECONDS = 60.0
_KEYS_AT_ONCE = 30_000  # SQLite takes at most 32,766 parameters


class NewestSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):  # type: ignore[misc]
    """Same fields as Feast's own; Feast finds this class by its name."""

    type: Literal["feature_repo.stores.sqlite.NewestSqliteOnlineStore"] = ONLINE_STORE_TYPE


class NewestSqliteOnlineStore(ColumnarOnlineStore, SqliteOnlineStore):  # type: ignore[misc]
    """A table per view with the entity's key, event and ingestion time in microseconds, and a column per feature.

    Safe to share by threads: each has a connection of its own, and readers go on reading the last whole state while
    a writer writes (write-ahead log).
    """

    def __init__(self) -> None:
        self._local = threading.local()
        self._open: weakref.WeakSet[_Connection] = weakref.WeakSet()

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Create and drop tables as Feast asks; a new feature becomes a new column."""
        with self._writing(config) as connection:
            for view in tables_to_keep:
                _create(connection, table_name(config, view), [field.name for field in view.features])
            for view in tables_to_delete:
                connection.execute(f"DROP TABLE IF EXISTS {_quoted(table_name(config, view))}")

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Drop the tables of a project; the file stays, for other projects may be in it."""
        self.update(config, tables, [], entities, [], partial=False)
        self.close()

    def close(self) -> None:
        """Close the connections of all threads; the next call opens them again."""
        for connection in list(self._open):
            connection.close()
        self._open.clear()
        self._local = threading.local()

    def store_rows(self, config: RepoConfig, view: FeatureView, rows: PackedRows) -> int:
        """Write rows in one transaction, each only over one that is not newer."""
        table, names = _quoted(table_name(config, view)), [_column(name) for name in rows.columns]
        columns = ["entity_key", "event_us", "known_us", *names]
        changes = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
        values = zip(
            rows.keys.to_pylist(),
            rows.event.tolist(),
            rows.known.tolist(),
            *(column.to_pylist() for column in rows.columns.values()),
            strict=True,
        )
        with self._writing(config) as connection:
            # the file may have been lost since the features were applied
            _create(connection, table_name(config, view), [field.name for field in view.features])
            before = connection.total_changes
            connection.executemany(
                f"INSERT INTO {table} AS old ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}) "
                f"ON CONFLICT (entity_key) DO UPDATE SET {changes} "
                "WHERE (excluded.event_us, excluded.known_us) >= (old.event_us, old.known_us)",
                values,
            )
            return connection.total_changes - before

    def fetch_rows(
        self, config: RepoConfig, view: FeatureView, keys: pa.LargeBinaryArray, features: Sequence[str], times: bool
    ) -> Fetched:
        """Look rows up by key, all of them in one statement."""
        wanted = keys.to_pylist()
        connection = self._get_conn(config)
        # Qualified: SQLite takes a quoted name that is no column for a string, and would answer with the name.
        names = [*map(_column, features), *(["event_us"] if times else []), "entity_key"]
        select = ", ".join(f"stored.{name}" for name in names)
        found: dict[bytes, tuple[Any, ...]] = {}
        for start in range(0, len(wanted), _KEYS_AT_ONCE):
            part = wanted[start : start + _KEYS_AT_ONCE]
            places = ",".join(repeat("?", len(part)))
            query = f"SELECT {select} FROM {_quoted(table_name(config, view))} AS stored WHERE entity_key IN ({places})"
            found.update((row[-1], row) for row in connection.execute(query, part))
        count = len(features)
        nothing = (*repeat(None, count), ABSENT, None)
        rows = [found.get(key, nothing) for key in wanted]
        event = np.fromiter((row[count] for row in rows), np.int64, len(rows)) if times else None
        return Fetched([row[:count] for row in rows], event)

    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        path = self._get_db_path(config)
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None or self._local.path != path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                path, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False, factory=_Connection
            )
            connection.execute("PRAGMA journal_mode=WAL")  # services read on while a materialization writes
            self._local.connection, self._local.path = connection, path
            self._open.add(connection)
        return connection

    @contextmanager
    def _writing(self, config: RepoConfig) -> Iterator[sqlite3.Connection]:
        connection = self._get_conn(config)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


class _Connection(sqlite3.Connection):
    """One that a weak set can hold."""


def _create(connection: sqlite3.Connection, table: str, features: Sequence[str]) -> None:
    there = {row[1] for row in connection.execute(f"PRAGMA table_info({_quoted(table)})")}
    if "feature_name" in there:  # one row per feature, as Feast lays it out: a copy of the offline rows, made anew
        connection.execute(f"DROP TABLE {_quoted(table)}")
        there = set()
    if not there:
        columns = "".join(f", {_column(name)} BLOB" for name in features)
        connection.execute(
            f"CREATE TABLE {_quoted(table)} (entity_key BLOB PRIMARY KEY, event_us INTEGER NOT NULL, "
            f"known_us INTEGER NOT NULL{columns})"
        )
        return
    for name in features:
        if f"f_{name}" not in there:
            connection.execute(f"ALTER TABLE {_quoted(table)} ADD COLUMN {_column(name)} BLOB")


def _column(feature: str) -> str:
    return _quoted(f"f_{feature}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
