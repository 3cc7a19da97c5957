"""A Feast compute engine that materializes in chunks of bounded memory, whole columns at a time.

Feast's local engine reads the whole source, and turns every value into a Python object. With this one, plain
``FeatureStore.materialize`` goes through :mod:`feature_repo.stores.plan` into ``write_table`` of our online stores;
other stores get the rows in Feast's way, chunk by chunk. Views that Feast has to transform are left to its engine.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Literal

import pyarrow as pa
from feast import FeatureView
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from feast.utils import _convert_arrow_to_proto

from contracts.tables import TIMESTAMP
from feature_repo.stores.columnar import ColumnarOnlineStore
from feature_repo.stores.plan import Chunk, Plan, ahead, plan, read_chunks
from feature_repo.stores.rows import pack_table
from feature_repo.stores.source import source_file

__all__ = [
    "CHUNK_BYTES",
    "ENGINE_TYPE",
    "ChunkedComputeEngine",
    "ChunkedComputeEngineConfig",
    "plan_view",
    "view_rows",
]

ENGINE_TYPE: Final = "feature_repo.stores.engine.ChunkedComputeEngine"
"""How ``batch_engine`` in Feast's configuration names the engine below."""

CHUNK_BYTES = 16 * 1024 * 1024  # so small that reading, packing and writing overlap from early on


class ChunkedComputeEngineConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Settings of the engine; Feast finds this class by its name."""

    type: Literal["feature_repo.stores.engine.ChunkedComputeEngine"] = ENGINE_TYPE

    chunk_bytes: int = CHUNK_BYTES
    """About how much memory the rows of one chunk may take."""


class ChunkedComputeEngine(LocalComputeEngine):  # type: ignore[misc]
    """Writes the newest row of each entity that became known in the window, a chunk at a time.

    Args:
        chunk_bytes: About how much memory the rows of one chunk may take.
        **feast: What Feast hands every engine.
    """

    def __init__(self, chunk_bytes: int = CHUNK_BYTES, **feast: Any) -> None:
        feast.pop("type", None)
        super().__init__(**feast)
        self._chunk_bytes = chunk_bytes

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **options: Any
    ) -> LocalMaterializationJob:
        view = task.feature_view
        if _is_transformed(view):
            return super()._materialize_one(registry, task, **options)
        job_id = f"{view.name}-{task.start_time}-{task.end_time}"
        try:
            # Feast's window includes its start
            start = None if task.disable_event_timestamp else _aware(task.start_time) - timedelta(microseconds=1)
            chosen = plan_view(self.repo_config, view, start, _aware(task.end_time), self._chunk_bytes)
            if view.online and self.online_store is not None:
                bar = task.tqdm_builder(len(chosen.rows)) if task.tqdm_builder else None
                for chunk, write in ahead(self._writers(view, chosen)):
                    write()
                    if bar is not None:
                        bar.update(chunk.rows)
                if bar is not None:
                    bar.close()
        except Exception as error:  # noqa: BLE001 - Feast raises it again from the job
            return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.ERROR, error=error)
        return LocalMaterializationJob(job_id=job_id, status=MaterializationJobStatus.SUCCEEDED)

    def _writers(self, view: FeatureView, plan: Plan) -> Iterator[tuple[Chunk, Callable[[], Any]]]:
        """What is left to do for each chunk once it is read and packed."""
        store, config = self.online_store, self.repo_config
        columnar = isinstance(store, ColumnarOnlineStore) and len(view.entity_columns) == 1
        for chunk, table in read_chunks(plan):
            rows = view_rows(view, table, plan)
            if columnar:
                yield chunk, partial(store.store_rows, config, view, pack_table(view, rows))
            else:
                yield chunk, partial(self._write_as_feast_does, view, rows)

    def _write_as_feast_does(self, view: FeatureView, table: pa.Table) -> None:
        config, source = self.repo_config, view.batch_source
        names = {"event_time": source.timestamp_field, "ingested_at": source.created_timestamp_column}
        table = table.rename_columns([names.get(name) or name for name in table.column_names]).combine_chunks()
        keys = {column.name: column.dtype.to_value_type() for column in view.entity_columns}
        for batch in table.to_batches(max_chunksize=config.materialization_config.online_write_batch_size or 10_000):
            self.online_store.online_write_batch(
                config, view, _convert_arrow_to_proto(batch, view, keys), lambda _: None
            )


def plan_view(
    config: Any, view: FeatureView, start: datetime | None, end: datetime, chunk_bytes: int = CHUNK_BYTES
) -> Plan:
    """Plan the materialization of a Feast view; see :func:`feature_repo.stores.plan.plan`."""
    source = view.batch_source
    stored = {new: old for old, new in (source.field_mapping or {}).items()}
    return plan(
        source_file(source, config.repo_path),
        [stored.get(column.name, column.name) for column in view.entity_columns],
        start,
        end,
        chunk_bytes,
        event_time=source.timestamp_field,
        known=source.created_timestamp_column or None,
    )


def view_rows(view: FeatureView, table: pa.Table, plan: Plan) -> pa.Table:
    """Rows of a plan as ``write_table`` takes them: keys, features, ``event_time``, ``ingested_at``; naive is UTC."""
    stored = {new: old for old, new in (view.batch_source.field_mapping or {}).items()}
    names = [column.name for column in view.entity_columns] + [field.name for field in view.features]
    columns = {name: table[stored.get(name, name)] for name in names}
    times = {"event_time": plan.event_time, "ingested_at": plan.known}
    return pa.table(columns | {name: _utc(table[column]) for name, column in times.items() if column})


def _utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if column.type.tz is None:
        column = column.cast(pa.timestamp(column.type.unit, "UTC"))
    return column.cast(TIMESTAMP, safe=False)


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _is_transformed(view: FeatureView) -> bool:
    return bool(
        getattr(view, "aggregations", None)
        or getattr(view, "feature_transformation", None)
        or getattr(view, "source_views", None)
    )
