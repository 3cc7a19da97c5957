"""Which vector of each entity was the newest known one, instant by instant."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.views.sequences import Numbers, arrivals_of, change_points, codes, instants

__all__ = ["VectorChanges", "matrix_of", "nullable_vectors", "vector_changes"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VectorChanges:
    """Change points of the vectors of one encoder, in order of entity and instant."""

    ids: pa.Array
    """Distinct entities in order."""
    key: Numbers
    """``[C]``"""
    arrivals: Numbers
    """``[C]`` in microseconds since 1970-01-01 UTC."""
    row: Numbers
    """``[C]`` row of ``matrix``."""
    matrix: Floats
    """``[rows of the table, width]``"""


def matrix_of(vectors: pa.ChunkedArray, width: int) -> Floats:
    """A column of lists as ``[n, width]``, without copying where it lies in one piece."""
    return np.asarray(vectors.combine_chunks().flatten().to_numpy(zero_copy_only=False), np.float32).reshape(-1, width)


def vector_changes(table: pa.Table, key: str, width: int) -> VectorChanges:
    """When another vector of an entity became the newest: of those that arrived, the one of the latest event time.

    Args:
        table: An embedding table.
        key: Column of the entity.
        width: Numbers in a vector.
    """
    keyed, arrivals = codes(table[key]), arrivals_of(table)
    by_time = np.lexsort((arrivals, instants(table["event_time"]), keyed.rows))
    key_sorted, arrived = keyed.rows[by_time], arrivals[by_time]
    order, last = change_points(key_sorted, arrived)
    winner = np.maximum.accumulate(order)[last]
    winner = winner[arrived[winner] == arrived[order[last]]]  # else what arrived was older than what was known
    return VectorChanges(
        keyed.ids, key_sorted[winner], arrived[winner], by_time[winner], matrix_of(table["vector"], width)
    )


def nullable_vectors(matrix: Floats, missing: npt.NDArray[np.bool_]) -> pa.ListArray:
    """``[n, width]`` as a column of lists, null where missing."""
    offsets = np.r_[0, np.cumsum(~missing * matrix.shape[1])].astype(np.int32)
    values = pa.array(matrix[~missing].ravel(), pa.float32())
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(missing))
