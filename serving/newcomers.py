"""Items that came after a version was trained, and what the version makes of them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from contracts.embeddings import EmbeddingSpec
from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX, ENTITY_KEYS, ENTITY_TABLES, schema_of
from contracts.vocabulary import Vocabulary
from feature_repo.frames.content import Content, matrix_of, specs_of
from feature_repo.offline import read_snapshot, read_table
from feature_repo.services import ranking_of
from serving.facts import FACTS, ItemFacts
from training.content import ItemVectors
from training.packages import LoadedPackage
from training.recommender import TwoTower

__all__ = ["Newcomers", "newcomers_of"]


@dataclass(frozen=True)
class Newcomers:
    """New items, n of them, behind those that a version can return already."""

    items: Vocabulary
    """All of both."""
    vectors: npt.NDArray[np.float32] | None
    """What the model says of the new ones, ``[n, D]``; None of a model that says nothing of items it was not fitted
    with."""
    content: npt.NDArray[np.float32] | None
    """What neighbours are found by, ``[n, W]``; None where there is nothing."""
    facts: ItemFacts | None
    """What requests filter by, of all items."""


def newcomers_of(home: Home, snapshot: Snapshot, package: LoadedPackage, items: Vocabulary) -> Newcomers | None:
    """The items of a newer snapshot that a version does not return yet and that it has something to tell them by.

    A model that reads content has vectors for those with an embedding of a spec that it was trained on. Of other
    models they are neighbours of what they are like, for users whom the model does not know.

    Args:
        home: Holds the snapshots.
        snapshot: The newer one, of the same data set.
        package: The version's package.
        items: What it can return already.

    Returns:
        None where there are none.

    Raises:
        NotFound: A snapshot's tables are gone.
    """
    manifest, model = package.manifest, package.recommender
    entity = ranking_of(manifest.feature_service).items
    table, key = ENTITY_TABLES[entity], ENTITY_KEYS[entity]
    read = manifest.embedding_specs if isinstance(model, TwoTower) and model.reads_content else {}
    told = _tables(snapshot, read)
    near = _nearness(home, manifest.snapshot, entity)
    near_told = _tables(snapshot, {} if near is None else {near.modality: near})
    tables = told or near_told
    if table not in snapshot.tables or not tables:
        return None
    there = read_table(home, snapshot, table, [key])[key].unique().to_pylist()
    unknown = Vocabulary([item for item, row in zip(there, items.rows(there), strict=True) if row < 0])
    with_vectors = np.zeros(len(unknown), dtype=bool)
    for name in tables.values():
        rows = unknown.rows(read_table(home, snapshot, EMBEDDING_PREFIX + name, [key])[key].to_numpy())
        with_vectors[rows[rows >= 0]] = True
    new = unknown.ids(np.flatnonzero(with_vectors))
    if not new:
        return None
    both = Vocabulary([*items.ids(range(len(items))), *new])
    parts = {each: _matrix(home, snapshot, name, key, both) for each, name in {**near_told, **told}.items()}
    vectors = None
    if told:
        known = {each: parts[each] for each in told}
        content = ItemVectors(
            {each: part.values for each, part in known.items()}, {each: part.missing for each, part in known.items()}
        )
        with torch.inference_mode():
            wider = model.with_content(content)
            assert isinstance(wider, TwoTower)
            vectors = wider.item_vectors()[len(items) :].float().cpu().numpy()
    columns = [name for name in dict.fromkeys([key, *FACTS]) if name in schema_of(table).names]
    return Newcomers(
        both,
        vectors,
        None if near is None or not near_told else parts[near.modality].values[len(items) :],
        ItemFacts(read_table(home, snapshot, table, columns), both, key),
    )


def _tables(snapshot: Snapshot, specs: "dict[str, EmbeddingSpec]") -> dict[str, str]:
    """Modality → name of the embeddings of that very spec in a snapshot; nothing unless all are there."""
    found = {
        modality: name
        for modality, spec in specs.items()
        for name, there in snapshot.embeddings.items()
        if there == spec
    }
    return found if len(found) == len(specs) else {}


def _nearness(home: Home, trained: str, entity: str) -> EmbeddingSpec | None:
    """What a version's neighbours are found by: the narrowest modality of its own snapshot."""
    specs = specs_of(read_snapshot(home, trained), entity).values()
    return min(specs, key=lambda each: (each.width, each.modality), default=None)


def _matrix(home: Home, snapshot: Snapshot, name: str, key: str, items: Vocabulary) -> Content:
    """Vectors of items, ``[N, width]``, and who has none."""
    table = read_table(home, snapshot, EMBEDDING_PREFIX + name, [key, "vector"])
    rows, width = items.rows(table[key].to_numpy()), snapshot.embeddings[name].width
    given = matrix_of(table["vector"], width)
    values, missing = np.zeros((len(items), width), np.float32), np.ones(len(items), dtype=bool)
    there = (rows >= 0) & ~given.missing
    values[rows[there]], missing[rows[there]] = given.values[there], False
    return Content(values, missing)
