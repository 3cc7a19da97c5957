"""A batch: rows of one table that were pushed together, with the name under which they are taken in exactly once."""

import io
import re
import uuid
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import BadInput
from contracts.tables import EMBEDDING_PREFIX, TABLES, schema_of

__all__ = ["Batch", "new_batch_id"]

_FACTS = "backbeat."
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_EMBEDDING = re.compile(EMBEDDING_PREFIX + r"[a-z_]+(@[0-9a-f]{8})?")


def new_batch_id() -> str:
    """An id that no other batch has."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Batch:
    """Rows of one table.

    Raises:
        BadInput: The id, the table or the data set could not be the name of a file.
    """

    id: str
    """Whoever pushes the same batch again, because no answer came, gives it the same id."""
    dataset: str
    """Whose ids the rows name."""
    table: str
    rows: pa.Table
    spec: str = ""
    """Digest of the spec of its vectors; empty where it has none."""

    def __post_init__(self) -> None:
        # Whoever may write to the inbox decides these names, and they become paths.
        if not _ID.fullmatch(self.id):
            raise BadInput(
                f"batch id {self.id!r}",
                found="characters that cannot be part of a file name, or too many",
                expected="1 to 64 letters, digits, '-' or '_'",
                next_step="choose another --batch-id",
            )
        if self.table not in TABLES and not _EMBEDDING.fullmatch(self.table):
            raise BadInput(
                f"batch {self.id}",
                found=f"rows for {self.table!r}",
                expected=f"{', '.join(TABLES)} or {EMBEDDING_PREFIX}<name>",
                next_step="push them with `backbeat features push`",
            )
        if self.dataset in ("", ".", ".."):
            raise BadInput(
                f"batch {self.id}",
                found=f"data set {self.dataset!r}",
                expected="the name of a data set",
                next_step="push it with `backbeat features push`",
            )

    def to_bytes(self) -> bytes:
        """As one Parquet file whose metadata say what it is."""
        facts = {f"{_FACTS}{name}": getattr(self, name) for name in ("id", "dataset", "table", "spec")}
        sink = io.BytesIO()
        pq.write_table(self.rows.replace_schema_metadata(facts), sink, compression="zstd")
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> "Batch":
        """Read what :meth:`to_bytes` made.

        Args:
            data: The bytes.
            where: Their place, for the error.

        Raises:
            BadInput: They are not such a file, or its rows are not of the table they claim.
        """
        try:
            rows = pq.read_table(pa.BufferReader(data))
            facts = {key.decode(): value.decode() for key, value in (rows.schema.metadata or {}).items()}
            rows = rows.replace_schema_metadata(None)
            named = {name: facts[f"{_FACTS}{name}"] for name in ("id", "dataset", "table")}
            batch = cls(rows=rows, spec=facts.get(f"{_FACTS}spec", ""), **named)
            fits = rows.schema.equals(schema_of(batch.table))
        except (pa.ArrowInvalid, OSError, KeyError, UnicodeDecodeError) as error:
            raise _unreadable(where, str(error).splitlines()[0]) from None
        if not fits:
            raise _unreadable(where, f"columns {rows.schema.names} for table {batch.table}")
        return batch


def _unreadable(where: str, found: str) -> BadInput:
    return BadInput(
        where, found=found, expected="a batch written by `backbeat features push`", next_step="push the rows again"
    )
