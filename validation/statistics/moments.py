"""Moments, codes for near-duplicates and ties at the extremes, in one pass over the sound vectors."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from validation.statistics.blocks import Blocks, Floats

__all__ = ["Moments", "moments"]

_PROJECTION_SEED = 20_260_102
_BITS = 64
_LARGEST = 1e15
"""Components beyond this, or all below its inverse, are squared in float64."""


@dataclass(frozen=True)
class Moments:
    """Of ``n`` vectors."""

    mean: npt.NDArray[np.float64]
    """``[width]``."""
    variance: npt.NDArray[np.float64]
    """``[width]``, divided by ``n``."""
    codes: npt.NDArray[np.uint64]
    """Signs of 64 random projections of the centred vector (Charikar, STOC 2002) ``[n]``: vectors at an angle of
    ``a`` agree in all with probability ``(1 - a / pi) ** 64``."""
    order: Floats
    """A further projection, by which vectors of one code are put in order ``[n]``."""
    low: Floats
    """Least value of each dimension ``[width]``."""
    high: Floats
    """Greatest."""
    tied: npt.NDArray[np.bool_]
    """Dimensions whose least or greatest value other than 0 is taken by more than one vector ``[width]``."""


def moments(blocks: Blocks, chosen: npt.NDArray[np.bool_], centre: Floats) -> Moments:
    """Pass over the chosen vectors, which are finite.

    Differences from ``centre`` are summed, in float32 within a block and in float64 over blocks, so that a large mean
    costs no precision (shifted data; Chan, Golub and LeVeque, 1983).

    Args:
        blocks: The table's vectors.
        chosen: Which rows ``[rows]``.
        centre: A point near the mean, such as that of a sample ``[width]``.
    """
    count, width = int(chosen.sum()), blocks.width
    axes = np.random.default_rng(_PROJECTION_SEED).normal(size=(width, _BITS + 1)).astype(np.float32)
    codes, order = np.zeros(count, np.uint64), np.zeros(count, np.float32)
    total, squares = np.zeros(width), np.zeros(width)
    low, high = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)
    at_low, at_high = np.zeros(width, np.int64), np.zeros(width, np.int64)
    done = 0
    for rows, values in blocks.of(chosen):
        least, greatest = values.min(axis=0), values.max(axis=0)
        at_low = _ties(at_low, low, least, values, np.minimum)
        at_high = _ties(at_high, high, greatest, values, np.maximum)
        low, high = np.minimum(low, least), np.maximum(high, greatest)
        reach = max(float(greatest.max()), -float(least.min()))
        shifted = (values if 1 / _LARGEST < reach < _LARGEST else values.astype(np.float64)) - centre
        ones = np.ones(len(rows), shifted.dtype)
        total += ones @ shifted
        squares += np.einsum("ij,ij->j", shifted, shifted)
        projected = shifted @ axes
        signs = np.packbits(projected[:, :_BITS] > 0, axis=1)
        codes[done : done + len(rows)] = signs.view(np.uint64)[:, 0]
        order[done : done + len(rows)] = projected[:, _BITS]
        done += len(rows)
    step = total / max(count, 1)
    tied = ((at_low > 1) & (low != 0)) | ((at_high > 1) & (high != 0))
    variance = np.maximum(squares / max(count, 1) - step**2, 0.0)
    return Moments(centre + step, variance, codes, order, low, high, tied)


def _ties(
    counts: npt.NDArray[np.int64], extreme: Floats, here: Floats, values: Floats, further: np.ufunc
) -> npt.NDArray[np.int64]:
    """Vectors at the extreme of each dimension after a block, given those before it."""
    now = further(extreme, here)
    # Few components are at an extreme, so finding them is cheaper than counting down the columns.
    hits = np.flatnonzero(values == now) % len(now)
    return np.where(now == extreme, counts, 0) + np.bincount(hits, minlength=len(now))
