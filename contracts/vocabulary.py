"""The mapping between raw ids outside and row numbers inside."""

import hashlib
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import BadInput

__all__ = ["UNKNOWN", "Vocabulary", "strings_of"]

UNKNOWN = -1
"""Row number of an id the vocabulary has never seen."""

_AT_ONCE = 1 << 12
"""Ids taken by one call of C, which no other thread of Python can interrupt: a service answers while it loads."""


class Vocabulary:
    """A frozen list of distinct ids; the position of an id is its row number.

    Args:
        ids: Distinct raw ids, in row order.

    Raises:
        BadInput: An id stands twice.
    """

    def __init__(self, ids: Sequence[str] | npt.NDArray[np.object_]) -> None:
        self._ids = np.asarray(ids, dtype=object)
        self._rows: dict[str, int] = {}
        for start in range(0, len(self._ids), _AT_ONCE):
            part = self._ids[start : start + _AT_ONCE]
            self._rows.update(zip(part, range(start, start + len(part)), strict=True))
        if len(self._rows) < len(self._ids):
            twice = next(raw_id for row, raw_id in enumerate(self._ids) if self._rows[raw_id] != row)
            raise BadInput(
                f"vocabulary of {len(self._ids):,} ids",
                found=f"id {twice!r} more than once",
                expected="distinct ids",
                next_step="remove the duplicate rows from the entity table and ingest again",
            )

    def __len__(self) -> int:
        return len(self._ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and np.array_equal(self._ids, other._ids)

    __hash__ = None  # type: ignore[assignment]

    @property
    def digest(self) -> str:
        """SHA-256 over the ids in row order."""
        hasher = hashlib.sha256()
        for raw_id in self._ids:
            hasher.update(raw_id.encode())
            hasher.update(b"\0")
        return hasher.hexdigest()

    def rows(self, ids: Sequence[str] | npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
        """Row number of each id, ``UNKNOWN`` (-1) where the id is not known. Shape ``[len(ids)]``."""
        rows = np.empty(len(ids), dtype=np.int64)
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            found = map(self._rows.get, part, repeat(UNKNOWN))
            rows[start : start + len(part)] = np.fromiter(found, dtype=np.int64, count=len(part))
        return rows

    def ids(self, rows: npt.NDArray[np.int64] | Sequence[int]) -> list[str]:
        """Raw id of each row number.

        Raises:
            IndexError: A row number is negative or past the end.
        """
        positions = np.asarray(rows, dtype=np.int64)
        if positions.size and positions.min() < 0:
            raise IndexError(f"row {positions.min()} has no id")
        return [str(raw_id) for raw_id in self._ids[positions]]

    def save(self, path: Path) -> None:
        """Write one Parquet column ``id`` in row order."""
        pq.write_table(pa.table({"id": pa.array(self._ids, pa.string())}), path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote."""
        return cls(strings_of(pq.read_table(path, columns=["id"])["id"]))


def strings_of(column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    """A column of strings as objects, None where it is null; other threads get their turn meanwhile."""
    strings = np.empty(len(column), dtype=object)
    for start in range(0, len(strings), _AT_ONCE):
        strings[start : start + _AT_ONCE] = column.slice(start, _AT_ONCE).to_pylist()
    return strings
