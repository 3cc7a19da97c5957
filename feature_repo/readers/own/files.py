"""Finding and opening a team's files: Parquet, CSV, ``.npy`` and the ``.json`` that says what made the vectors."""

import csv
import difflib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from contracts.tables import EMBEDDING_PREFIX, TABLES
from feature_repo.readers.own.problems import Place, Problems

__all__ = ["MEDIA", "Content", "data_file", "find_files", "known_columns", "near", "read_content"]

MEDIA = "media"
"""Directory beside the files that media paths are relative to."""

_FORMATS = (".parquet", ".csv")
_VECTOR_FORMATS = (".parquet", ".npy", ".json")
_LOOKALIKES = (".parq", ".pq", ".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".feather", ".arrow", ".npz", ".pkl", ".gz")
_CHARACTERS_AT_ONCE = 1 << 20
_NEXT_STEP = "write the file again, or take it out of the directory"


@dataclass(frozen=True)
class Content:
    """The columns of one file that could be read."""

    table: pa.Table
    names: list[str]
    """Of all columns in the file, also those that stand there twice."""
    text: bool
    """Whether every value is still the text that stands in the file."""
    place: Place


def near(name: str, names: list[str]) -> str:
    """A hint at the name that was meant, or no text."""
    plain = name.strip().lower().replace(" ", "_").replace("-", "_")
    close = difflib.get_close_matches(plain, names, n=1, cutoff=0.6)
    return close[0] if close else ""


def find_files(path: Path, problems: Problems) -> dict[str, dict[str, Path]]:
    """Every table of a directory → format → its file.

    Files whose name says that they are no tables (``README.md``) are passed over; data files of an unknown name are
    a problem.
    """
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(path.iterdir()):
        name, suffix = file.stem, file.suffix.lower()
        embedding = name.startswith(EMBEDDING_PREFIX)
        formats = _VECTOR_FORMATS if embedding else _FORMATS
        place = problems.at(file.name)
        if file.name.startswith(".") or file.name == MEDIA:
            continue
        if file.is_dir():
            if name in TABLES or embedding:
                place.add("a directory", allowed="one file for each table", hint="merge its parts into one file")
        elif suffix in formats and (embedding or name in TABLES):
            found.setdefault(name, {})[suffix] = file
        elif name in TABLES or embedding:
            kinds = " or ".join(formats)
            place.add(f"format {suffix or 'without a name'}", allowed=kinds, hint=f"write {name} as {kinds}")
        elif suffix in {*_FORMATS, *_VECTOR_FORMATS, *_LOOKALIKES}:
            meant = near(name, [*TABLES, EMBEDDING_PREFIX.rstrip("_")])
            place.add(
                "a file of no table",
                allowed=f"{', '.join(TABLES)}, {EMBEDDING_PREFIX}<name>",
                hint=f"rename it to {meant}{suffix}" if meant else "take it out of the directory",
            )
    for name, files in found.items():
        data = [file for suffix, file in files.items() if suffix != ".json"]
        if len(data) > 1:
            problems.at(data[0].name, name).add(
                f"a second file of the same table, {data[1].name}",
                allowed="one file for each table",
                hint="remove the one that is out of date",
            )
    return found


def read_content(
    file: Path, table: str, known: list[str], problems: Problems, unread: Collection[str] = ()
) -> Content | None:
    """Read the known columns of a Parquet or CSV file; what else is in it is a problem.

    Args:
        file: The file.
        table: The table it should hold.
        known: The columns that table has.
        problems: Where problems go.
        unread: Those of them to leave for a reader of their own.

    Returns:
        Its columns, or None where nothing could be read.
    """
    place = problems.at(file.name, table)
    try:
        if file.suffix.lower() == ".csv":
            return _read_csv(file, table, known, problems)
        names = pq.read_schema(file).names
        wanted = [column for column in known_columns(names, known, place) if column not in unread]
        content = pq.read_table(file, columns=wanted, partitioning=None)
        content.validate(full=True)  # damaged pages decode to strings that are no text
        return Content(content, names, text=False, place=place)
    except UnicodeDecodeError:
        reason = "cannot be read: it is not UTF-8"
    except (pa.ArrowException, OSError, csv.Error) as error:
        reason = f"cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    place.add(reason, allowed=f"a whole {file.suffix.lower()} file", hint=_hint(reason))
    return None


def _hint(reason: str) -> str:
    if "UTF" in reason:
        return "convert it to UTF-8, for example with iconv -f ISO-8859-1 -t UTF-8"
    if "Permission" in reason:
        return "give yourself the right to read it"
    return _NEXT_STEP


def known_columns(names: list[str], known: list[str], place: Place) -> list[str]:
    """Those of the ``known`` columns that are there, once; the others of the ``names`` are a problem."""
    missing = [name for name in known if name not in names]
    for name, times in Counter(names).items():
        if name not in known:
            meant = near(name, missing)
            place.add(
                "a column that the table does not have",
                allowed=", ".join(known),
                hint=f"rename it to {meant}" if meant else "leave it out",
                column=name,
            )
        elif times > 1:
            place.add("a column that stands there twice", allowed="once", hint="leave one of them out", column=name)
    return [name for name in known if names.count(name) == 1]


def _read_csv(file: Path, table: str, known: list[str], problems: Problems) -> Content | None:
    place = problems.at(file.name, table)
    with file.open(encoding="utf-8-sig", newline="") as handle:
        names = next(csv.reader(handle), [])
        while handle.read(_CHARACTERS_AT_ONCE):  # Arrow hands broken text to the handler below before it refuses it
            pass
    if len(names) <= 1 and not set(names) & set(known):
        place.add(
            "no header of column names that are separated by commas" if names else "an empty file",
            allowed=f"a first line with names such as {','.join(known)}",
            hint="write a header, and separate by commas (not tabs or semicolons)",
            values=names,
        )
        return None
    wanted = known_columns(names, known, place)
    if not wanted:  # Arrow takes no names for all names
        return Content(pa.table({}), names, text=True, place=place)
    short: list[tuple[int, int]] = []

    def skip(row: pacsv.InvalidRow) -> str:
        short.append((row.number or 0, row.actual_columns))
        return "skip"

    # All as text, so that one bad number does not hide the others; one thread, so that bad lines have their numbers.
    content = pacsv.read_csv(
        file,
        read_options=pacsv.ReadOptions(use_threads=False),
        parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=wanted,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    numbers = _row_numbers(content.num_rows, [number - 1 for number, _ in short]) if short else None
    if short:
        every = np.ones(len(short), bool)
        problems.at(file.name, table, np.array([number - 1 for number, _ in short])).add_rows(
            every,
            "another number of values than the header has",
            allowed=f"{len(names)} values in each row",
            hint="put text that holds commas into double quotes",
            column="(all)",
            values=np.array([f"{columns} values" for _, columns in short], dtype=object),
        )
    return Content(content, names, text=True, place=problems.at(file.name, table, numbers))


def _row_numbers(rows: int, skipped: list[int]) -> npt.NDArray[np.int64]:
    every = np.arange(1, rows + len(skipped) + 1)
    return np.setdiff1d(every, skipped)[:rows]


def data_file(files: Mapping[str, Path]) -> Path | None:
    """The one of a table's files that holds its rows."""
    return next((file for suffix, file in files.items() if suffix != ".json"), None)
