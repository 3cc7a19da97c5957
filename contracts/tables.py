"""Schemas of the offline tables.

Every table ends in two UTC instants: ``event_time``, when the thing happened, and ``ingested_at``, from when on the
platform knew of it. The second is never before the first; for data that are published without arrival times the two
are equal. A row takes part in a feature at an instant only if both lie at or before it.
"""

import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import BadInput, unknown_name

__all__ = [
    "EDGES",
    "EMBEDDING_PREFIX",
    "ENTITY_KEYS",
    "ENTITY_TABLES",
    "INTERACTIONS",
    "INTERACTION_KINDS",
    "LISTENS",
    "LISTEN_KINDS",
    "MUSIC",
    "NATURAL_KEYS",
    "POSTS",
    "TABLES",
    "TIMESTAMP",
    "USERS",
    "VIDEOS",
    "check_table",
    "embedding_schema",
    "natural_key",
    "required_columns",
    "schema_of",
]

TIMESTAMP = pa.timestamp("us", tz="UTC")

ENTITY_KEYS = {"user": "user_id", "video": "video_id", "music": "music_id", "post": "post_id"}
"""Entity → the column that names it."""

ENTITY_TABLES = {"user": "users", "video": "videos", "music": "music", "post": "posts"}
"""Entity → the table whose rows are its own."""

_TIMES = [
    pa.field("event_time", TIMESTAMP, nullable=False),
    pa.field("ingested_at", TIMESTAMP, nullable=False),
]


def _id(entity: str) -> pa.Field:
    return pa.field(ENTITY_KEYS[entity], pa.string(), nullable=False)


def _text(name: str) -> pa.Field:
    return pa.field(name, pa.string())


INTERACTION_KINDS = ("view", "like", "share", "follow")

INTERACTIONS = pa.schema(
    [
        _id("user"),
        _id("video"),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("weight", pa.float32(), nullable=False),
        *_TIMES,
    ]
)
"""One row per event of a user with a video; ``kind`` is one of ``INTERACTION_KINDS``."""

LISTEN_KINDS = ("listen", "like", "share")

LISTENS = pa.schema(
    [
        _id("user"),
        _id("music"),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("weight", pa.float32(), nullable=False),
        *_TIMES,
    ]
)
"""One row per event of a user with a piece of music; ``kind`` is one of ``LISTEN_KINDS``."""

USERS = pa.schema([_id("user"), _text("gender"), pa.field("age", pa.int32()), _text("region"), *_TIMES])
"""One row per user and state of the profile; ``event_time`` is when the account, or that state, was first known."""

VIDEOS = pa.schema(
    [
        _id("video"),
        _text("author_id"),
        _text("music_id"),
        _text("title"),
        pa.field("duration", pa.float32()),
        _text("media"),
        *_TIMES,
    ]
)
"""One row per video; ``event_time`` is its publication. ``author_id`` is a user, ``music_id`` the background music that
user chose, ``title`` any text that comes with it, ``duration`` in seconds, ``media`` a path below the snapshot's media
directory."""

MUSIC = pa.schema(
    [
        _id("music"),
        _text("title"),
        _text("genre"),
        _text("language"),
        _text("mood"),
        pa.field("pitch", pa.float32()),
        pa.field("tempo", pa.float32()),
        _text("media"),
        *_TIMES,
    ]
)
"""One row per piece of music; ``event_time`` is its publication. ``pitch`` in Hz, ``tempo`` in beats per minute,
``media`` a path below the snapshot's media directory."""

POSTS = pa.schema(
    [_id("post"), _id("user"), _text("text"), pa.field("images", pa.list_(pa.string())), _text("video"), *_TIMES]
)
"""One row per post of a user; ``images`` and ``video`` are paths below the snapshot's media directory."""

EDGES = pa.schema(
    [
        pa.field("network", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("target_id", pa.string(), nullable=False),
        pa.field("weight", pa.float32(), nullable=False),
        *_TIMES,
    ]
)
"""One row per act that ties a user to another, such as a ``follow`` or a ``repost``; ``network`` names which."""

TABLES = {
    "interactions": INTERACTIONS,
    "listens": LISTENS,
    "users": USERS,
    "videos": VIDEOS,
    "music": MUSIC,
    "posts": POSTS,
    "edges": EDGES,
}
"""Table → its schema. A snapshot has ``users`` and those of the others that its data set has."""

NATURAL_KEYS = {
    "interactions": ("user_id", "video_id", "kind", "event_time"),
    "listens": ("user_id", "music_id", "kind", "event_time"),
    "users": ("user_id", "event_time"),
    "videos": ("video_id",),
    "music": ("music_id",),
    "posts": ("post_id",),
    "edges": ("network", "source_id", "target_id", "event_time"),
}
"""Table → the columns whose values together stand in it once: two rows that agree in them say the same."""

EMBEDDING_PREFIX = "embedding_"
"""Embedding tables are named ``embedding_<name>``, after the name of their spec."""


def embedding_schema(entity: str = "video") -> pa.Schema:
    """Schema of an embedding table: the entity's id and ``vector``, a list of as many float32 as its spec is wide.

    ``event_time`` is that of the entity's own row; ``ingested_at`` is from when on both the entity and the encoder
    were known.
    """
    return pa.schema([_id(entity), pa.field("vector", pa.list_(pa.float32()), nullable=False), *_TIMES])


def schema_of(name: str) -> pa.Schema:
    """The schema of a table, by its name.

    Raises:
        NotFound: There is no such table.
    """
    if name.startswith(EMBEDDING_PREFIX):
        entity = name.removeprefix(EMBEDDING_PREFIX).split("_")[0]
        return embedding_schema(entity if entity in ENTITY_KEYS else "video")
    if name not in TABLES:
        raise unknown_name("offline table", name, [*TABLES, f"{EMBEDDING_PREFIX}…"], next_step="correct the name")
    return TABLES[name]


def natural_key(name: str) -> tuple[str, ...]:
    """The columns of a table whose values together stand in it once; an entity has one vector in a table.

    Raises:
        NotFound: There is no such table.
    """
    return (schema_of(name).names[0],) if name.startswith(EMBEDDING_PREFIX) else NATURAL_KEYS[name]


def required_columns(name: str) -> list[str]:
    """The columns of a table that have a value in every row.

    Raises:
        NotFound: There is no such table.
    """
    return [field.name for field in schema_of(name) if not field.nullable]


def check_table(name: str, table: pa.Table) -> None:
    """Refuse a table that breaks its contract.

    Raises:
        NotFound: There is no table of that name.
        BadInput: A column is missing, surplus or of another type, has nulls that it may not have, or a row was known
            before it happened.
    """
    schema = schema_of(name)
    if not table.schema.equals(schema):
        raise BadInput(
            f"offline table {name!r}",
            found=f"columns {dict(zip(table.schema.names, map(str, table.schema.types), strict=True))}",
            expected=f"{dict(zip(schema.names, map(str, schema.types), strict=True))}",
            next_step="convert the columns and ingest again",
        )
    nulls = {name: table[name].null_count for name in required_columns(name) if table[name].null_count}
    if nulls:
        raise BadInput(
            f"offline table {name!r}",
            found=f"nulls in {', '.join(f'{column} of {count:,} rows' for column, count in nulls.items())}",
            expected=f"a value of {', '.join(required_columns(name))} in every row",
            next_step="fill these values in, or leave the rows out, and ingest again",
        )
    early = pc.sum(pc.less(table["ingested_at"], table["event_time"])).as_py() or 0
    if early:
        raise BadInput(
            f"offline table {name!r}",
            found=f"{early:,} rows whose ingested_at is before their event_time",
            expected="rows that were known when they happened, or later",
            next_step="correct the times and ingest again",
        )
