"""The as-of offline store whose joins run as tasks on a Ray cluster.

A request is cut into ranges of keys. Each task reads from the file what lies in its range, which in a file sorted by
key are a few row groups, and runs the same search as the embedded store; this process puts the rows back in order.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from feast import RepoConfig
from feast.repo_config import FeastConfigBaseModel
from pydantic import PositiveInt

from contracts.cluster import join_cluster
from feature_repo.stores.asof import AsOfOfflineStore
from feature_repo.stores.join import SourceJoin, joined_range, key_ranges
from feature_repo.stores.search import gather

__all__ = ["RAY_OFFLINE_STORE_TYPE", "RayAsOfOfflineStore", "RayAsOfOfflineStoreConfig"]

RAY_OFFLINE_STORE_TYPE: Final = "feature_repo.stores.ray_offline.RayAsOfOfflineStore"
"""How Feast's configuration names the store below."""

_BLOCK_ROWS = 1 << 19
"""Requests that are cut and put back in order together: so many lists of 4,000 numbers fit one Arrow array."""


class RayAsOfOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Settings of the store; Feast finds this class by its name."""

    type: Literal["feature_repo.stores.ray_offline.RayAsOfOfflineStore"] = RAY_OFFLINE_STORE_TYPE

    ray_address: str | None = None
    """The cluster; one on this machine if None."""

    rows_per_task: PositiveInt = 50_000
    """Requests that one task answers."""


class RayAsOfOfflineStore(AsOfOfflineStore):
    """Point-in-time joins as tasks on Ray. Source files must lie where the nodes can read them."""

    @classmethod
    def joined(cls, config: RepoConfig, join: SourceJoin, keys: pa.Table, moments: Any) -> list[pa.ChunkedArray]:
        """As the embedded store, some requests in each task."""
        cluster = join_cluster(config.offline_store.ray_address)
        blocks = []
        for begin in range(0, max(len(moments), 1), _BLOCK_ROWS):
            block, when = keys.slice(begin, _BLOCK_ROWS), moments[begin : begin + _BLOCK_ROWS]
            parts = list(key_ranges(block, len(when), config.offline_store.rows_per_task))

            def tasks(block: pa.Table = block, when: Any = when, parts: Any = parts) -> Iterator[tuple[Any, ...]]:
                return ((join, block.take(pa.array(rows)), when[rows]) for rows in parts)

            found = pa.concat_tables(cluster.each(joined_range, tasks()))
            place = np.argsort(np.concatenate(parts))
            blocks.append([gather(column, place) for column in found.columns])
        return [_chunked(list(pieces)) for pieces in zip(*blocks, strict=True)]


def _chunked(pieces: list[Any]) -> pa.ChunkedArray:
    chunks = [chunk for each in pieces for chunk in (each.chunks if isinstance(each, pa.ChunkedArray) else [each])]
    return pa.chunked_array(chunks, pieces[0].type)
