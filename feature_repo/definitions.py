"""What Feast knows: entities, feature views and feature services of one snapshot.

Applied as an explicit list by :mod:`feature_repo.apply`; Feast never imports this folder by itself.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.embeddings import EmbeddingSpec
from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX
from feature_repo.offline import snapshot_directory
from feature_repo.quiet import quietly
from feature_repo.store import DEFINITIONS_TAG, project_name
from feature_repo.views.derived import derived_directory

if TYPE_CHECKING:
    from feast import FeatureView

__all__ = ["ENTITIES", "EVENT_VIEWS", "FEATURE_SERVICES", "MODALITY_VIEWS", "define", "definitions_digest", "views_of"]

ENTITIES = {"user": "user_id", "video": "video_id"}
"""Entity → the column that joins it."""

EVENT_VIEWS = {"user_history": "user", "video_popularity": "video"}
"""View computed from events → its entity."""

MODALITY_VIEWS = {"visual": "video_visual", "acoustic": "video_acoustic", "textual": "video_textual"}
"""Modality → the view of its vectors; a snapshot has those whose modality it has."""

FEATURE_SERVICES = {
    "interactions_v1": tuple(EVENT_VIEWS),
    "vbpr_v1": (*EVENT_VIEWS, *MODALITY_VIEWS.values()),
    "m3csr_v1": (*EVENT_VIEWS, *MODALITY_VIEWS.values()),
}
"""Feature service → its views, as far as the snapshot has them."""

_REVISION = "1"
"""Raise it when the objects below change, so that homes apply them again."""


def views_of(snapshot: Snapshot) -> list[str]:
    """Names of the views a snapshot has."""
    return [*EVENT_VIEWS, *(MODALITY_VIEWS[modality] for modality in sorted(snapshot.embeddings))]


def definitions_digest(home: Home, snapshot: Snapshot) -> str:
    """Names what :func:`define` would define, without importing Feast."""
    paths = [str(snapshot_directory(home, snapshot.id)), str(derived_directory(home, snapshot.id))]
    specs = [spec.model_dump_json() for _, spec in sorted(snapshot.embeddings.items())]
    text = "\n".join([_REVISION, *paths, *specs])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def define(home: Home, snapshot: Snapshot) -> list[Any]:
    """All Feast objects of a snapshot, in an order that can be applied.

    Args:
        home: Where the snapshot's Parquet files and its derived tables are.
        snapshot: Whose features.
    """
    with quietly():
        from feast import Entity, FeatureService, Project, ValueType
        from feast.types import Array, Float32, Int64, String

    tags = {"snapshot": snapshot.id, "dataset": snapshot.dataset}
    project = Project(
        name=project_name(snapshot.id),
        description=f"Features of snapshot {snapshot.id} of {snapshot.dataset}",
        tags={**tags, DEFINITIONS_TAG: definitions_digest(home, snapshot)},
    )
    entities = {name: Entity(name=name, join_keys=[key], value_type=ValueType.STRING) for name, key in ENTITIES.items()}
    derived = derived_directory(home, snapshot.id)
    views = {
        "user_history": _view(
            "user_history",
            entities["user"],
            {"video_ids": Array(String), "event_times": Array(Int64)},
            derived / "user_history.parquet",
            tags,
        ),
        "video_popularity": _view(
            "video_popularity", entities["video"], {"views": Int64}, derived / "video_popularity.parquet", tags
        ),
    }
    for modality, spec in sorted(snapshot.embeddings.items()):
        views[MODALITY_VIEWS[modality]] = _view(
            MODALITY_VIEWS[modality],
            entities["video"],
            {"vector": Array(Float32)},
            snapshot_directory(home, snapshot.id) / f"{EMBEDDING_PREFIX}{modality}.parquet",
            {**tags, **_spec_tags(spec)},
        )
    services = [
        FeatureService(name=name, features=[views[view] for view in members if view in views], tags=tags)
        for name, members in FEATURE_SERVICES.items()
    ]
    return [project, *entities.values(), *views.values(), *services]


def _view(name: str, entity: Any, features: dict[str, Any], path: Path, tags: dict[str, str]) -> "FeatureView":
    from datetime import timedelta

    from feast import FeatureView, Field, FileSource
    from feast.data_format import ParquetFormat

    return FeatureView(
        name=name,
        entities=[entity],
        schema=[Field(name=feature, dtype=dtype) for feature, dtype in features.items()],
        source=FileSource(
            name=f"{name}_parquet", path=str(path), file_format=ParquetFormat(), timestamp_field="event_time"
        ),
        ttl=timedelta(0),  # features stay valid until replaced; Feast would not enforce a TTL on online reads
        online=True,
        tags=tags,
    )


def _spec_tags(spec: EmbeddingSpec) -> dict[str, str]:
    return {"spec": spec.digest, "encoder": spec.encoder, "revision": spec.revision, "width": str(spec.width)}
