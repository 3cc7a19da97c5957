"""Vectors of an Arrow column as matrices, a bounded number of rows at a time and without a copy of the table."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["BLOCK_VALUES", "Block", "Blocks", "Floats", "Rows"]

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

Block = tuple[Rows, Floats]
"""Rows of the column ``[b]`` and their vectors ``[b, width]``."""

BLOCK_VALUES = 1 << 20
"""Components in a block: 4 MiB, so that several passes over a block find it in the processor's cache."""


class Blocks:
    """The vectors of a list column that have the right width.

    Args:
        column: Lists of float32; a null component reads as NaN.
        width: The right number of components.
    """

    def __init__(self, column: pa.ChunkedArray, width: int) -> None:
        self.width = width
        self._chunks = [chunk for chunk in column.chunks if len(chunk)]
        self._starts = np.cumsum([0, *map(len, self._chunks)])
        self.lengths: Rows = np.asarray(pc.fill_null(pc.list_value_length(column), 0), dtype=np.int64)
        """Components of every row, 0 for a null ``[rows]``."""
        self.right: npt.NDArray[np.bool_] = self.lengths == width
        """Which rows have the right number ``[rows]``."""

    def of(self, chosen: npt.NDArray[np.bool_]) -> Iterator[Block]:
        """Blocks of the chosen rows, in their order; all of them must have the right width.

        Args:
            chosen: Which rows to read ``[rows]``.

        Yields:
            Rows and vectors. The vectors may be the table's own memory, and are read-only then.
        """
        at_once = max(BLOCK_VALUES // max(self.width, 1), 1)
        for chunk, first in zip(self._chunks, self._starts, strict=False):
            offsets = chunk.offsets.to_numpy()
            for start in range(0, len(chunk), at_once):
                rows = np.flatnonzero(chosen[first + start : first + min(start + at_once, len(chunk))]) + start
                if len(rows):
                    yield rows + first, self._matrix(chunk.values, offsets[rows].astype(np.int64))

    def take(self, rows: Rows) -> Floats:
        """Vectors of any rows of the right width, in the order asked for ``[len(rows), width]``."""
        matrix = np.empty((len(rows), self.width), np.float32)
        for chunk, first in zip(self._chunks, self._starts, strict=False):
            places = np.flatnonzero((rows >= first) & (rows < first + len(chunk)))
            if len(places):
                taken = chunk.take(pa.array(rows[places] - first)).flatten()
                matrix[places] = taken.to_numpy(zero_copy_only=False).reshape(-1, self.width)
        return matrix

    def _matrix(self, values: pa.FloatArray, starts: Rows) -> Floats:
        low, high = int(starts[0]), int(starts[-1]) + self.width
        flat: Floats = values.slice(low, high - low).to_numpy(zero_copy_only=False)
        if high - low == len(starts) * self.width:
            return flat.reshape(-1, self.width)
        gathered: Floats = flat[(starts - low)[:, None] + np.arange(self.width)]
        return gathered
