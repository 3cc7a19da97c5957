"""A Feast offline store over Parquet files that keeps the knowledge rule.

Feast's own stores look at event times alone unless asked otherwise, so that a back-filled value appears in training
rows of a time at which nobody knew it; two of them drop or invent rows besides. This one reads each column it needs
once, searches on plain integers (:mod:`feature_repo.stores.search`) and moves the features with one take.
"""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast import FeatureView, RepoConfig
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel
from feast.saved_dataset import SavedDatasetStorage

from contracts.errors import BadInput
from contracts.files import file_written_whole
from feature_repo.raw_tables import microseconds
from feature_repo.stores.join import SourceJoin
from feature_repo.stores.search import gather, instants, newest_rows
from feature_repo.stores.source import source_file

__all__ = [
    "OFFLINE_STORE_TYPE",
    "AsOfOfflineStore",
    "AsOfOfflineStoreConfig",
    "AsOfRetrievalJob",
]

OFFLINE_STORE_TYPE: Final = "feature_repo.stores.asof.AsOfOfflineStore"
"""How Feast's configuration names the store below."""


class AsOfOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Nothing to configure; Feast finds this class by its name."""

    type: Literal["feature_repo.stores.asof.AsOfOfflineStore"] = OFFLINE_STORE_TYPE


class AsOfRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """A join that runs when its table is asked for; on-demand features are added by Feast's base class.

    Args:
        compute: Gives the table.
        repo_path: What relative paths of :meth:`persist` are relative to.
        full_feature_names: Whether columns are named ``view__feature``.
        on_demand: On-demand views to compute from the table.
        metadata: What was asked for.
    """

    def __init__(
        self,
        compute: Callable[[], pa.Table],
        repo_path: str | Path | None,
        full_feature_names: bool = False,
        on_demand: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        super().__init__()
        self._compute = compute
        self._repo_path = repo_path
        self._full_feature_names = full_feature_names
        self._on_demand = list(on_demand)
        self._metadata = metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._compute()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._compute().to_pandas()

    @property
    def full_feature_names(self) -> bool:
        """Whether columns are named ``view__feature``."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Views that Feast computes from the table."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._metadata

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the table to the Parquet file of a saved data set, whole or not at all.

        Raises:
            SavedDatasetLocationAlreadyExists: There is such a file and it may not be replaced.
        """
        path = source_file(storage.to_data_source(), self._repo_path, must_exist=False)
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=str(path))
        _write_whole(self.to_arrow(timeout=timeout), path)


class AsOfOfflineStore(OfflineStore):  # type: ignore[misc]
    """Point-in-time joins over Parquet ``FileSource``s; a row counts once it had happened and was known."""

    supports_filter_by_created_timestamp = True  # and never does otherwise

    @classmethod
    def joined(cls, config: RepoConfig, join: SourceJoin, keys: pa.Table, moments: Any) -> list[pa.ChunkedArray]:
        """The features of one view for some requests; a subclass may find them elsewhere than in this process.

        Args:
            config: Feast's configuration.
            join: Which file and columns.
            keys: The entities asked for, ``[n]``.
            moments: When, in microseconds since 1970, ``[n]``.

        Returns:
            A column per feature of the join, ``[n]`` each.
        """
        columns: list[pa.ChunkedArray] = join.of(keys, moments).columns
        return columns

    @classmethod
    def get_historical_features(
        cls,
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = True,
        **_window: datetime,
    ) -> RetrievalJob:
        """The value of each feature at each row's instant; see Feast's documentation of the arguments.

        Returns:
            A job whose table has the rows of ``entity_df`` in their order, duplicates included, its columns, and a
            column per feature: null where no row of the source counts.

        Raises:
            BadInput: The entities are not a data frame, or have no column of some key.
            NotFound: A source's file is gone.
        """
        if not isinstance(entity_df, pd.DataFrame):
            raise BadInput(
                "entities of get_historical_features",
                found="SQL" if isinstance(entity_df, str) else "none",
                expected="a data frame with the entities' keys and the instants",
                next_step="pass entity_df=pandas.DataFrame(...)",
            )
        moment = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        request = _request_table(entity_df, moment)
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        wanted = {view.projection.name_to_use(): _features_of(view, feature_refs) for view in feature_views}

        def compute() -> pa.Table:
            table = request
            moments = instants(request[moment])
            for view in feature_views:
                features = wanted[view.projection.name_to_use()]
                join = _join_of(config, view, features, request.column_names)
                columns = cls.joined(config, join, request.select(list(dict.fromkeys(join.asked))), moments)
                prefix = f"{view.projection.name_alias or view.name}__" if full_feature_names else ""
                for feature, column in zip(features, columns, strict=True):
                    table = table.append_column(prefix + feature, column)
            return table

        bounds = pc.min_max(request[moment].cast(pa.timestamp("us", "UTC"), safe=False)).as_py()
        metadata = RetrievalMetadata(
            features=list(feature_refs),
            keys=[name for name in entity_df.columns if name != moment],
            min_event_timestamp=bounds["min"],
            max_event_timestamp=bounds["max"],
        )
        return AsOfRetrievalJob(compute, config.repo_path, full_feature_names, on_demand, metadata)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest row of each entity among those that happened and became known between two instants, inclusive."""
        columns = [*join_key_columns, *feature_name_columns, timestamp_field, created_timestamp_column]

        def compute() -> pa.Table:
            table = _read(config, data_source, columns)
            rows = newest_rows(
                [table[name] for name in join_key_columns if name in table.column_names],
                instants(table[timestamp_field]),
                instants(table[created_timestamp_column]) if created_timestamp_column else None,
                microseconds(_aware(start_date)),
                microseconds(_aware(end_date)),
            )
            return _taken(table, rows)

        return AsOfRetrievalJob(compute, config.repo_path)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All rows that happened and became known between two instants, inclusive, in file order."""
        columns = [*join_key_columns, *feature_name_columns, timestamp_field, created_timestamp_column]

        def compute() -> pa.Table:
            table = _read(config, data_source, columns)
            arrival = instants(table[timestamp_field])
            if created_timestamp_column:
                arrival = np.maximum(arrival, instants(table[created_timestamp_column]))
            inside = np.ones(len(arrival), np.bool_)
            if start_date is not None:
                inside &= arrival >= microseconds(_aware(start_date))
            if end_date is not None:
                inside &= arrival <= microseconds(_aware(end_date))
            return table if inside.all() else table.filter(pa.array(inside))

        return AsOfRetrievalJob(compute, config.repo_path)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Refused: the files are those of a snapshot, which never changes.

        Feast asks for it in ``write_to_offline_store`` and in ``push`` to an offline store.

        Raises:
            BadInput: Always.
        """
        raise BadInput(
            f"rows for {feature_view.name}",
            found="a write into the offline store",
            expected="none: a snapshot's files never change",
            next_step="send rows with `backbeat features push TABLE FILE`; `backbeat features merge` makes the next "
            "snapshot of them",
        )

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Write a log of served features as one more Parquet file of the destination's directory."""
        table = pq.read_table(data) if isinstance(data, Path) else data
        _write_whole(table, Path(logging_config.destination.path) / f"{uuid.uuid4().hex}.parquet")


def _request_table(entity_df: pd.DataFrame, moment: str) -> pa.Table:
    """Entities as Arrow; instants in words or of several time zones as UTC, as Feast's stores take them."""
    column = entity_df[moment].infer_objects()
    if not pd.api.types.is_datetime64_any_dtype(column):
        column = pd.to_datetime(column, utc=True, format="ISO8601")
    elif column.dt.tz is None:
        column = column.dt.tz_localize("UTC")
    return pa.Table.from_pandas(entity_df.assign(**{moment: column}), preserve_index=False).replace_schema_metadata()


def _features_of(view: FeatureView, refs: Sequence[str]) -> list[str]:
    name = view.projection.name_to_use()
    return [feature for owner, _, feature in (ref.partition(":") for ref in refs) if owner == name]


def _join_of(config: RepoConfig, view: FeatureView, features: Sequence[str], columns: Sequence[str]) -> SourceJoin:
    """What is to be joined for a view, by columns of its file and of a request that has some columns.

    Raises:
        BadInput: The request lacks one of the view's keys.
    """
    source = view.batch_source
    stored = {new: old for old, new in (source.field_mapping or {}).items()}
    join_keys = {
        column.name: view.projection.join_key_map.get(column.name, column.name) for column in view.entity_columns
    }
    join_keys.pop(DUMMY_ENTITY_ID, None)
    for key, asked in join_keys.items():
        if asked not in columns:
            raise BadInput(
                f"entities for {view.name}",
                found=f"columns {', '.join(columns)}",
                expected=f"a column {asked} with its {key}",
                next_step=f"add {asked} to the entity data frame",
            )
    return SourceJoin(
        path=source_file(source, config.repo_path),
        keys=tuple(stored.get(key, key) for key in join_keys),
        asked=tuple(join_keys.values()),
        event_time=source.timestamp_field,
        known=source.created_timestamp_column or None,
        features=tuple(stored.get(feature, feature) for feature in features),
        ttl=view.ttl,
    )


def _read(config: RepoConfig, source: DataSource, columns: Sequence[str | None]) -> pa.Table:
    wanted = [name for name in dict.fromkeys(columns) if name and name != DUMMY_ENTITY_ID]
    return pq.read_table(source_file(source, config.repo_path), columns=wanted)


def _taken(table: pa.Table, rows: Any) -> pa.Table:
    return pa.table({name: gather(table[name], rows) for name in table.column_names})


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _write_whole(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with file_written_whole(path) as scratch:
        pq.write_table(table, scratch)
