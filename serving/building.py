"""What a version answers with beside its model: index, catalogue, content, and the people around users."""

import logging

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.errors import BackbeatError
from contracts.home import Home
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX, ENTITY_KEYS, ENTITY_TABLES, schema_of
from contracts.vocabulary import Vocabulary, strings_of
from feature_repo.frames.content import facts_of_music, matrix_of, specs_of
from feature_repo.frames.events import occasions_of
from feature_repo.frames.lookup import Lookup
from feature_repo.offline import read_snapshot, read_table
from feature_repo.services import ranking_of
from feature_repo.views.catalogue import networks_of
from serving.contexts import Brings
from serving.facts import FACTS, ItemFacts
from serving.fallback import Neighbours, Networks
from serving.features import SurfaceFeatures
from serving.recommend import Ranker
from training.indexes import build_index, index_kind
from training.packages import LoadedPackage
from training.retrieval import Index

__all__ = ["build_ranker", "networks_around"]

_LOG = logging.getLogger("backbeat.serving")


def build_ranker(settings: Settings, home: Home, version: str, package: LoadedPackage) -> Ranker:
    """A ranker with the index that the settings ask for, and as much of the version's own data as this home has.

    Without its tables it ranks as well, but filters nothing, neighbours are those by its own item vectors, and the
    videos of requests for music are all strangers to it.
    """
    manifest = package.manifest
    ranking = ranking_of(manifest.feature_service)
    facts = content = videos = None
    try:
        snapshot = read_snapshot(home, manifest.snapshot)
        facts = _facts(home, snapshot, package, ranking.items)
        content = _content(settings, home, snapshot, package)
        if "video" in manifest.contexts:
            ids = occasions_of(home, snapshot, ranking, package.users, package.items)[1].ids
            videos = Vocabulary(ids.to_numpy(zero_copy_only=False))
    except BackbeatError as error:
        _LOG.warning("version %s serves without its tables: %s", version, error)
    vectors = package.item_vectors if content is None else content
    return Ranker(
        version,
        package,
        facts,
        None if vectors is None else Neighbours(vectors),
        _index(settings, package),
        Brings.of_manifest(manifest, videos),
    )


def _facts(home: Home, snapshot: Snapshot, package: LoadedPackage, entity: str) -> ItemFacts | None:
    table, key = ENTITY_TABLES[entity], ENTITY_KEYS[entity]
    if table not in snapshot.tables:
        return None
    columns = [name for name in dict.fromkeys([key, *FACTS]) if name in schema_of(table).names]
    return ItemFacts(read_table(home, snapshot, table, columns), package.items, key)


def _index(settings: Settings, package: LoadedPackage) -> Index | None:
    """What finds a model's candidates: on a CPU as it was packed, where the settings do not differ.

    None of a scorer that ranks all items.
    """
    vectors, device = package.item_vectors, package.recommender.device
    if vectors is None:
        vectors = package.candidate_vectors
    if vectors is None:
        return None
    if settings.index == "auto" and device.type != "cuda":
        kind = package.manifest.index.kind
    else:
        kind = index_kind(settings.index, len(vectors), settings.index_most_exact, device)
    if kind == "hnsw" and package.index is not None:
        return package.index
    return build_index(vectors, kind, device, settings.index_dtype)


def networks_around(home: Home, snapshot_id: str, features: SurfaceFeatures) -> Networks | None:
    """The networks of a snapshot, read from the online store; None where this home does not know which there are."""
    try:
        names = networks_of(home, read_snapshot(home, snapshot_id))
    except BackbeatError as error:
        _LOG.warning("serving without the networks of users: %s", error)
        return None
    return Networks(features, names) if names else None


def _content(
    settings: Settings, home: Home, snapshot: Snapshot, package: LoadedPackage
) -> npt.NDArray[np.float32] | None:
    """Vectors of the narrowest modality. Items nobody chose have them; their trained vectors say nothing.

    Of music without any, what is known about it.
    """
    entity = ranking_of(package.manifest.feature_service).items
    specs = specs_of(snapshot, entity)
    if not specs:
        return _facts_as_vectors(settings, home, snapshot, package) if entity == "music" else None
    spec = min(specs.values(), key=lambda each: (each.width, each.modality))
    table: pa.Table = read_table(home, snapshot, EMBEDDING_PREFIX + spec.name, [ENTITY_KEYS[entity], "vector"])
    rows = package.items.rows(strings_of(table[ENTITY_KEYS[entity]]))
    vectors = np.zeros((len(package.items), spec.width), np.float32)
    vectors[rows[rows >= 0]] = matrix_of(table["vector"], spec.width).values[rows >= 0]
    return vectors


def _facts_as_vectors(
    settings: Settings, home: Home, snapshot: Snapshot, package: LoadedPackage
) -> npt.NDArray[np.float32] | None:
    everything = np.arange(len(package.items))
    ids = pa.array(package.items.ids(everything), pa.string())
    groups = facts_of_music(Lookup(settings, home, snapshot), ids, everything)
    return np.concatenate([group.values for group in groups.values()], axis=1) if groups else None
