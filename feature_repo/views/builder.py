"""What computes a derived view, and the columns that all of them end in."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.snapshot import Snapshot
from contracts.tables import ENTITY_KEYS, TIMESTAMP

if TYPE_CHECKING:
    from feature_repo.views.catalogue import View

__all__ = ["CHUNK_ROWS", "TYPES", "BuildContext", "Builder", "chunk_of", "schema_of_view"]

CHUNK_ROWS = 65_536
"""Most rows that a builder hands over at once."""

TYPES = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "string": pa.string(),
    "list<string>": pa.list_(pa.string()),
    "list<int64>": pa.list_(pa.int64()),
    "list<float32>": pa.list_(pa.float32()),
}
"""Type of a feature in the catalogue → its Arrow type."""


@dataclass(frozen=True)
class BuildContext:
    """What a builder may know beside the rows of its tables."""

    snapshot: Snapshot
    centres: Path
    """Directory of the centres of content clusters, which outlive a snapshot."""
    newest: bool = False
    """Whether the newest row of each entity is enough: a builder may then leave out those before."""


@dataclass(frozen=True)
class Builder:
    """Computes the rows of one derived view.

    ``build`` yields tables of at most 65,536 rows, sorted by key and ``event_time``. Called with the rows of one entity
    only, a builder that ``streams`` gives that entity's rows, the same as if called with all.
    """

    needs: tuple[str, ...]
    """Tables it reads."""
    build: Callable[[Mapping[str, pa.Table], BuildContext], Iterator[pa.Table]]
    streams: Mapping[str, str] = field(default_factory=dict)
    """Table that rows may be pushed to → its column that names the entity whose row changes; empty where the view is
    computed from all entities at once, and only ever in batch."""


def schema_of_view(view: "View") -> pa.Schema:
    """Columns of a view's file: the entity's key, the features, ``event_time`` and ``ingested_at``."""
    features = [(name, TYPES[kind]) for name, kind in view.features.items()]
    return pa.schema([(ENTITY_KEYS[view.entity], pa.string()), *features, *_TIMES])


_TIMES = [pa.field("event_time", TIMESTAMP, nullable=False), pa.field("ingested_at", TIMESTAMP, nullable=False)]


def chunk_of(view: "View", keys: pa.Array, instants: npt.NDArray[np.int64], **features: pa.Array) -> pa.Table:
    """Rows of change points.

    Args:
        view: Whose rows.
        keys: Ids of the entities, ``[n]``.
        instants: When the value became known, microseconds since 1970-01-01 UTC, ``[n]``; both instants of the row.
        **features: The view's features, ``[n]`` each.
    """
    moments = pa.array(instants, pa.int64()).cast(TIMESTAMP)
    columns = [features[name].cast(TYPES[kind]) for name, kind in view.features.items()]
    return pa.table([keys, *columns, moments, moments], schema=schema_of_view(view))
