"""Making a column what its table needs, where nothing is lost by it, and saying what stands in the way."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contracts.tables import TIMESTAMP
from feature_repo.readers.own.problems import Place

__all__ = ["as_strings", "convert", "false_where_null"]

_ROWS_AT_ONCE = 65_536
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_LARGEST_INT32 = 2**31 - 1
_IMAGE_SEPARATOR = "|"
_ZONED = r"[T ]\d{2}(:?\d{2}){0,2}([.,]\d+)? ?(Z|z|[+-]\d{2}(:?\d{2})?)$"
_ZONED_EXAMPLE = "2026-01-31T12:00:00Z or 2026-01-31T12:00:00+08:00"
_ZONE_HINT = (
    f"write the zone the moments were recorded in, as in {_ZONED_EXAMPLE}; in pandas .dt.tz_localize(zone), "
    "in Polars .dt.replace_time_zone(zone)"
)


def convert(column: pa.ChunkedArray, field: pa.Field, *, text: bool, place: Place) -> pa.ChunkedArray | None:
    """A column in the type of its table.

    Strings may be large or dictionary-encoded; ids may be integers, which become their decimal digits; numbers may
    be wider or narrower; moments may have any zone and unit, and may be ISO 8601 text. Every other change of type
    could lose something and is a problem.

    Args:
        column: As it stands in the file, ``[n]``.
        field: Name and type to be had.
        text: Whether the file is text, in which numbers are text as well.
        place: Where problems go.

    Returns:
        The column, ``[n]``, with nulls where a value could not be converted; None where no value could.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not field.nullable:
        place.add_rows(
            np.asarray(column.is_null()),
            "nothing (null)",
            allowed="a value in every row",
            hint="fill it in, or leave the row out",
            column=field.name,
            values=column,
        )
    if pa.types.is_null(column.type):
        return pa.chunked_array([pa.nulls(len(column), field.type)])
    if field.type == TIMESTAMP:
        return _moments(column, field, place)
    if pa.types.is_string(field.type):
        return _strings(column, field, place)
    if pa.types.is_list(field.type):
        return _string_lists(column, field, text, place)
    return _numbers(column, field, text, place)


def as_strings(kind: pa.DataType) -> bool:
    """Whether a type is one of Arrow's kinds of strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def false_where_null(mask: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """A mask as a NumPy array, ``[n]``."""
    return np.asarray(pc.fill_null(mask, False))


def _wrong_type(column: pa.ChunkedArray, field: pa.Field, place: Place, allowed: str, hint: str) -> None:
    place.add(
        f"type {column.type}", allowed=allowed, hint=hint, column=field.name, values=column.slice(0, 3).to_pylist()
    )


def _strings(column: pa.ChunkedArray, field: pa.Field, place: Place) -> pa.ChunkedArray | None:
    identifies = field.name.endswith("_id")
    if as_strings(column.type) or (identifies and pa.types.is_integer(column.type)):
        return column.cast(pa.string())
    allowed = "strings, or integers" if identifies else "strings"
    _wrong_type(column, field, place, allowed, "convert the column to strings")
    return None


def _string_lists(column: pa.ChunkedArray, field: pa.Field, text: bool, place: Place) -> pa.ChunkedArray | None:
    if text:
        filled = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
        return pc.split_pattern(filled, _IMAGE_SEPARATOR)
    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if lists and (as_strings(kind.value_type) or pa.types.is_null(kind.value_type)):
        column = column.cast(field.type)
        holes = false_where_null(
            pc.greater(
                pc.list_value_length(column), pa.chunked_array([_filled_lengths(chunk) for chunk in column.chunks])
            )
        )
        place.add_rows(
            holes,
            "null in a list",
            allowed="lists of strings",
            hint="leave the nulls out",
            column=field.name,
            values=column,
        )
        return column
    _wrong_type(column, field, place, "lists of strings", "write each row's strings as one list")
    return None


def _filled_lengths(lists: pa.ListArray) -> pa.Array:
    """How many values of each list are not null, ``[n]``."""
    filled = np.concatenate([[0], np.cumsum(lists.values.is_valid().to_numpy(zero_copy_only=False))])
    offsets = lists.offsets.to_numpy()
    return pa.array(filled[offsets[1:]] - filled[offsets[:-1]], pa.int32())


def _numbers(column: pa.ChunkedArray, field: pa.Field, text: bool, place: Place) -> pa.ChunkedArray | None:
    whole = pa.types.is_integer(field.type)
    name = "whole numbers" if whole else "numbers"
    if text:
        parsed = _parsed(column, pa.float64(), lambda chunk: pd.to_numeric(chunk.to_pandas(), errors="coerce"))
        bad = false_where_null(pc.and_(parsed.is_null(), column.is_valid()))
        place.add_rows(
            bad,
            "text that is no number",
            allowed=name,
            hint="write plain numbers such as 3 or 0.25, and nothing where none is known",
            column=field.name,
            values=column,
        )
        column = parsed
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        _wrong_type(column, field, place, f"{name} ({field.type})", f"convert the column to {field.type}")
        return None
    values = column.cast(pa.float64(), safe=False)
    usable = _usable(values, column, field, place, whole)
    return pc.if_else(usable, values, pa.scalar(None, pa.float64())).cast(field.type, safe=False)


def _usable(
    values: pa.ChunkedArray, column: pa.ChunkedArray, field: pa.Field, place: Place, whole: bool
) -> pa.ChunkedArray:
    """Which float64 values fit the field, ``[n]``; the others are a problem."""
    finite = pc.is_finite(values)
    limit = _LARGEST_INT32 if whole else _LARGEST_FLOAT32
    fits = pc.and_(pc.less_equal(values, limit), pc.greater_equal(values, -limit - whole))
    place.add_rows(
        false_where_null(pc.invert(finite)),
        "NaN or infinite",
        allowed="finite numbers" if not field.nullable else "finite numbers, or nothing",
        hint="leave the row out" if not field.nullable else "write a null where the value is not known",
        column=field.name,
        values=column,
    )
    place.add_rows(
        false_where_null(pc.and_not(finite, fits)),
        f"too large for {field.type}",
        allowed=f"at most {limit:g}",
        hint="check the unit",
        column=field.name,
        values=column,
    )
    usable = pc.and_(finite, fits)
    if whole:
        integral = pc.equal(values, pc.round(values))
        place.add_rows(
            false_where_null(pc.and_not(usable, integral)),
            "no whole number",
            allowed="whole numbers",
            hint="round it",
            column=field.name,
            values=column,
        )
        usable = pc.and_(usable, integral)
    return usable


def _moments(column: pa.ChunkedArray, field: pa.Field, place: Place) -> pa.ChunkedArray | None:
    if as_strings(column.type):
        return _parsed_moments(column, field, place)
    if not pa.types.is_timestamp(column.type):
        hint = "numbers and dates do not say their unit or zone: write timestamps with a zone, or ISO 8601 text"
        _wrong_type(column, field, place, f"timestamps with a zone, or text such as {_ZONED_EXAMPLE}", hint)
        return None
    if column.type.tz is None:
        place.add(
            f"naive timestamps ({column.type})",
            allowed="timestamps with a zone",
            hint=_ZONE_HINT,
            column=field.name,
            values=column.slice(0, 3).to_pylist(),
        )
        return None
    if column.type.unit == "ns":
        whole = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        finer = pc.not_equal(whole.cast(column.type), column)
        place.add_rows(
            false_where_null(finer),
            "finer than a microsecond",
            allowed="whole microseconds",
            hint='round down, in pandas with .dt.floor("us")',
            column=field.name,
            values=whole,
        )
        column = whole
    try:
        return column.cast(TIMESTAMP)
    except pa.ArrowInvalid:
        hint = "check the unit: seconds, milliseconds or microseconds"
        place.add("moments that no calendar has", allowed="moments until now", hint=hint, column=field.name)
        return None


def _parsed_moments(column: pa.ChunkedArray, field: pa.Field, place: Place) -> pa.ChunkedArray:
    zoned = pc.match_substring_regex(column, _ZONED)
    parsed = _parsed(column, TIMESTAMP, _moments_one_by_one)
    readable = parsed.is_valid()
    place.add_rows(
        false_where_null(pc.and_not(readable, zoned)),
        "naive timestamps",
        allowed=f"ISO 8601 with a zone, such as {_ZONED_EXAMPLE}",
        hint=_ZONE_HINT,
        column=field.name,
        values=column,
    )
    place.add_rows(
        false_where_null(pc.and_(column.is_valid(), pc.invert(readable))),
        "text that is no timestamp",
        allowed=f"ISO 8601 with a zone, such as {_ZONED_EXAMPLE}",
        hint="write year-month-day, T, hours:minutes:seconds with at most six decimals, and the zone",
        column=field.name,
        values=column,
    )
    return pc.if_else(zoned, parsed, pa.scalar(None, TIMESTAMP))


def _moments_one_by_one(chunk: pa.Array) -> pd.Series:
    moments = pd.to_datetime(chunk.to_pandas(), utc=True, errors="coerce", format="ISO8601")
    return moments.where(moments == moments.dt.floor("us"))


def _parsed(column: pa.ChunkedArray, kind: pa.DataType, one_by_one: Callable[[pa.Array], pd.Series]) -> pa.ChunkedArray:
    """Text in another type, ``[n]``; null where it says nothing of that type.

    Arrow is fast and gives up at the first bad value; the chunks it gives up on are parsed value by value.
    """

    def parse() -> Iterator[pa.Array]:
        for start in range(0, len(column), _ROWS_AT_ONCE):
            chunk = column.slice(start, _ROWS_AT_ONCE).combine_chunks()
            try:
                yield chunk.cast(kind)
            except pa.ArrowInvalid:
                values = one_by_one(chunk)
                yield pa.Array.from_pandas(values).cast(kind, safe=False)

    return pa.chunked_array(list(parse()), kind)
