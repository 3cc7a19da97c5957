"""Whole Arrow columns to and from Feast's serialized ``Value`` messages.

Feast builds one Python object per value, which is where most of the time of a materialization goes. On the wire a
list of floats is a short header and the raw little-endian float32 bytes, so a column of vectors is packed by laying
its own buffer out anew. The bytes are those that ``Value.SerializeToString`` gives (Protocol Buffers encoding; field
numbers from Feast's ``Value.proto``); a null is the empty message, as Feast writes it.
"""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import BadInput
from feature_repo.stores.byte_columns import (
    as_bytes,
    by_size,
    contiguous,
    fixed_bytes,
    join_bytes,
    large_binary,
    varint_bytes,
    varints,
)

__all__ = ["pack", "packed_key", "unpack", "vector_rows"]

_STRING, _INT32, _INT64, _DOUBLE, _FLOAT, _BOOL, _UNIX_TIME = 2, 3, 4, 5, 6, 7, 8
_STRING_LIST, _INT32_LIST, _INT64_LIST, _DOUBLE_LIST, _FLOAT_LIST = 12, 13, 14, 15, 16
_LENGTH_DELIMITED, _FOUR_BYTES, _EIGHT_BYTES = 2, 5, 1
_REPEATED = b"\x0a"
"""Field 1, length-delimited: the one field of every list message."""


def pack(column: pa.Array | pa.ChunkedArray) -> pa.LargeBinaryArray:
    """Serialize a column.

    Args:
        column: ``[n]`` of string, int32, int64, float32, float64, bool, timestamp (kept to the second, as Feast does)
            or null, or lists of string, int32, int64, float32 or float64.

    Returns:
        ``[n]`` serialized messages without nulls; empty bytes where the column is null.

    Raises:
        BadInput: The type has no message, or a list has a null in it.
    """
    array = contiguous(column)
    kind = array.type
    if pa.types.is_null(kind):
        return pa.array([b""] * len(array), pa.large_binary())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        packed = _pack_lists(array)
    elif kind in _SCALARS:
        packed = _SCALARS[kind](array)
    elif pa.types.is_timestamp(kind):
        packed = _tagged_varints(_UNIX_TIME, array.cast(pa.timestamp("s", kind.tz), safe=False).cast(pa.int64()))
    else:
        raise BadInput(
            "feature column",
            found=f"type {kind}",
            expected="string, int32, int64, float32, float64, bool, timestamp, or a list of the first five",
            next_step="cast the column in the view that writes it",
        )
    return _empty_where_null(packed, array)


def packed_key(join_key: str, column: pa.Array | pa.ChunkedArray, suffix: bytes = b"") -> pa.LargeBinaryArray:
    """Serialize entity keys of one join key as Feast does in version 3.

    Args:
        join_key: Name of the entity's key column.
        column: The keys, ``[n]``: string, int32 or int64, without nulls.
        suffix: Put behind each key; Feast's Redis store puts the project there.

    Returns:
        ``[n]`` keys: number of join keys, each name with type and length, each value likewise.

    Raises:
        BadInput: A key is null, or of another type.
    """
    array = contiguous(column)
    if array.null_count:
        raise BadInput(
            f"key column {join_key}",
            found=f"{array.null_count} nulls",
            expected="an id in every row",
            next_step="drop the rows without an id, or ingest them again",
        )
    name = join_key.encode()
    head = _uint32(1) + _uint32(_STRING) + _uint32(len(name)) + name
    if pa.types.is_large_string(array.type) or pa.types.is_dictionary(array.type):
        array = array.cast(pa.string())
    if pa.types.is_string(array.type):
        data, value_type = as_bytes(array), _uint32(_STRING)
        sizes = fixed_bytes(pc.binary_length(data).to_numpy(zero_copy_only=False).astype("<u4"))
        return join_bytes(head + value_type, sizes, data, suffix)
    if array.type in (pa.int32(), pa.int64()):
        width = array.type.bit_width // 8
        value_type = _uint32(_INT32 if width == 4 else _INT64) + _uint32(width)
        return join_bytes(head + value_type, fixed_bytes(array.to_numpy().astype(f"<i{width}")), suffix)
    raise BadInput(
        f"key column {join_key}",
        found=f"type {array.type}",
        expected="string, int32 or int64",
        next_step="cast the column in the view that writes it",
    )


def unpack(packed: Sequence[bytes | None], kind: pa.DataType) -> pa.Array:
    """Parse serialized messages into a column.

    Args:
        packed: ``[n]`` messages; empty or None where there is no value.
        kind: Arrow type of the column.
    """
    if pa.types.is_list(kind) and kind.value_type == pa.float32():
        matrix, present = vector_rows([(message,) for message in packed], 1, None)
        if matrix is not None:
            width = matrix.shape[1]
            offsets = np.zeros(len(packed) + 1, np.int32)
            np.cumsum(np.where(present, width, 0), out=offsets[1:])
            floats = pa.array(np.ravel(matrix[present]), pa.float32())
            return pa.ListArray.from_arrays(pa.array(offsets), floats, mask=pa.array(~present))
    from feast.protos.feast.types.Value_pb2 import Value

    values: list[Any] = []
    for message in packed:
        value = Value.FromString(message) if message else Value()
        field = value.WhichOneof("val")
        found: Any = getattr(value, field) if field else None
        values.append(list(found.val) if field and field.endswith("_list_val") else found)
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(pa.timestamp("s", kind.tz)).cast(kind)
    return pa.array(values, kind)


def vector_rows(
    rows: Sequence[Sequence[bytes | None]], columns: int, width: int | None
) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.bool_]]:
    """Vectors of equal width out of serialized lists of floats.

    Args:
        rows: Messages, ``[n][columns]``; empty or None where there is no vector.
        columns: How many vectors a row has.
        width: Their width; that of the first one if None.

    Returns:
        ``[n, columns * width]``, the vectors of a row beside each other, zeros in a row that lacks one; and which rows
        have all, ``[n]``. The first is None where the messages are not lists of floats of that width.
    """
    present = np.fromiter(map(all, rows), np.bool_, len(rows))
    whole = bool(present.all())
    messages = [each for row in (rows if whole else compress(rows, present)) for each in row if each]
    joined, count = b"".join(messages), int(present.sum())
    if width is None and (width := _width_of(messages[0] if messages else None)) is None:
        return None, present
    header = np.frombuffer(_vector_header(width), np.uint8)
    size = len(header) + 4 * width
    if len(joined) != count * columns * size:
        return None, present
    laid = np.frombuffer(joined, np.uint8).reshape(count, columns, size)
    # A header tells the length of its message: if each is where it should be, so is the next.
    if not (laid[:, :, : len(header)] == header).all():
        return None, present
    matrix = (np.empty if whole else np.zeros)((len(rows), columns * width), np.float32)
    if width:
        places = matrix.view(np.uint8).reshape(len(rows), columns, 4 * width)
        places[slice(None) if whole else present] = laid[:, :, len(header) :]
    return matrix, present


def _pack_lists(array: pa.Array) -> pa.LargeBinaryArray:
    if pa.types.is_fixed_size_list(array.type) or pa.types.is_large_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    kind = array.type.value_type
    if kind not in _LISTS:
        raise BadInput(
            "feature column",
            found=f"type {array.type}",
            expected="lists of string, int32, int64, float32 or float64",
            next_step="cast the column in the view that writes it",
        )
    field, layout = _LISTS[kind]
    offsets = array.offsets.to_numpy().astype(np.int64)
    values = array.values.slice(offsets[0], offsets[-1] - offsets[0])
    if values.null_count:
        raise BadInput(
            "feature column",
            found=f"{values.null_count} nulls inside lists",
            expected="lists without nulls, or null instead of a list",
            next_step="correct the rows in the view that writes it",
        )
    data, ends = layout(values, offsets - offsets[0])
    sizes = np.diff(ends)
    inner = large_binary(ends, data)
    if field == _STRING_LIST:  # each string has its own header; the others are one packed run
        return join_bytes(by_size(sizes, lambda size: _tag(field) + _varint(size)), inner)
    return join_bytes(by_size(sizes, lambda size: _packed_header(field, size)), inner)


def _fixed_width_layout(values: pa.Array, offsets: npt.NDArray[np.int64]) -> tuple[Any, npt.NDArray[np.int64]]:
    return np.ascontiguousarray(values.to_numpy()).view(np.uint8), offsets * (values.type.bit_width // 8)


def _varint_layout(values: pa.Array, offsets: npt.NDArray[np.int64]) -> tuple[Any, npt.NDArray[np.int64]]:
    data, starts = varints(values.to_numpy())
    return data, starts[offsets]


def _string_layout(values: pa.Array, offsets: npt.NDArray[np.int64]) -> tuple[Any, npt.NDArray[np.int64]]:
    data = as_bytes(values)
    sizes = pc.binary_length(data).to_numpy(zero_copy_only=False)
    whole = join_bytes(by_size(sizes, lambda size: _REPEATED + _varint(size)), data)
    starts = np.frombuffer(whole.buffers()[1], np.int64)[whole.offset : whole.offset + len(whole) + 1]
    if not len(starts):
        return np.empty(0, np.uint8), np.zeros(len(offsets), np.int64)
    return np.frombuffer(whole.buffers()[2] or b"", np.uint8)[starts[0] :], starts[offsets] - starts[0]


def _pack_strings(array: pa.Array) -> pa.LargeBinaryArray:
    data = as_bytes(array.fill_null(""))
    sizes = pc.binary_length(data).to_numpy(zero_copy_only=False)
    return join_bytes(by_size(sizes, lambda size: _tag(_STRING) + _varint(size)), data)


def _tagged_varints(field: int, array: pa.Array) -> pa.LargeBinaryArray:
    return join_bytes(_varint(field << 3), varint_bytes(array.fill_null(0).to_numpy(zero_copy_only=False)))


def _tagged_fixed(field: int, wire: int) -> Callable[[pa.Array], pa.LargeBinaryArray]:
    return lambda array: join_bytes(_varint(field << 3 | wire), fixed_bytes(array.fill_null(0).to_numpy()))


_SCALARS: dict[pa.DataType, Callable[[pa.Array], pa.LargeBinaryArray]] = {
    pa.string(): _pack_strings,
    pa.large_string(): _pack_strings,
    pa.int32(): lambda array: _tagged_varints(_INT32, array),
    pa.int64(): lambda array: _tagged_varints(_INT64, array),
    pa.bool_(): lambda array: _tagged_varints(_BOOL, array.cast(pa.int64())),
    pa.float32(): _tagged_fixed(_FLOAT, _FOUR_BYTES),
    pa.float64(): _tagged_fixed(_DOUBLE, _EIGHT_BYTES),
}
_LISTS: dict[pa.DataType, tuple[int, Callable[..., tuple[Any, npt.NDArray[np.int64]]]]] = {
    pa.string(): (_STRING_LIST, _string_layout),
    pa.int32(): (_INT32_LIST, _varint_layout),
    pa.int64(): (_INT64_LIST, _varint_layout),
    pa.float32(): (_FLOAT_LIST, _fixed_width_layout),
    pa.float64(): (_DOUBLE_LIST, _fixed_width_layout),
}


def _empty_where_null(packed: pa.LargeBinaryArray, array: pa.Array) -> pa.LargeBinaryArray:
    if not array.null_count:
        return packed
    return pc.if_else(array.is_valid(), packed, pa.scalar(b"", pa.large_binary()))


def _vector_header(width: int) -> bytes:
    return _packed_header(_FLOAT_LIST, 4 * width)


def _width_of(message: bytes | None) -> int | None:
    if message is None:
        return None
    for header_size in range(3, 14):
        width, rest = divmod(len(message) - header_size, 4)
        if not rest and width >= 0 and message[:header_size] == _vector_header(width):
            return width
    return None


def _packed_header(field: int, size: int) -> bytes:
    if not size:
        return _tag(field) + b"\x00"
    inner = _REPEATED + _varint(size)
    return _tag(field) + _varint(len(inner) + size) + inner


def _tag(field: int) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _uint32(number: int) -> bytes:
    return number.to_bytes(4, "little")
