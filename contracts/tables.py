"""Schemas of the offline tables. Event times are UTC; ingestion time says when Backbeat first saw the row."""

import pyarrow as pa

from contracts.errors import BadInput

__all__ = [
    "EMBEDDING_PREFIX",
    "INTERACTIONS",
    "TIMESTAMP",
    "USERS",
    "VIDEOS",
    "check_table",
    "embedding_schema",
]

TIMESTAMP = pa.timestamp("us", tz="UTC")

_TIMES = [
    pa.field("event_time", TIMESTAMP, nullable=False),
    pa.field("ingested_at", TIMESTAMP, nullable=False),
]

INTERACTIONS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("weight", pa.float32(), nullable=False),
        *_TIMES,
    ]
)
"""One row per event of a user with a video; ``kind`` is ``view``, ``like``, ``share`` or ``follow``."""

USERS = pa.schema([pa.field("user_id", pa.string(), nullable=False), *_TIMES])
"""One row per user; ``event_time`` is when the account was first known."""

VIDEOS = pa.schema([pa.field("video_id", pa.string(), nullable=False), *_TIMES])
"""One row per video; ``event_time`` is its publication."""

EMBEDDING_PREFIX = "embedding_"
"""Embedding tables are named ``embedding_<modality>``."""


def embedding_schema() -> pa.Schema:
    """Schema of one modality's embedding table: ``vector`` is ``width`` float32 values."""
    return pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32()), nullable=False),
            *_TIMES,
        ]
    )


def check_table(name: str, table: pa.Table) -> None:
    """Refuse a table whose columns are not those of its contract.

    Raises:
        BadInput: A column is missing, surplus or of another type, or the table name is unknown.
    """
    schemas = {"interactions": INTERACTIONS, "users": USERS, "videos": VIDEOS}
    schema = embedding_schema() if name.startswith(EMBEDDING_PREFIX) else schemas.get(name)
    if schema is None or not table.schema.equals(schema):
        raise BadInput(
            f"offline table {name!r}",
            found=f"columns {dict(zip(table.schema.names, map(str, table.schema.types), strict=True))}",
            expected=f"{dict(zip(schema.names, map(str, schema.types), strict=True)) if schema else sorted(schemas)}",
            next_step="convert the columns and ingest again",
        )
