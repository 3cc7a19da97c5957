"""The views that Feast knows, and what of their Parquet files is known when."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.errors import NotFound, unknown_name
from feature_repo.raw_tables import microseconds

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["EPOCH", "ViewSource", "known_times", "largest", "newest", "sources_of"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = ("event_time", "ingested_at")


@dataclass(frozen=True)
class ViewSource:
    """A view to be materialized."""

    name: str
    key: str
    """The column that names the entity."""
    features: tuple[str, ...]
    path: Path
    ttl: timedelta | None
    view: Any
    """Feast's feature view."""

    def known_until(self) -> datetime | None:
        """Last instant at which a row became known; None where there is no row."""
        known = [last for column in _TIMES if (last := newest(self.path, column)) is not None]
        return max(known, default=None)

    def some_rows(self, groups: Iterable[int], until: datetime) -> Iterable[pa.Table]:
        """Keys and times of the rows of some row groups that were known at an instant."""
        with pq.ParquetFile(self.path) as file:
            columns = [self.key, *(c for c in _TIMES if c in file.schema_arrow.names)]
            for group in groups:
                table = file.read_row_group(group, columns=columns)
                yield table.filter(pa.array(known_times(table) <= microseconds(until)))


def newest(path: Path, column: str) -> datetime | None:
    """Latest instant of a column of a Parquet file, from its statistics where it has them; None without rows."""
    with pq.ParquetFile(path) as file:
        if column not in file.schema_arrow.names or not file.metadata.num_rows:
            return None
        place = file.schema_arrow.names.index(column)
        leaf = next(n for n in range(file.metadata.num_columns) if file.schema.column(n).path == column)
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        known = [group.column(leaf).statistics for group in groups if group.num_rows]
        if all(statistics is not None and statistics.has_min_max for statistics in known):
            last = pa.scalar(max(statistics.max for statistics in known), file.schema_arrow.field(place).type)
        else:
            parts = (pc.max(batch[column]) for batch in file.iter_batches(columns=[column]))
            last = max((part for part in parts if part.is_valid), key=lambda part: part.value)
        return EPOCH + timedelta(microseconds=last.cast(pa.timestamp("us", "UTC")).value)


def known_times(table: pa.Table | pa.RecordBatch) -> npt.NDArray[np.int64]:
    """From when on each row was known: microseconds since 1970, the later of its event and its arrival."""
    times = [table[c].cast(pa.int64()).to_numpy(zero_copy_only=False) for c in _TIMES if c in table.schema.names]
    return np.asarray(np.maximum.reduce(times))


def largest(sources: Iterable[ViewSource]) -> tuple[int, int]:
    """Bytes of the largest row group of some files, uncompressed, and rows of the longest file."""
    groups, rows = [0], [0]
    for source in sources:
        metadata = pq.read_metadata(source.path)
        groups += [metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)]
        rows.append(metadata.num_rows)
    return max(groups), max(rows)


def sources_of(store: "FeatureStore", names: Sequence[str] | None = None) -> list[ViewSource]:
    """The batch views of a store's project, in order of name.

    Args:
        store: On the project.
        names: Which of them, each once however often it is named; all if None.

    Raises:
        NotFound: A name is none of them, or the file behind a view is gone.
    """
    known = {view.name: view for view in store.list_feature_views() if view.online and view.batch_source is not None}
    for name in names or ():
        if name not in known:
            raise unknown_name("feature view", name, known, next_step="run `backbeat features status` to see them")
    return [_source(known[name]) for name in sorted(set(names or known))]


def _source(view: Any) -> ViewSource:
    path = Path(view.batch_source.path)
    if not path.is_file():
        raise NotFound(
            f"feature view {view.name}",
            found=f"no {path}",
            expected="the table that it reads",
            next_step="run `backbeat features apply`",
        )
    return ViewSource(
        name=view.name,
        key=view.join_keys[0],
        features=tuple(field.name for field in view.features),
        path=path,
        ttl=view.ttl or None,
        view=view,
    )
