"""What was encoded as tables of a snapshot.

``keys`` say for each of some rows of the entity's table which vector in the parts is its own; None where it has none.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.embeddings import EmbeddingSpec
from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX, ENTITY_KEYS, embedding_schema
from feature_repo.encoders.encoding import Entity, FillsColumns
from feature_repo.encoders.items import Items
from feature_repo.encoders.parts import EncodedParts
from feature_repo.offline import read_table
from feature_repo.raw_tables import microseconds, table_of, vector_lists

__all__ = ["embedding_table", "filled_table", "with_rows_of_others"]


def embedding_table(
    items: Items, rows: Sequence[int], keys: Sequence[tuple[str, str] | None], parts: EncodedParts, spec: EmbeddingSpec
) -> pa.Table:
    """Vectors as an embedding table: known from when on both the entity and the encoder were."""
    here = [place for place, key in enumerate(keys) if key is not None]
    table = items.table.take(pa.array([rows[place] for place in here], pa.int64()))
    known = table["ingested_at"].cast(pa.int64()).to_numpy()
    if spec.available_from is not None:
        known = np.maximum(known, microseconds(spec.available_from))
    id_column = ENTITY_KEYS[items.entity]
    matrix = parts.vectors([key for key in keys if key is not None])
    return table_of(
        embedding_schema(items.entity),
        table["event_time"].cast(pa.int64()).to_numpy(),
        known,
        **{id_column: table[id_column], "vector": vector_lists(matrix)},
    )


def with_rows_of_others(home: Home, snapshot: Snapshot, name: str, entity: Entity, new: pa.Table) -> pa.Table:
    """Rows that came otherwise, such as pushed ones of items without media, stay."""
    if name not in snapshot.embeddings:
        return new
    before = read_table(home, snapshot, EMBEDDING_PREFIX + name)
    column = ENTITY_KEYS[entity]
    others = before.filter(pc.invert(pc.is_in(before[column], value_set=new[column].combine_chunks())))
    return pa.concat_tables([new, others]) if others.num_rows else new


def filled_table(
    items: Items,
    rows: Sequence[int],
    keys: Sequence[tuple[str, str] | None],
    parts: EncodedParts,
    encoding: FillsColumns,
) -> pa.Table:
    """The entity's table with what its columns lacked; what they say already stays."""
    here = [place for place, key in enumerate(keys) if key is not None]
    columns = encoding.columns(parts.vectors([key for key in keys if key is not None]))
    target = np.full(len(items), -1, np.int64)
    target[[rows[place] for place in here]] = np.arange(len(here))
    index = pa.array(target, mask=target < 0)
    table = items.table
    for name, values in columns.items():
        column = pc.coalesce(table[name], values.take(index).cast(table.schema.field(name).type))
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    return table
