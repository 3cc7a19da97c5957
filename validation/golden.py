"""Golden items: what a few items of an embedding table were encoded to, kept with a report for the next one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import BadInput
from feature_repo.raw_tables import vector_lists

__all__ = ["GoldenSet", "load_golden", "save_golden"]

_FOLDER = "golden"
_SCHEMA = pa.schema([("id", pa.string()), ("content", pa.string()), ("vector", pa.list_(pa.float32()))])

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class GoldenSet:
    """Items of one embedding table with the hash of their media and what the encoder made of them."""

    ids: tuple[str, ...]
    contents: tuple[str, ...]
    """Hash of each item's text and files."""
    vectors: Floats
    """``[n, width]``: from the encoder, not from the table. The first ones that were accepted for this content stay, so
    that an encoder that drifts little by little is told."""

    def get(self, item_id: str, content: str) -> Floats | None:
        """What an item was encoded to, ``[width]``; None where it is not here, or was something else then."""
        if item_id not in self.ids:
            return None
        row = self.ids.index(item_id)
        return self.vectors[row] if self.contents[row] == content else None

    def save(self, path: Path) -> None:
        """Write it as Parquet."""
        columns = [pa.array(self.ids, pa.string()), pa.array(self.contents, pa.string()), vector_lists(self.vectors)]
        pq.write_table(
            pa.table([column.cast(field.type) for column, field in zip(columns, _SCHEMA, strict=True)], _SCHEMA), path
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            BadInput: The file is damaged.
        """
        try:
            table = pq.read_table(path, schema=_SCHEMA)
            rows = table["vector"].to_pylist()
            vectors = np.array(rows, np.float32).reshape(len(rows), -1 if rows else 0)
        except (OSError, pa.ArrowException, ValueError, TypeError) as error:
            raise BadInput(
                path,
                found=f"a damaged file ({str(error).splitlines()[0][:200]})",
                expected="the golden items that a validation kept",
                next_step="restore the report's directory from a backup, or remove this file to start anew",
            ) from error
        return cls(tuple(table["id"].to_pylist()), tuple(table["content"].to_pylist()), vectors)


def save_golden(golden: Mapping[str, GoldenSet], directory: Path) -> None:
    """Write golden items into a report's directory.

    Args:
        golden: Digest of the spec → the items.
        directory: The report's, which is being written whole.
    """
    if golden:
        (directory / _FOLDER).mkdir()
    for digest, items in golden.items():
        items.save(directory / _FOLDER / f"{digest}.parquet")


def load_golden(directory: Path) -> dict[str, GoldenSet]:
    """The golden items in a report's directory, by the digest of their spec; none where it keeps none.

    Raises:
        BadInput: A file is damaged.
    """
    return {path.stem: GoldenSet.load(path) for path in sorted((directory / _FOLDER).glob("*.parquet"))}
