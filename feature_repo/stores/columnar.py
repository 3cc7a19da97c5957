"""What our online stores share: Feast's own methods, and beside them three that take and give whole columns.

Feast hands an online store one Python object per value, and gets one back. That is kept, so that the plain Feast SDK
works, but it is not the way that materialization and serving take.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import from_feast_to_pyarrow_type

from contracts.errors import BadInput
from contracts.tables import TIMESTAMP
from feature_repo.stores.packing import unpack, vector_rows
from feature_repo.stores.rows import (
    EVENT_TIME,
    FeastRow,
    Fetched,
    PackedRows,
    id_array,
    instant,
    key_column,
    known_features,
    oldest_allowed,
    pack_messages,
    pack_table,
    packed_ids,
)

__all__ = ["ColumnarOnlineStore"]


class ColumnarOnlineStore(OnlineStore):  # type: ignore[misc]
    """An online store that is written and read by columns; a subclass says how rows are stored and fetched."""

    @abstractmethod
    def store_rows(self, config: RepoConfig, view: FeatureView, rows: PackedRows) -> int:
        """Write rows, each only over one that is not newer; return how many were written."""

    @abstractmethod
    def fetch_rows(
        self, config: RepoConfig, view: FeatureView, keys: pa.LargeBinaryArray, features: Sequence[str], times: bool
    ) -> Fetched:
        """The stored rows of some serialized entity keys, with event times or without."""

    def write_table(self, config: RepoConfig, view: FeatureView, table: pa.Table) -> int:
        """Write rows; where there is one of the entity already, the newer by (event time, ingestion time) stays.

        A row with equal times replaces what is there: a correction. No reader sees half a row, and rows of one call
        to SQLite appear together.

        Args:
            config: Feast's configuration.
            view: Whose rows.
            table: The key, the features, ``event_time`` and, if recorded, ``ingested_at``.

        Returns:
            Number of rows that were written: those not older than what was there.

        Raises:
            BadInput: A column is missing, has another type or another width, or a time is naive or null.
        """
        return self.store_rows(config, view, pack_table(view, table)) if table.num_rows else 0

    def read_table(
        self,
        config: RepoConfig,
        view: FeatureView,
        ids: Sequence[Any] | pa.Array,
        features: Sequence[str] | None = None,
        now: datetime | None = None,
    ) -> pa.Table:
        """The newest row of each entity.

        Args:
            config: Feast's configuration.
            view: Whose rows.
            ids: Entities, ``[n]``; order and duplicates are kept.
            features: Which features; all if None.
            now: Moment at which a row must not be older than the view's TTL; the present if None.

        Returns:
            Key, features and ``event_time``, ``[n]``; nulls where there is no row, or an expired one.

        Raises:
            NotFound: The view has no such feature.
        """
        names = list(features) if features is not None else [field.name for field in view.features]
        types = {field.name: from_feast_to_pyarrow_type(field.dtype) for field in view.features}
        known_features(view, names)
        rows, event, there = self._valid(config, view, packed_ids(view, ids), names, now)
        columns = {name: unpack([row[at] for row in rows], types[name]) for at, name in enumerate(names)}
        moments = pa.array(event, pa.int64(), mask=~there).cast(TIMESTAMP)
        return pa.table({key_column(view).name: id_array(view, ids), **columns, EVENT_TIME: moments})

    def read_matrix(
        self,
        config: RepoConfig,
        view: FeatureView,
        ids: Sequence[Any] | pa.Array,
        feature: str | Sequence[str],
        width: int,
        now: datetime | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Vectors of entities as one array.

        Args:
            config: Feast's configuration.
            view: Whose vectors.
            ids: Entities, ``[n]``; order and duplicates are kept.
            feature: The feature; several of equal width come beside each other.
            width: Width of a vector.
            now: As in :meth:`read_table`.

        Returns:
            ``[n, width]``, or ``[n, features * width]``, zeros where there is none; and which rows have all, ``[n]``.

        Raises:
            BadInput: The stored vectors have another width.
            NotFound: The view has no such feature.
        """
        names = [feature] if isinstance(feature, str) else list(feature)
        known_features(view, names)
        keys = packed_ids(view, ids)
        if view.ttl:
            rows = self._valid(config, view, keys, names, now)[0]
        else:
            rows = self.fetch_rows(config, view, keys, names, times=False).rows
        matrix, present = vector_rows(rows, len(names), width)
        if matrix is None:
            raise BadInput(
                f"online features {view.name}:{','.join(names)}",
                found="vectors of another width",
                expected=f"{width} float32 numbers in each",
                next_step="ask for the width in the view's embedding spec, or run `backbeat features materialize`",
            )
        return matrix, present

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[FeastRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows as Feast hands them over; see :meth:`write_table` for which one stays.

        Args:
            config: Feast's configuration.
            table: The view whose rows they are.
            data: Entity key, feature values, event time and creation time of each row; naive times are UTC.
            progress: Told the number of rows at the end.
        """
        for rows in pack_messages(config, data):
            self.store_rows(config, table, rows)
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Read rows as Feast wants them; a row older than the view's TTL is not there."""
        names = requested_features or [field.name for field in table.features]
        version = config.entity_key_serialization_version
        keys = [serialize_entity_key(key, entity_key_serialization_version=version) for key in entity_keys]
        found, event, there = self._valid(config, table, pa.array(keys, pa.large_binary()), names, None)
        answer: list[tuple[datetime | None, dict[str, Value] | None]] = []
        for moment, ok, row in zip(event.tolist(), there.tolist(), found, strict=True):
            messages = {name: Value.FromString(value or b"") for name, value in zip(names, row, strict=True)}
            answer.append((instant(moment), messages) if ok else (None, None))
        return answer

    def _valid(
        self,
        config: RepoConfig,
        view: FeatureView,
        keys: pa.LargeBinaryArray,
        names: Sequence[str],
        now: datetime | None,
    ) -> tuple[Sequence[Sequence[bytes | None]], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Rows without those that are expired, event times, and which rows are there."""
        fetched = self.fetch_rows(config, view, keys, names, times=True)
        event = np.empty(0, np.int64) if fetched.event is None else fetched.event
        there = event >= oldest_allowed(view, now)
        if there.all():
            return fetched.rows, event, there
        nothing = (None,) * len(names)
        return [row if ok else nothing for row, ok in zip(fetched.rows, there.tolist(), strict=True)], event, there
