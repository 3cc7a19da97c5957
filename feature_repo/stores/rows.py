"""Rows of a view on their way into an online store and out of it, as columns of bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureView, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import from_feast_to_pyarrow_type

from contracts.clock import utc_now
from contracts.errors import BadInput, unknown_name
from contracts.tables import TIMESTAMP
from feature_repo.raw_tables import microseconds
from feature_repo.stores.byte_columns import contiguous
from feature_repo.stores.packing import pack, packed_key

__all__ = [
    "ABSENT",
    "EVENT_TIME",
    "INGESTED_AT",
    "FeastRow",
    "Fetched",
    "PackedRows",
    "id_array",
    "instant",
    "key_column",
    "known_features",
    "oldest_allowed",
    "pack_messages",
    "pack_table",
    "packed_ids",
    "table_name",
]

EVENT_TIME = "event_time"
INGESTED_AT = "ingested_at"
FeastRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
ABSENT = np.iinfo(np.int64).min
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class PackedRows:
    """Rows of one view, ready to be stored."""

    keys: pa.LargeBinaryArray
    """Feast's serialized entity keys, ``[n]``."""
    event: npt.NDArray[np.int64]
    """Event times in microseconds, ``[n]``."""
    known: npt.NDArray[np.int64]
    """Ingestion times in microseconds, ``[n]``; the event times where none are recorded."""
    columns: Mapping[str, pa.LargeBinaryArray]
    """Feature → serialized values, ``[n]``."""


@dataclass(frozen=True)
class Fetched:
    """Rows of one view as they are stored, in the order asked for."""

    rows: Sequence[Sequence[bytes | None]]
    """Serialized values, ``[n][features]``; all None where there is no row."""
    event: npt.NDArray[np.int64] | None
    """Event times in microseconds, ``[n]``; ``ABSENT`` where there is no row. None if not asked for."""


def pack_table(view: FeatureView, table: pa.Table) -> PackedRows:
    """Serialize rows of a view.

    Raises:
        BadInput: A column is missing, has another type or another width, or a time is naive or null.
    """
    key = key_column(view).name
    missing = {key, EVENT_TIME, *(field.name for field in view.features)} - set(table.column_names)
    if missing:
        raise _bad_rows(view, f"no column {', '.join(sorted(missing))}", "the key, every feature and event_time")
    event = _times(view, table, EVENT_TIME)
    columns = {}
    for field in view.features:
        column = contiguous(table[field.name])
        kind = from_feast_to_pyarrow_type(field.dtype)
        if column.type != kind and not _same_floats(column.type, kind):
            try:
                column = column.cast(kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise _bad_rows(view, f"{field.name} of type {column.type}", f"{field.name} of type {kind}") from None
        width = _declared_width(view, field)
        if width:
            widths = pc.unique(pc.list_value_length(column)).drop_null().to_pylist()
            if widths and widths != [width]:
                other = next(each for each in widths if each != width)
                raise _bad_rows(view, f"{field.name} of width {other}", f"vectors of width {width}, as declared")
        columns[field.name] = pack(column)
    known = _times(view, table, INGESTED_AT) if INGESTED_AT in table.column_names else event
    return PackedRows(packed_key(key, id_array(view, table[key])), event, known, columns)


def packed_ids(view: FeatureView, ids: Sequence[Any] | pa.Array, suffix: bytes = b"") -> pa.LargeBinaryArray:
    """Serialized entity keys of a view, ``[n]``."""
    return packed_key(key_column(view).name, id_array(view, ids), suffix)


def instant(moment: int) -> datetime:
    """The moment that lies so many microseconds after 1970, in UTC."""
    return _EPOCH + timedelta(microseconds=moment)


def oldest_allowed(view: FeatureView, now: datetime | None) -> int:
    """Event time in microseconds before which a row is expired; above ``ABSENT`` in any case."""
    if not view.ttl:
        return int(ABSENT) + 1
    return microseconds((now or utc_now()) - view.ttl)


def table_name(config: RepoConfig, view: FeatureView) -> str:
    """Name of a view's rows in its project, as Feast's stores give it."""
    return str(compute_table_id(config.project, view, config.registry.enable_online_feature_view_versioning))


def pack_messages(config: RepoConfig, data: Sequence[FeastRow]) -> list[PackedRows]:
    """Rows from Feast as columns, apart by which features they have."""
    version = config.entity_key_serialization_version
    groups: dict[tuple[str, ...], list[FeastRow]] = {}
    for row in data:
        groups.setdefault(tuple(row[1]), []).append(row)
    packed = []
    for names, rows in groups.items():
        keys = [serialize_entity_key(row[0], entity_key_serialization_version=version) for row in rows]
        event = [_since_epoch(row[2]) for row in rows]
        known = [at if row[3] is None else _since_epoch(row[3]) for at, row in zip(event, rows, strict=True)]
        packed.append(
            PackedRows(
                pa.array(keys, pa.large_binary()),
                np.array(event, np.int64),
                np.array(known, np.int64),
                {
                    name: pa.array([row[1][name].SerializeToString() for row in rows], pa.large_binary())
                    for name in names
                },
            )
        )
    return packed


def _since_epoch(moment: datetime) -> int:
    return microseconds(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)


def key_column(view: FeatureView) -> Any:
    """The one join key of a view.

    Raises:
        BadInput: It has several, or none.
    """
    if len(view.entity_columns) != 1:
        raise BadInput(
            f"view {view.name}",
            found=f"join keys {', '.join(column.name for column in view.entity_columns) or 'none'}",
            expected="one join key, to be written and read by columns",
            next_step="use FeatureStore.get_online_features and write_to_online_store for this view",
        )
    return view.entity_columns[0]


def id_array(view: FeatureView, ids: Sequence[Any] | pa.Array | pa.ChunkedArray) -> pa.Array:
    """Ids as a column of the type that the view declares."""
    kind = from_feast_to_pyarrow_type(key_column(view).dtype)
    if not isinstance(ids, pa.Array | pa.ChunkedArray):
        return pa.array(ids, kind)
    array = contiguous(ids)
    return array if array.type == kind else array.cast(kind)


def known_features(view: FeatureView, names: Sequence[str]) -> None:
    """Check that a view has all of these features.

    Raises:
        NotFound: It lacks one.
    """
    known = [field.name for field in view.features]
    for name in names:
        if name not in known:
            raise unknown_name(f"feature of {view.name}", name, known, next_step="run `backbeat features status`")


def _times(view: FeatureView, table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    column = contiguous(table[name])
    if not pa.types.is_timestamp(column.type) or column.type.tz is None or column.null_count:
        found = f"{column.null_count} nulls" if column.null_count else f"type {column.type}"
        raise _bad_rows(view, f"{name} with {found}", f"{name} with a time zone in every row")
    moments: npt.NDArray[np.int64] = column.cast(TIMESTAMP, safe=False).cast(pa.int64()).to_numpy()
    return moments


def _same_floats(found: pa.DataType, kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(found) and pa.types.is_list(kind) and found.value_type == kind.value_type)


def _declared_width(view: FeatureView, field: Any) -> int:
    """Width that the field, or the view's embedding spec, says; 0 if neither does."""
    if field.vector_length:
        return int(field.vector_length)
    return int(view.tags.get("width", 0)) if field.name == "vector" else 0


def _bad_rows(view: FeatureView, found: str, expected: str) -> BadInput:
    return BadInput(
        f"rows for view {view.name}",
        found=found,
        expected=expected,
        next_step="correct the source, or give the view a new version by `backbeat features apply`",
    )
