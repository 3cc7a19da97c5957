"""What the items of a frame are like: vectors of encoders, facts about music, titles."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.embeddings import EmbeddingSpec
from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import ENTITY_KEYS, ENTITY_TABLES
from contracts.vocabulary import UNKNOWN, Vocabulary
from feature_repo.frames.events import rows_of
from feature_repo.frames.lookup import Lookup
from feature_repo.offline import read_table
from feature_repo.views.sequences import instants

__all__ = ["FACTS", "Content", "content_of", "facts_of_music", "matrix_of", "specs_of", "titles_of"]

Floats = npt.NDArray[np.float32]

_CATEGORIES = ("genre", "language", "mood")
_NUMBERS = ("pitch", "tempo")
FACTS = (*_CATEGORIES, *_NUMBERS)
"""Features of ``music_content``, each a modality of its own."""


@dataclass(frozen=True)
class Content:
    """One modality of some entities."""

    values: Floats
    """``[N, width]``, zeros where missing."""
    missing: npt.NDArray[np.bool_]
    """``[N]``"""


def specs_of(snapshot: Snapshot, entity: str) -> dict[str, EmbeddingSpec]:
    """Modality → the spec in use of an entity's embeddings, in order of modality."""
    found = {s.modality: s for name, s in snapshot.embeddings.items() if s.entity == entity and name == s.name}
    return dict(sorted(found.items()))


def content_of(lookup: Lookup, ids: pa.Array, specs: Mapping[str, EmbeddingSpec]) -> dict[str, Content]:
    """Vectors as of the end of the data (ADR 2).

    Args:
        lookup: Of the snapshot.
        ids: Of the entities, ``[N]``.
        specs: Modality → what made its vectors; of one entity.
    """
    if not specs:
        return {}
    key = ENTITY_KEYS[next(iter(specs.values())).entity]
    found = lookup.at(key, ids, lookup.last_known(), [f"{spec.view}:vector" for spec in specs.values()])
    return {modality: matrix_of(found[f"{spec.view}__vector"], spec.width) for modality, spec in specs.items()}


def matrix_of(vectors: pa.ChunkedArray, width: int) -> Content:
    """Lists of floats as a matrix."""
    missing = np.asarray(vectors.is_null())
    matrix, start = np.zeros((len(vectors), width), np.float32), 0
    for chunk in vectors.chunks:
        rows = start + np.flatnonzero(~missing[start : start + len(chunk)])
        matrix[rows] = chunk.flatten().to_numpy().reshape(-1, width)
        start += len(chunk)
    return Content(matrix, missing)


def facts_of_music(lookup: Lookup, ids: pa.Array, trained: npt.NDArray[np.int64]) -> dict[str, Content]:
    """Feature groups G, L, M, P and T of the paper on background music, as of the end of the data.

    A category is one column of zeros and ones for each value that music in training has, in order of the values; music
    with another value is missing from the group, as nothing was learned about it. Pitch and tempo are one column, less
    the mean over the music in training and divided by its standard deviation. A group that nothing in training has is
    left out.

    Args:
        lookup: Of the snapshot.
        ids: Of the music, ``[N]``.
        trained: Rows of the music in training, each once.
    """
    found = lookup.at("music_id", ids, lookup.last_known(), [f"music_content:{fact}" for fact in FACTS])
    groups: dict[str, Content] = {}
    for name in _CATEGORIES:
        column = found[f"music_content__{name}"].combine_chunks()
        values = Vocabulary(sorted(column.take(pa.array(trained)).drop_null().unique().to_pylist()))
        if len(values):
            rows = rows_of(values, pa.chunked_array([column.fill_null("")]))
            rows = np.where(np.asarray(column.is_null()), UNKNOWN, rows)
            groups[name] = Content((rows[:, None] == np.arange(len(values))).astype(np.float32), rows == UNKNOWN)
    for name in _NUMBERS:
        column = found[f"music_content__{name}"].combine_chunks()
        missing = np.asarray(column.is_null())
        numbers = column.fill_null(0).to_numpy().astype(np.float64)
        known = numbers[trained][~missing[trained]]
        if len(known):
            scaled = (numbers - known.mean()) / (known.std() or 1.0)
            groups[name] = Content(np.where(missing, 0, scaled).astype(np.float32)[:, None], missing)
    return groups


def titles_of(home: Home, snapshot: Snapshot, entity: str, items: Vocabulary) -> tuple[str | None, ...] | None:
    """Title of each item in its newest row, or None where no item has one.

    Read from the table itself: no view has the titles of music.
    """
    key = ENTITY_KEYS[entity]
    table = read_table(home, snapshot, ENTITY_TABLES[entity], [key, "title", "event_time", "ingested_at"])
    if table["title"].null_count == len(table):
        return None
    rows = rows_of(items, table[key])
    order = np.lexsort((instants(table["ingested_at"]), instants(table["event_time"])))
    titles = np.full(len(items), None, object)
    order = order[rows[order] != UNKNOWN]
    titles[rows[order]] = table["title"].to_numpy()[order]
    return tuple(titles.tolist())
