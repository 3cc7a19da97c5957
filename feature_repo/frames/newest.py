"""What the offline tables alone say of entities, of a snapshot whose features were not applied."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX
from contracts.vocabulary import UNKNOWN, Vocabulary
from feature_repo.frames.content import Content
from feature_repo.offline import read_table
from feature_repo.views.builder import BuildContext, schema_of_view
from feature_repo.views.builders import builders_of
from feature_repo.views.catalogue import views_of
from feature_repo.views.vectors import vector_changes

__all__ = ["known_rows", "newest_rows", "newest_vectors"]


def newest_rows(
    home: Home, snapshot: Snapshot, tables: Mapping[str, pa.Table], families: tuple[str, ...]
) -> dict[str, pa.Table]:
    """View → its newest row of each entity, computed from some events.

    Args:
        home: Where the snapshot is.
        snapshot: Whose views.
        tables: What the views are computed from.
        families: Of views that are computed.
    """
    views, builders = views_of(home, snapshot), builders_of(home, snapshot)
    context = BuildContext(snapshot, home.centres, newest=True)
    return {
        name: pa.concat_tables([schema_of_view(views[name]).empty_table(), *builders[name].build(tables, context)])
        for name in families
    }


def known_rows(vocabulary: Vocabulary, table: pa.Table, key: str) -> Iterator[tuple[npt.NDArray[np.int64], pa.Table]]:
    """Row numbers of the entities that have one, and their rows of the table; nothing where there are none."""
    rows = vocabulary.rows(table[key].to_numpy())
    known = rows != UNKNOWN
    if known.any():
        yield rows[known], table.filter(pa.array(known))


def newest_vectors(home: Home, snapshot: Snapshot, name: str, items: Vocabulary) -> Content:
    """Of each video, the vector of the latest event time; one of another width than its spec's counts as none."""
    width = snapshot.embeddings[name].width
    matrix, missing = np.zeros((len(items), width), np.float32), np.ones(len(items), np.bool_)
    table = read_table(home, snapshot, EMBEDDING_PREFIX + name)
    right = pc.equal(pc.list_value_length(table["vector"]), width).fill_null(False)
    changes = vector_changes(table.filter(right), "video_id", width)
    newest = np.r_[changes.key[1:] != changes.key[:-1], True][: len(changes.key)]
    rows = items.rows(changes.ids.take(pa.array(changes.key[newest])).to_numpy(zero_copy_only=False))
    known = rows != UNKNOWN
    matrix[rows[known]] = changes.matrix[changes.row[newest][known]]
    missing[rows[known]] = False
    return Content(matrix, missing)
