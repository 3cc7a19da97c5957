"""The chunked compute engine whose chunks are tasks on a Ray cluster.

This process chooses the rows, which takes keys and times alone. Each task reads one chunk, packs it and writes it to
the online store; where that is a file on this machine, it hands the packed rows back and this process writes them.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, Literal

from feast import FeatureView, RepoConfig
from feast.infra.online_stores.helpers import get_online_store_from_config

from contracts.cluster import join_cluster
from feature_repo.stores.columnar import ColumnarOnlineStore
from feature_repo.stores.engine import ChunkedComputeEngine, ChunkedComputeEngineConfig, view_rows
from feature_repo.stores.plan import Chunk, Plan, read_chunk
from feature_repo.stores.rows import PackedRows, pack_table
from feature_repo.stores.sqlite import NewestSqliteOnlineStore

__all__ = [
    "RAY_ENGINE_TYPE",
    "RayChunkedComputeEngine",
    "RayChunkedComputeEngineConfig",
    "chunks_on_ray",
    "packed_chunk",
    "stored_chunk",
]

RAY_ENGINE_TYPE: Final = "feature_repo.stores.ray_engine.RayChunkedComputeEngine"
"""How ``batch_engine`` in Feast's configuration names the engine below."""

Work = tuple[RepoConfig, FeatureView, Plan]


class RayChunkedComputeEngineConfig(ChunkedComputeEngineConfig):
    """Settings of the engine; Feast finds this class by its name."""

    type: Literal["feature_repo.stores.ray_engine.RayChunkedComputeEngine"] = RAY_ENGINE_TYPE  # type: ignore[assignment]

    ray_address: str | None = None
    """The cluster; one on this machine if None."""


class RayChunkedComputeEngine(ChunkedComputeEngine):
    """Writes the chunks of a plan from the nodes of a cluster, which must be able to read the view's file.

    Views that only Feast itself can write, with several keys or into a store of its own, are written from here.

    Args:
        ray_address: The cluster; one on this machine if None.
        **chunked: As of the embedded engine.
    """

    def __init__(self, ray_address: str | None = None, **chunked: Any) -> None:
        super().__init__(**chunked)
        self._ray_address = ray_address

    def _writers(self, view: FeatureView, plan: Plan) -> Iterator[tuple[Chunk, Callable[[], Any]]]:
        if isinstance(self.online_store, ColumnarOnlineStore) and len(view.entity_columns) == 1:
            if plan.chunks:
                join_cluster(self._ray_address)  # here, in the main thread, as Ray wants it
            return chunks_on_ray(self.repo_config, self.online_store, view, plan, self._ray_address)
        return super()._writers(view, plan)


def chunks_on_ray(
    config: RepoConfig, store: ColumnarOnlineStore, view: FeatureView, plan: Plan, address: str | None, first: int = 0
) -> Iterator[tuple[Chunk, Callable[[], int]]]:
    """The chunks of a plan in order, and what is left to do for each here: called, it says how many rows changed.

    A task whose worker dies is started again: writing a chunk twice leaves what writing it once does. Chunks after
    the one that is given may be written already.

    Args:
        config: Feast's configuration; its servers must be reachable from the nodes.
        store: The online store that it names.
        view: Whose rows.
        plan: Its file must be readable from the nodes.
        address: The cluster; one on this machine if None.
        first: Number of the chunk to begin with.
    """
    left = plan.chunks[first:]
    if not left:
        return
    cluster = join_cluster(address)
    work = cluster.share((config, view, plan))
    tasks = ((work, chunk.number) for chunk in left)
    if isinstance(store, NewestSqliteOnlineStore):
        for chunk, rows in zip(left, cluster.each(packed_chunk, tasks), strict=True):
            yield chunk, partial(store.store_rows, config, view, rows)
    else:
        for chunk, changed in zip(left, cluster.each(stored_chunk, tasks), strict=True):
            yield chunk, partial(int, changed)


def stored_chunk(work: Work, number: int) -> int:
    """Read a chunk and write it to the online store; returns how many rows changed."""
    config, view, plan = work
    return _store(config).write_table(config, view, view_rows(view, read_chunk(plan, number), plan))


def packed_chunk(work: Work, number: int) -> PackedRows:
    """Read a chunk and pack it, for a store that only one process writes."""
    _, view, plan = work
    return pack_table(view, view_rows(view, read_chunk(plan, number), plan))


_STORES: dict[str, ColumnarOnlineStore] = {}
"""Configuration → the one client of it in this process, however many chunks it writes."""


def _store(config: RepoConfig) -> ColumnarOnlineStore:
    name = config.online_store.model_dump_json()
    if name not in _STORES:
        _STORES[name] = get_online_store_from_config(config.online_store)
    return _STORES[name]
