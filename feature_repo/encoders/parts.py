"""What was encoded already: for each spec a directory of Parquet parts, each written whole."""

import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.embeddings import EmbeddingSpec
from contracts.files import file_written_whole
from contracts.home import Home

__all__ = ["PART", "EncodedParts"]

PART = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("stamp", pa.string(), nullable=False),
        pa.field("content", pa.string(), nullable=False),
        pa.field("vector", pa.list_(pa.float32())),
        pa.field("path", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("absent", pa.bool_()),
    ]
)
"""One row per encoded item. ``vector`` is null at a fault, and ``reason`` elsewhere; faults are not stored."""

_ABANDONED_S = 3600

Key = tuple[str, str]


class EncodedParts:
    """Vectors by item and content. It is a cache: without it everything is encoded again, and nothing is lost.

    Args:
        home: Whose cache.
        spec: What made the vectors; when its weights were available makes no difference to them.
    """

    def __init__(self, home: Home, spec: EmbeddingSpec) -> None:
        ageless = spec.model_copy(update={"available_from": None})
        self.directory = home.cache / "encodings" / f"{ageless.view}_{ageless.digest}"
        self._width = spec.width
        self.stamps: dict[Key, str] = {}
        """(id, stamp) → content."""
        self.contents: dict[Key, tuple[int, int]] = {}
        """(id, content) → number of the part, row in it."""
        self.ids: set[str] = set()
        self._paths: list[Path] = []
        for remains in self.directory.glob(".*.partial"):  # of a job that was killed while it wrote
            if time.time() - remains.stat().st_mtime > _ABANDONED_S:
                remains.unlink(missing_ok=True)
        for path in sorted(self.directory.glob("*.parquet")):
            try:
                part = pq.read_table(path, columns=["id", "stamp", "content"])
            except (OSError, pa.ArrowException):
                path.unlink(missing_ok=True)  # damaged: its items are encoded again
                continue
            self._remember(path, part)

    def add(self, part: pa.Table) -> None:
        """Store the items of a part that have a vector.

        Args:
            part: As ``PART``.

        Raises:
            StorageFull: The disk ran out of space.
        """
        good = part.filter(pc.is_valid(part["vector"]))
        if not good.num_rows:
            return
        path = self.directory / f"{uuid.uuid4().hex}.parquet"
        with file_written_whole(path) as scratch:
            pq.write_table(good, scratch, compression="zstd")
        self._remember(path, good)

    def vectors(self, keys: Sequence[Key]) -> npt.NDArray[np.float32]:
        """The vectors of items that are here, ``[n, width]``; parts are read one by one.

        Args:
            keys: (id, content) of each.
        """
        places = np.array([self.contents[key] for key in keys], np.int64).reshape(-1, 2)
        out = np.empty((len(places), self._width), np.float32)
        for number in np.unique(places[:, 0]).tolist():
            rows = np.flatnonzero(places[:, 0] == number)
            column = pq.read_table(self._paths[number], columns=["vector"])["vector"].combine_chunks()
            matrix = column.flatten().to_numpy().reshape(-1, self._width)
            out[rows] = matrix[places[rows, 1]]
        return out

    def _remember(self, path: Path, part: pa.Table) -> None:
        number = len(self._paths)
        self._paths.append(path)
        columns = (part[name].to_pylist() for name in ("id", "stamp", "content"))
        for row, (item, stamp, content) in enumerate(zip(*columns, strict=True)):
            self.ids.add(item)
            self.stamps[item, stamp] = content
            self.contents[item, content] = (number, row)
