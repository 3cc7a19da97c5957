"""Components at the limits of a clipped range."""

import numpy as np
import numpy.typing as npt

from validation.statistics.blocks import Blocks, Rows
from validation.statistics.moments import Moments

__all__ = ["clipped_components"]


def clipped_components(blocks: Blocks, distinct: npt.NDArray[np.bool_], found: Moments) -> Rows:
    """Components of each vector at the least or greatest value of their dimension, where another vector shares it.

    A continuous value hardly ever falls on a dimension's extreme twice; one that was clipped or saturated does. Zero
    as an extreme does not count: rectified features end there.

    Args:
        blocks: The table's vectors.
        distinct: Rows of distinct vectors ``[rows]``: a vector that is there twice shares all its values.
        found: Extremes of these vectors and which may be shared.

    Returns:
        ``[rows]``, 0 for rows that are not distinct.
    """
    counts = np.zeros(len(distinct), np.int64)
    dimensions = np.flatnonzero(found.tied)
    limits = np.stack([found.low[dimensions], found.high[dimensions]])
    limits[limits == 0] = np.nan
    limits[:, limits[0] == limits[1]] = np.nan  # a dimension of one value is dead, not clipped
    if np.isnan(limits).all():
        return counts
    ties = np.zeros(limits.shape, np.int64)
    for _, values in blocks.of(distinct):
        ties += np.stack([np.count_nonzero(values[:, dimensions] == limit, axis=0) for limit in limits])
    limits[ties < 2] = np.nan
    shared = np.isfinite(limits).any(axis=0)
    dimensions, limits = dimensions[shared], limits[:, shared]
    if len(dimensions):
        for rows, values in blocks.of(distinct):
            part = values[:, dimensions]
            counts[rows] = np.count_nonzero((part == limits[0]) | (part == limits[1]), axis=1)
    return counts
