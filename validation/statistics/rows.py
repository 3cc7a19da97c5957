"""What can be said of every vector by itself, in one pass over the table."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from validation.statistics.blocks import Blocks, Floats

__all__ = ["RowFacts", "fingerprints", "row_facts"]

_HASH_SEED = 20_260_101
_SAFE_SQUARES = (1e-30, 1e30)
"""Sums of squares within these did not overflow or vanish in float32."""
_HALF_LARGEST = 65_504.0
_HALF_ROUNDING = 2.0**-11
"""Largest relative error of rounding to float16 within its normal range."""
_HALF_STEP = 2.0**-25
"""Largest absolute error below that range."""


@dataclass(frozen=True)
class RowFacts:
    """Facts ``[rows]``; those of rows of another width are 0 or False and mean nothing."""

    nonfinite: npt.NDArray[np.int64]
    """Components that are NaN or infinite."""
    norm: npt.NDArray[np.float64]
    """Euclidean norm over the finite components."""
    constant: npt.NDArray[np.bool_]
    """All components equal, but not 0; never at width 1."""
    fingerprint: npt.NDArray[np.uint64]
    """As of ``fingerprints``."""
    fp16_error: npt.NDArray[np.float64]
    """Relative error of rounding the vector to float16: infinite where a component is at or beyond float16's largest
    value, about 1 where the vector vanishes, 2**-11 (the bound) where the range of float16 plays no part."""


def row_facts(blocks: Blocks) -> RowFacts:
    """Facts of all vectors of the right width."""
    count = len(blocks.right)
    facts = RowFacts(
        nonfinite=np.zeros(count, np.int64),
        norm=np.zeros(count),
        constant=np.zeros(count, bool),
        fingerprint=np.zeros(count, np.uint64),
        fp16_error=np.full(count, _HALF_ROUNDING),
    )
    for rows, values in blocks.of(blocks.right):
        facts.fingerprint[rows] = fingerprints(values)
        squares = np.einsum("ij,ij->i", values, values, dtype=np.float32)
        facts.norm[rows] = np.sqrt(squares, dtype=np.float64)
        # NaN compares as unsafe too, so that only these rows need a closer look at their components.
        unsafe = np.flatnonzero(~((squares > _SAFE_SQUARES[0]) & (squares < _SAFE_SQUARES[1])))
        if len(unsafe):
            finite = np.isfinite(values[unsafe])
            clean = np.where(finite, values[unsafe], np.float32(0)).astype(np.float64)
            facts.nonfinite[rows[unsafe]] = blocks.width - finite.sum(axis=1)
            facts.norm[rows[unsafe]] = np.sqrt(np.einsum("ij,ij->i", clean, clean))
        if blocks.width > 1:
            alike = np.flatnonzero(
                (values[:, 0] == values[:, 1]) & (values[:, 0] == values[:, -1]) & (values[:, 0] != 0)
            )
            facts.constant[rows[alike]] = (values[alike] == values[alike, :1]).all(axis=1)
        norm = facts.norm[rows]
        tight = (norm >= _HALF_LARGEST) | (norm < 1000 * _HALF_STEP * np.sqrt(blocks.width))
        tight &= (norm > 0) & (facts.nonfinite[rows] == 0)
        if tight.any():
            facts.fp16_error[rows[tight]] = _half_errors(values[tight], norm[tight])
    return facts


def fingerprints(values: Floats) -> npt.NDArray[np.uint64]:
    """Hashes of the vectors' bits, the same in every run: multilinear, modulo 2**64 (Thorup, 2015).

    Args:
        values: ``[n, width]``.

    Returns:
        ``[n]``: equal for equal bits, and for others with a chance of about 2**-63.
    """
    return np.asarray(np.einsum("ij,j->i", values.view(np.uint32), _multipliers(values.shape[1])))


@cache
def _multipliers(width: int) -> npt.NDArray[np.uint64]:
    drawn = np.random.default_rng(_HASH_SEED).integers(0, 2**63, size=width, dtype=np.uint64)
    return np.asarray(drawn * 2 + 1)


def _half_errors(values: Floats, norm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16).astype(np.float64)
    rounded[np.abs(values) >= _HALF_LARGEST] = np.inf
    lost = values - rounded
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", lost, lost)) / norm)
