"""The mapping between raw ids outside and row numbers inside."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import BadInput

__all__ = ["UNKNOWN", "Vocabulary"]

UNKNOWN = -1
"""Row number of an id the vocabulary has never seen."""


class Vocabulary:
    """A frozen list of distinct ids; the position of an id is its row number.

    Args:
        ids: Distinct raw ids, in row order.

    Raises:
        BadInput: An id stands twice.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self._index = pd.Index(np.asarray(ids, dtype=object), dtype=object)
        if not self._index.is_unique:
            twice = self._index[self._index.duplicated()][0]
            raise BadInput(
                f"vocabulary of {len(self._index):,} ids",
                found=f"id {twice!r} more than once",
                expected="distinct ids",
                next_step="remove the duplicate rows from the entity table and ingest again",
            )

    def __len__(self) -> int:
        return len(self._index)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._index.equals(other._index)

    __hash__ = None  # type: ignore[assignment]

    @property
    def digest(self) -> str:
        """SHA-256 over the ids in row order."""
        hasher = hashlib.sha256()
        for raw_id in self._index:
            hasher.update(raw_id.encode())
            hasher.update(b"\0")
        return hasher.hexdigest()

    def rows(self, ids: Sequence[str] | npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
        """Row number of each id, ``UNKNOWN`` (-1) where the id is not known. Shape ``[len(ids)]``."""
        if len(ids) == 0:
            return np.empty(0, dtype=np.int64)
        return np.asarray(self._index.get_indexer(pd.Index(ids, dtype=object)), dtype=np.int64)

    def ids(self, rows: npt.NDArray[np.int64] | Sequence[int]) -> list[str]:
        """Raw id of each row number.

        Raises:
            IndexError: A row number is negative or past the end.
        """
        positions = np.asarray(rows, dtype=np.int64)
        if positions.size and positions.min() < 0:
            raise IndexError(f"row {positions.min()} has no id")
        return [str(raw_id) for raw_id in self._index.to_numpy()[positions]]

    def save(self, path: Path) -> None:
        """Write one Parquet column ``id`` in row order."""
        pq.write_table(pa.table({"id": pa.array(self._index.to_numpy(), pa.string())}), path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote."""
        return cls(pq.read_table(path, columns=["id"])["id"].to_pylist())
