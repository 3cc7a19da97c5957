"""Which feature views a snapshot has, without Feast: their entity, features, types and files.

A *family* is a kind of view as the code defines it. A snapshot has one view of a family, or one for each of its
embeddings or networks, as far as it has the tables that the family is made from.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput
from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX, ENTITY_KEYS
from feature_repo.offline import snapshot_directory
from feature_repo.views.derived import derived_directory

__all__ = ["CO_LIKE", "FAMILIES", "OF_MODALITIES", "Family", "View", "networks_of", "spec_suffix", "views_of"]

CO_LIKE = "co_like"
"""The network of users who like the same videos, computed from likes."""

_STRINGS, _INTS, _FLOATS = "list<string>", "list<int64>", "list<float32>"


@dataclass(frozen=True)
class Family:
    """A kind of feature view, of every snapshot that has its tables."""

    entity: str
    features: Mapping[str, str]
    """Feature → Arrow type: ``int32``, ``int64``, ``float32``, ``string`` or a ``list<…>`` of the last three."""
    tables: tuple[str, ...] = ()
    """Tables a snapshot must have for it."""
    per: Literal["video", "music", "post", "network"] | None = None
    """One view for each embedding of that entity, or for each network; None for a single view."""
    ttl: timedelta | None = None
    """How long after its event time a row still counts; for ever if None."""
    derived: bool = True
    """Whether the rows are computed from other tables."""


_NEIGHBOURS = {"neighbour_ids": _STRINGS, "weights": _FLOATS}

FAMILIES = {
    "user_profile": Family("user", {"gender": "string", "age": "int32", "region": "string"}, ("users",), derived=False),
    "user_history": Family("user", {"video_ids": _STRINGS, "event_times": _INTS}, ("interactions",)),
    "user_listens": Family("user", {"music_ids": _STRINGS, "event_times": _INTS}, ("listens",)),
    "user_adopted_music": Family("user", {"music_ids": _STRINGS, "event_times": _INTS}, ("videos", "music")),
    "user_two_hop": Family("user", {"video_ids": _STRINGS, "weights": _FLOATS}, ("interactions",)),
    "user_network": Family("user", _NEIGHBOURS, per="network"),
    "user_social": Family("user", {"vector": _FLOATS, "posts": "int64"}, ("posts",), per="post"),
    "user_posts": Family("user", {"times": _INTS, "vectors": _FLOATS}, ("posts",), per="post", ttl=timedelta(hours=24)),
    "video_profile": Family(
        "video",
        {
            "author_id": "string",
            "music_id": "string",
            "title": "string",
            "duration": "float32",
            "published_at": "int64",
        },
        ("videos",),
    ),
    "video": Family("video", {"vector": _FLOATS}, per="video", derived=False),
    "video_popularity": Family(
        "video",
        {"views": "int64", "likes": "int64", "hours": _INTS, "hour_views": _INTS, "hour_likes": _INTS},
        ("interactions",),
    ),
    "video_clusters": Family("video", {"cluster": "int64", "distance": "float32"}, ("videos",)),
    "music_content": Family(
        "music",
        {"genre": "string", "language": "string", "mood": "string", "pitch": "float32", "tempo": "float32"},
        ("music",),
        derived=False,
    ),
    "music": Family("music", {"vector": _FLOATS}, ("music",), per="music", derived=False),
    "music_adoption": Family("music", {"videos": "int64"}, ("videos", "music")),
}
"""Family → what its views are like. A view of an embedding is named ``<family>_<modality>_<digest>``, one of a network
``<family>_<network>``. ``music_adoption`` has, beside its count, one list of float32 for each modality of the videos,
and is a family of its own features in each snapshot therefore."""


OF_MODALITIES = ("music_adoption", "video_clusters")
"""Families computed from all vectors of the videos in use: the same name means another thing with other encoders."""


@dataclass(frozen=True)
class View:
    """A feature view of one snapshot, and the Parquet file behind it.

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
    """What made the vectors, where the view holds vectors of an encoder, or is computed from them."""
    derived: bool = False
    """Whether the file is computed from other tables."""
    family: str = ""
    """Which of ``FAMILIES`` it is of."""

    @property
    def key(self) -> str:
        """The column that names the entity."""
        return ENTITY_KEYS[self.entity]


def views_of(home: Home, snapshot: Snapshot) -> dict[str, View]:
    """Every batch view of a snapshot, by name."""
    return {view.name: view for view in _views(home, snapshot)}


def _views(home: Home, snapshot: Snapshot) -> Iterator[View]:
    tables, derived = snapshot_directory(home, snapshot.id), derived_directory(home, snapshot.id)
    for name, family in FAMILIES.items():
        if any(table not in snapshot.tables for table in family.tables):
            continue
        if name == "video_clusters" and not snapshot.video_modalities:
            continue
        features = family.features
        if name == "music_adoption":
            features = {**features, **dict.fromkeys(snapshot.video_modalities, _FLOATS)}
        if family.per is None:
            path = derived / f"{name}.parquet" if family.derived else tables / f"{_TABLE_OF[name]}.parquet"
            yield View(name, family.entity, features, path, family.ttl, None, family.derived, name)
        elif family.per == "network":
            for network in networks_of(home, snapshot):
                view = f"{name}_{network}"
                path = derived / f"{view}.parquet"
                yield View(view, family.entity, features, path, family.ttl, None, family.derived, name)
        else:
            for embedding, spec in sorted(snapshot.embeddings.items()):
                if spec.entity == family.per:
                    view = f"{name}_{spec_suffix(spec)}"
                    path = (
                        derived / f"{view}.parquet"
                        if family.derived
                        else tables / f"{EMBEDDING_PREFIX}{embedding}.parquet"
                    )
                    yield View(view, family.entity, features, path, family.ttl, spec, family.derived, name)


_TABLE_OF = {"user_profile": "users", "music_content": "music"}


def spec_suffix(spec: EmbeddingSpec) -> str:
    """``<modality>_<digest>``: what the names of the views of an embedding end in."""
    return f"{spec.modality}_{spec.digest[:8]}"


def networks_of(home: Home, snapshot: Snapshot) -> tuple[str, ...]:
    """Networks between users that a snapshot has: those of its edges, and ``co_like`` where it has interactions.

    Raises:
        BadInput: A network's name cannot be part of a view's name.
    """
    found = _networks_in(snapshot_directory(home, snapshot.id) / "edges.parquet") if "edges" in snapshot.tables else ()
    return (*found, CO_LIKE) if "interactions" in snapshot.tables and CO_LIKE not in found else found


@lru_cache(maxsize=256)
def _networks_in(path: Path) -> tuple[str, ...]:
    """Networks in a table of edges; read once in a process, since the tables of a snapshot do not change."""
    column = pq.read_table(path, columns=["network"], read_dictionary=["network"])["network"]
    networks = sorted(column.unique().to_pylist())
    for network in networks:
        if not re.fullmatch(r"[a-z0-9_]+", network):
            raise BadInput(
                f"network {network!r} in {path}",
                found="a name that no feature view can have",
                expected="lower-case letters, digits and underscores",
                next_step="rename the network and ingest the data again",
            )
    return tuple(networks)
