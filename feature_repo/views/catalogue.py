"""Which feature views a snapshot has, without Feast: their entity, features, types and files."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from contracts.embeddings import EmbeddingSpec
from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX, ENTITY_KEYS
from feature_repo.offline import snapshot_directory
from feature_repo.views.derived import derived_directory

__all__ = ["View", "views_of"]


@dataclass(frozen=True)
class View:
    """A feature view and the Parquet file behind it.

    The file has the entity's key, the features, ``event_time`` and ``ingested_at``.
    """

    name: str
    entity: str
    features: Mapping[str, str]
    """Feature → Arrow type: ``int32``, ``int64``, ``float32``, ``string`` or a ``list<…>`` of the last three."""
    path: Path
    ttl: timedelta | None = None
    """How long after its event time a row still counts; for ever if None."""
    spec: EmbeddingSpec | None = None
    """What made the vectors, where the view holds vectors of an encoder."""
    derived: bool = False
    """Whether the file is computed from other tables."""

    @property
    def key(self) -> str:
        """The column that names the entity."""
        return ENTITY_KEYS[self.entity]


def views_of(home: Home, snapshot: Snapshot) -> dict[str, View]:
    """Every batch view of a snapshot, by name."""
    tables, derived = snapshot_directory(home, snapshot.id), derived_directory(home, snapshot.id)
    views = []
    if "interactions" in snapshot.tables:
        history = {"video_ids": "list<string>", "event_times": "list<int64>"}
        views += [
            View("user_history", "user", history, derived / "user_history.parquet", derived=True),
            View("video_popularity", "video", {"views": "int64"}, derived / "video_popularity.parquet", derived=True),
        ]
    for name, spec in snapshot.embeddings.items():
        if spec.entity != "post":  # a post's vectors count towards its author's features
            path = tables / f"{EMBEDDING_PREFIX}{name}.parquet"
            views.append(View(spec.view, spec.entity, {"vector": "list<float32>"}, path, spec=spec))
    return {view.name: view for view in views}
