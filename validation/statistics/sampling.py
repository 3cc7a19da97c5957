"""Which entities are sampled: the same ones in every snapshot that has them."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["NEW_SAMPLE", "SAMPLE", "rows_beyond", "sample_rows"]

SAMPLE = 8192
"""Most entities of which vectors are kept, and on which statistics in more than linear time are taken."""
NEW_SAMPLE = 4096
"""Most new entities that are compared with accepted ones."""


def sample_rows(ids: pa.Array, size: int = SAMPLE) -> npt.NDArray[np.int64]:
    """The rows of the smallest hashes of the ids (bottom-k sampling; Cohen and Kaplan, PODC 2007).

    A hash depends on nothing but its id, so two snapshots with mostly the same entities sample mostly the same ones,
    and the sample is uniform over the entities.

    Args:
        ids: Strings without nulls ``[n]``.
        size: How many to take, at most.

    Returns:
        Rows ``[min(n, size)]`` in order of the hash, so that a first part of a sample is itself such a sample.
    """
    if not len(ids):
        return np.zeros(0, np.int64)
    hashes = pd.util.hash_array(ids.to_numpy(zero_copy_only=False), categorize=False)
    if len(hashes) > size:
        nearest = np.argpartition(hashes, size)[:size]
        return nearest[np.argsort(hashes[nearest], kind="stable")].astype(np.int64)
    return np.argsort(hashes, kind="stable").astype(np.int64)


def rows_beyond(ids: pa.Array, sampled: npt.NDArray[np.int64], known: pa.Array | None) -> npt.NDArray[np.int64]:
    """Rows of new entities that make those of the sample up to a sample of all new ones: by the smallest hashes, too.

    Args:
        ids: Strings without nulls ``[n]``.
        sampled: Rows that ``sample_rows`` chose.
        known: Ids that are not new; None where nothing is to be compared.

    Returns:
        Rows, at most 4,096; none where the sample holds all ids.
    """
    if known is None or len(sampled) == len(ids):
        return np.zeros(0, np.int64)
    new = np.flatnonzero(~pc.is_in(ids, value_set=known).to_numpy(zero_copy_only=False))
    wanted = new[sample_rows(ids.take(pa.array(new)), NEW_SAMPLE)]
    return wanted[~np.isin(wanted, sampled)]
