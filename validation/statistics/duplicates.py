"""Vectors that are those of other entities, bit for bit or nearly."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from validation.statistics.blocks import BLOCK_VALUES, Blocks, Floats, Rows

__all__ = ["NEAR", "near_duplicates", "repeats"]

NEAR = 0.01
"""Nearer than this share of the typical distance of two vectors is nearly the same."""


def repeats(
    fingerprints: npt.NDArray[np.uint64], entities: Rows, moving: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Rows that hold, bit for bit, what an earlier row holds for another entity.

    Args:
        fingerprints: Of the vectors ``[rows]``.
        entities: Number of the entity of each row ``[rows]``.
        moving: Rows to look at: those with a vector other than zero.
    """
    rows = np.flatnonzero(moving)
    codes, firsts = pd.factorize(fingerprints[rows])
    first = np.zeros(len(firsts), np.int64)
    first[codes[::-1]] = rows[::-1]
    repeated = np.zeros(len(fingerprints), bool)
    repeated[rows] = entities[rows] != entities[first[codes]]
    return repeated


def near_duplicates(
    blocks: Blocks, rows: Rows, codes: npt.NDArray[np.uint64], order: Floats, typical: float
) -> npt.NDArray[np.bool_]:
    """Which of the distinct vectors lie next to an earlier one.

    Vectors are put in order of their codes and, within a code, of one projection; each is compared with the one
    before it. Chains of near ones are one group, of which all but the first row are near-duplicates.

    Args:
        blocks: The table's vectors.
        rows: Rows of the distinct vectors, ascending ``[n]``.
        codes: Their signs under random projections ``[n]``.
        order: Their last projection ``[n]``.
        typical: Typical distance of two vectors of the table.

    Returns:
        A mark for each ``[n]``.
    """
    near = np.zeros(len(rows), bool)
    if len(rows) < 2 or typical <= 0:
        return near
    places = np.lexsort((order, codes))
    limit = NEAR * typical
    follows = np.flatnonzero(codes[places[1:]] == codes[places[:-1]]) + 1
    at_once = max(BLOCK_VALUES // blocks.width, 1)
    joined = np.zeros(len(rows), bool)
    for start in range(0, len(follows), at_once):
        some = follows[start : start + at_once]
        gap = blocks.take(rows[places[some]]).astype(np.float64) - blocks.take(rows[places[some - 1]])
        joined[some] = np.sqrt(np.einsum("ij,ij->i", gap, gap)) < limit
    heads = np.flatnonzero(~joined)
    earliest = np.minimum.reduceat(places, heads)
    near[places] = places != np.repeat(earliest, np.diff(np.append(heads, len(rows))))
    return near
