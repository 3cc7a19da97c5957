"""Feast's SQLite online store, made to keep the newest event whatever order events are written in."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from feast import Entity, FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.utils import to_naive_utc

from feature_repo.raw_tables import microseconds

__all__ = ["ONLINE_STORE_TYPE", "NewestSqliteOnlineStore", "NewestSqliteOnlineStoreConfig"]

ONLINE_STORE_TYPE: Final = "feature_repo.stores.sqlite.NewestSqliteOnlineStore"
"""How Feast's configuration names the store below."""


class NewestSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):  # type: ignore[misc]
    """Same fields as Feast's own; Feast finds this class by its name."""

    type: Literal["feature_repo.stores.sqlite.NewestSqliteOnlineStore"] = ONLINE_STORE_TYPE


class NewestSqliteOnlineStore(SqliteOnlineStore):  # type: ignore[misc]
    """Writes a row only over one that is not newer.

    Feast's store replaces whatever is there, and keeps event times to the second. This one adds a column with
    the exact time and compares it in the statement that writes, as Feast's Redis store does by itself.
    """

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Create and drop tables as Feast asks."""
        super().update(config, tables_to_delete, tables_to_keep, entities_to_delete, entities_to_keep, partial)
        connection = self._get_conn(config)
        connection.execute("PRAGMA journal_mode=WAL")  # services read on while a materialization writes
        for view in tables_to_keep:
            table = _table(config, view)
            columns = {row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')}
            if "event_us" not in columns:
                connection.execute(f'ALTER TABLE "{table}" ADD COLUMN event_us INTEGER NOT NULL DEFAULT 0')

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows in one transaction, leaving newer ones as they are.

        Args:
            config: Feast's configuration.
            table: The view whose rows they are.
            data: Entity key, feature values, event time and creation time of each row.
            progress: Told the number of rows at the end.
        """
        self.update(config, [], [table], [], [], partial=True)  # the file may have been lost since the features applied
        rows = []
        for key, values, event_time, _created in data:
            packed_key = serialize_entity_key(
                key, entity_key_serialization_version=config.entity_key_serialization_version
            )
            moment = to_naive_utc(event_time)
            exact = microseconds(moment.replace(tzinfo=UTC))
            rows += [(packed_key, name, value.SerializeToString(), moment, exact) for name, value in values.items()]
        with self._get_conn(config) as connection:
            connection.executemany(
                f'INSERT INTO "{_table(config, table)}" AS old (entity_key, feature_name, value, event_ts, event_us) '
                "VALUES (?, ?, ?, ?, ?) ON CONFLICT (entity_key, feature_name) DO UPDATE SET "
                "value = excluded.value, event_ts = excluded.event_ts, event_us = excluded.event_us "
                "WHERE excluded.event_us >= old.event_us",
                rows,
            )
        if progress:
            progress(len(data))


def _table(config: RepoConfig, view: FeatureView) -> str:
    versioned = config.registry.enable_online_feature_view_versioning
    return str(compute_table_id(config.project, view, versioned))
