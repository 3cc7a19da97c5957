"""Columns of bytes, made and joined without a Python object per row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["as_bytes", "by_size", "contiguous", "fixed_bytes", "join_bytes", "large_binary", "varint_bytes", "varints"]

_FEW_SIZES = 4_096


def join_bytes(*parts: bytes | pa.Array | pa.Scalar) -> pa.LargeBinaryArray:
    """Put columns of bytes, and constants, beside each other row by row; at least one is a column."""
    typed = [pa.scalar(part, pa.large_binary()) if isinstance(part, bytes) else part for part in parts]
    return pc.binary_join_element_wise(*typed, pa.scalar(b"", pa.large_binary()))


def as_bytes(array: pa.Array) -> pa.LargeBinaryArray:
    """The bytes of a column of strings or binaries."""
    return array.cast(pa.large_binary())


def by_size(sizes: npt.NDArray[Any], header: Callable[[int], bytes]) -> pa.Array | pa.Scalar:
    """``header(size)`` for each row, computed once per distinct size; one constant where all are equal."""
    if len(sizes) and (sizes == sizes[0]).all():
        return pa.scalar(header(int(sizes[0])), pa.large_binary())
    if len(sizes) and int(sizes.max()) <= max(len(sizes), _FEW_SIZES):
        distinct = np.flatnonzero(np.bincount(sizes))
        places = np.zeros(int(sizes.max()) + 1, np.int64)
        places[distinct] = np.arange(len(distinct))
        which = places[sizes]
    else:
        distinct, which = np.unique(sizes, return_inverse=True)
    headers = pa.array([header(int(size)) for size in distinct], pa.large_binary())
    return headers.take(pa.array(which))


def fixed_bytes(values: npt.NDArray[Any]) -> pa.LargeBinaryArray:
    """The bytes of each number, or of each record of a structured array, as they lie in memory."""
    width = values.dtype.itemsize
    return large_binary(np.arange(len(values) + 1, dtype=np.int64) * width, np.ascontiguousarray(values).view(np.uint8))


def varint_bytes(values: npt.NDArray[np.int64]) -> pa.LargeBinaryArray:
    """Whole numbers as base-128 varints, a column of them."""
    data, starts = varints(values)
    return large_binary(starts, data)


def contiguous(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array instead of several chunks."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def varints(values: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Base-128 varints of whole numbers, negative ones as 64-bit two's complement.

    Returns:
        The bytes one after the other, and where each begins, ``[n + 1]``.
    """
    rest = values.astype(np.int64).view(np.uint64)
    sizes = np.ones(len(rest), np.int64)
    for step in range(1, 10):
        sizes += rest >= np.uint64(1) << np.uint64(7 * step)
    starts = np.zeros(len(rest) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    out = np.empty(starts[-1], np.uint8)
    for step in range(int(sizes.max(initial=0))):
        longer = sizes > step
        part = (rest[longer] >> np.uint64(7 * step)).astype(np.uint8) & 0x7F
        part[sizes[longer] > step + 1] |= 0x80
        out[starts[:-1][longer] + step] = part
    return out, starts


def large_binary(offsets: npt.NDArray[np.int64], data: Any) -> pa.LargeBinaryArray:
    """A column of bytes out of one run of them and where each begins, ``[n + 1]``."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets, np.int64)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)
