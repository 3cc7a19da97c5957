"""Opening the text files of published research data: columns by name, and what is said when they are not there."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from contracts.errors import BadInput, NotFound

__all__ = ["read_dat", "read_lines", "require_files", "require_numbers"]

_NEXT_STEP = "get the file again from its publisher and compare its size"


def require_files(path: Path, names: Sequence[str], layout: str) -> None:
    """Refuse a directory that lacks files.

    Raises:
        NotFound: It does, or there is none.
    """
    missing = [name for name in names if not (path / name).is_file()]
    if not path.is_dir() or missing:
        raise NotFound(
            path,
            found=f"no {', '.join(missing)}" if path.is_dir() else "a file" if path.exists() else "nothing there",
            expected=f"a directory with {', '.join(names)} ({layout})",
            next_step="check the path, or add the missing files from the publisher's copy",
        )


def read_dat(
    path: Path, columns: Mapping[str, pa.DataType], *, delimiter: str = "\t", quotes: bool = False
) -> pa.Table:
    """Read some columns of a file with a header.

    Args:
        path: UTF-8, or ISO-8859-1 where it is no UTF-8.
        columns: Name → type, in the order to have them in.
        delimiter: Between the values.
        quotes: Whether double quotes enclose values; otherwise they are characters like others.

    Raises:
        BadInput: The file is damaged, a column is missing, or a value is missing or of another type.
    """
    convert = pacsv.ConvertOptions(
        column_types=dict(columns), include_columns=list(columns), strings_can_be_null=False, null_values=[""]
    )
    parse = pacsv.ParseOptions(delimiter=delimiter, quote_char='"' if quotes else False, newlines_in_values=quotes)
    try:
        read = pacsv.ReadOptions(encoding=_encoding(path))
        table = pacsv.read_csv(path, read_options=read, parse_options=parse, convert_options=convert)
    except (pa.ArrowException, OSError) as error:
        raise BadInput(
            path,
            found=f"a file that cannot be read ({str(error).splitlines()[0]})",
            expected=f"a header, and columns {', '.join(f'{name} ({kind})' for name, kind in columns.items())}",
            next_step=_NEXT_STEP,
        ) from None
    for name in columns:
        require_numbers(path, np.asarray(table[name].is_null()), table, f"a value of {name} in each row")
    if table.num_rows == 0:
        raise BadInput(path, found="no rows", expected="at least one row after the header", next_step=_NEXT_STEP)
    return table


def read_lines(path: Path, fields: int, *, delimiter: str = "::") -> list[list[str]]:
    """Read a file without a header whose values have a separator of several characters between them.

    Args:
        path: UTF-8, or ISO-8859-1 where it is no UTF-8; lines end in LF or CRLF.
        fields: Number of values in each line.
        delimiter: Between them.

    Returns:
        The values of each line.

    Raises:
        BadInput: A line has another number of values, or there is none.
    """
    text = path.read_bytes().decode(_encoding(path))
    rows = [line.rstrip("\r").split(delimiter) for line in text.split("\n") if line.strip()]
    odd = [number for number, row in enumerate(rows, 1) if len(row) != fields]
    if odd or not rows:
        raise BadInput(
            path,
            found=f"{len(odd):,} lines with another number of values, the first line {odd[0]}" if odd else "no lines",
            expected=f"lines of {fields} values with {delimiter} between them",
            next_step=_NEXT_STEP,
        )
    return rows


def require_numbers(path: Path, bad: npt.NDArray[np.bool_], table: pa.Table, expected: str) -> None:
    """Refuse a table in which rows are ``bad``, ``[n]``.

    Raises:
        BadInput: Some are; the message shows the first.
    """
    if bad.any():
        first = int(np.argmax(bad))
        row = ", ".join(f"{name} {table[name][first].as_py()!r}" for name in table.column_names)
        raise BadInput(
            path,
            found=f"{int(bad.sum()):,} rows that are not so, the first row {first + 1}: {row}",
            expected=expected,
            next_step="correct those rows, or leave them out",
        )


def _encoding(path: Path) -> str:
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return "iso-8859-1"
    return "utf-8"
