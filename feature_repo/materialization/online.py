"""One view of the online store as Arrow tables, with the store's own methods."""

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from feature_repo.materialization.sources import ViewSource
from feature_repo.stores.plan import Chunk, Plan, read_chunks

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["OnlineView"]


class OnlineView:
    """Reads and writes a view's rows.

    Args:
        store: On the view's project.
        source: The view.
    """

    def __init__(self, store: "FeatureStore", source: ViewSource) -> None:
        self._config = store.config
        self._inner: Any = store._get_provider().online_store
        self._source = source

    def write(self, table: pa.Table) -> int:
        """Write rows over those that are not newer.

        Args:
            table: Key, features, ``event_time`` and, where the source has it, ``ingested_at``.

        Returns:
            Number of rows that changed.
        """
        return int(self._inner.write_table(self._config, self._source.view, table))

    def written(self, planned: Plan, first: int = 0) -> Iterator[tuple[Chunk, int]]:
        """Write the chunks of a plan, here or on the cluster that the configuration names; one after the other.

        Args:
            planned: Of this view.
            first: Number of the chunk to begin with.

        Returns:
            Each chunk, once it and all before it are written, and how many of its rows changed.
        """
        if self._config.batch_engine.type.endswith(".RayChunkedComputeEngine"):
            from feature_repo.stores.ray_engine import chunks_on_ray

            address = self._config.batch_engine.ray_address
            for chunk, write in chunks_on_ray(self._config, self._inner, self._source.view, planned, address, first):
                yield chunk, write()
            return
        for chunk, table in read_chunks(planned, first):
            changed = self.write(table)
            del table
            yield chunk, changed

    def read(self, ids: Sequence[str], now: datetime) -> pa.Table:
        """Rows as a service gets them.

        Args:
            ids: Keys.
            now: The moment for which the view's TTL is applied.

        Returns:
            The features and ``event_time``, in the order of the ids; nulls where there is no row.
        """
        try:
            return self._inner.read_table(self._config, self._source.view, list(ids), now=now)
        except sqlite3.OperationalError:  # the store's file is gone, and its tables with it
            return self._nothing(len(ids))

    def _nothing(self, rows: int) -> pa.Table:
        columns = {name: pa.nulls(rows) for name in self._source.features}
        return pa.table({**columns, "event_time": pa.nulls(rows, pa.timestamp("us", "UTC"))})
