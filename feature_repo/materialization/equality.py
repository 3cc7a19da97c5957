"""Where two columns differ, compared as whole columns."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["unequal"]


def unequal(ours: pa.Array | pa.ChunkedArray, theirs: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Compare two columns of equal length, row by row; NaN equals NaN, and null equals null only.

    Args:
        ours: Scalars or lists, nested as they like.
        theirs: Of the same type, or of one whose values can be those of the first; or of no type, all null.

    Returns:
        Whether each row differs.
    """
    ours, theirs = _whole(ours), _whole(theirs)
    different = _mask(pc.xor(ours.is_null(), theirs.is_null()))
    if pa.types.is_null(ours.type) or pa.types.is_null(theirs.type):
        return different
    if not _is_list(ours.type):
        return different | _other_scalars(ours, theirs)
    lengths, found = (pc.fill_null(pc.list_value_length(each), 0).to_numpy() for each in (ours, theirs))
    different |= lengths != found
    rows = np.flatnonzero(~different & (lengths > 0))
    if len(rows):
        if len(rows) < len(ours):
            ours, theirs = ours.take(pa.array(rows)), theirs.take(pa.array(rows))
        inner = np.flatnonzero(unequal(ours.flatten(), theirs.flatten()))
        different[rows[np.searchsorted(np.cumsum(lengths[rows]), inner, side="right")]] = True
    return different


def _other_scalars(ours: pa.Array, theirs: pa.Array) -> npt.NDArray[np.bool_]:
    """Which values differ, where both are there."""
    different = _mask(pc.fill_null(pc.not_equal(ours, theirs), False))
    if pa.types.is_floating(ours.type) and pa.types.is_floating(theirs.type):
        different &= ~_mask(pc.fill_null(pc.and_(pc.is_nan(ours), pc.is_nan(theirs)), False))
    return different


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _mask(flags: pa.Array) -> npt.NDArray[np.bool_]:
    return np.array(flags.to_numpy(zero_copy_only=False), bool)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
