"""Whether the online store says what the offline tables say, on a random sample of keys."""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.errors import ValidationFailed
from feature_repo.materialization.equality import unequal
from feature_repo.materialization.online import OnlineView
from feature_repo.materialization.sources import ViewSource, known_times
from feature_repo.raw_tables import microseconds

__all__ = ["SAMPLE_KEYS", "changed_rows", "check_sample", "is_online"]

SAMPLE_KEYS = 200
_GROUPS = 8
_PROBE_KEYS = 16
_SLICE_BYTES = 16 * 2**20


def check_sample(source: ViewSource, online: OnlineView, until: datetime, seed: int, keys: int = SAMPLE_KEYS) -> int:
    """Compare a random sample of keys online with the newest rows of the view's table.

    The expected rows are found by another road than the one they were written by: all rows of the sampled keys are
    read and the newest one known is taken. A row that a stream has replaced by a newer one meanwhile is no mismatch.

    Args:
        source: The view.
        online: The same view in the online store.
        until: Rows known up to this instant count.
        seed: Of the sample.
        keys: Size of the sample; drawn from at most eight row groups.

    Returns:
        Number of keys compared.

    Raises:
        ValidationFailed: A value differs; names the entity, the view, the feature and both values.
    """
    rng = np.random.default_rng(seed)
    with pq.ParquetFile(source.path) as file:
        groups = rng.permutation(file.metadata.num_row_groups)[:_GROUPS]
    sampled: set[str] = set()
    for table in source.some_rows(sorted(int(group) for group in groups), until):
        distinct = pc.unique(table[source.key])
        take = rng.permutation(len(distinct))[: math.ceil(keys / len(groups))]
        sampled.update(distinct.take(pa.array(take)).to_pylist())
    ids = sorted(sampled)
    if not ids:
        return 0
    expected = _newest(source, ids, until)
    found = online.read(ids, until)
    for feature in source.features:
        for place in _differences(source, feature, expected, found, until):
            theirs, ours = (_shown(table[feature][place].as_py()) for table in (found, expected))
            raise ValidationFailed(
                f"feature {feature} of {source.key} {ids[place]!r} in view {source.name}",
                found=f"{theirs} online",
                expected=f"{ours}, as in {source.path.name}",
                next_step="run `backbeat features materialize` again: it writes the view anew",
            )
    return len(ids)


def is_online(source: ViewSource, online: OnlineView, until: datetime) -> bool:
    """Whether the online store still has the first keys of a view's table; true for a table without rows."""
    for group in range(pq.read_metadata(source.path).num_row_groups):
        [table] = source.some_rows([group], until)
        if source.ttl is not None:
            alive = table["event_time"].cast(pa.int64()).to_numpy() >= microseconds(until - source.ttl)
            table = table.filter(pa.array(alive))
        ids = pc.unique(table[source.key]).slice(0, _PROBE_KEYS).to_pylist()
        if ids:
            return bool(online.read(ids, until)["event_time"].null_count == 0)
    return True


def changed_rows(source: ViewSource, online: OnlineView, rows: pa.Table, until: datetime) -> int:
    """How many of some newest rows the online store lacks, or has with other values.

    Args:
        source: The view.
        online: The same view in the online store.
        rows: One row of each key, as they would be written.
        until: The moment for which the view's TTL is applied; an expired row counts as one that is there.
    """
    found = online.read(rows[source.key].to_pylist(), until)
    changed = np.zeros(rows.num_rows, bool)
    for feature in source.features:
        changed[_differences(source, feature, rows, found, until)] = True
    return int(changed.sum())


def _newest(source: ViewSource, ids: Sequence[str], until: datetime) -> pa.Table:
    """The newest row known of each key, in the order of the ids."""
    rows = pa.concat_tables(_rows_of(source, pa.array(ids)))
    known = known_times(rows)
    rows, known = rows.filter(pa.array(known <= microseconds(until))), known[known <= microseconds(until)]
    place = pc.index_in(rows[source.key], pa.array(ids)).to_numpy()
    events = rows["event_time"].cast(pa.int64()).to_numpy()
    order = np.lexsort((np.arange(len(place)), known, events, place))
    last = np.r_[np.diff(place[order]) != 0, True]
    return rows.take(pa.array(order[last]))


def _rows_of(source: ViewSource, ids: pa.Array) -> Iterator[pa.Table]:
    """All rows of some keys, a slice of the file in memory at a time.

    A scanner with a filter does the same, but holds the whole file's bytes.
    """
    with pq.ParquetFile(source.path) as file:
        for group in range(file.metadata.num_row_groups):
            chosen = pc.is_in(file.read_row_group(group, columns=[source.key])[source.key], ids).combine_chunks()
            if not pc.any(chosen).as_py():
                continue
            metadata = file.metadata.row_group(group)
            size = max(_SLICE_BYTES * metadata.num_rows // max(metadata.total_byte_size, 1), 64)
            begin = 0
            for batch in file.iter_batches(batch_size=size, row_groups=[group], use_threads=False):
                yield pa.Table.from_batches([batch.filter(chosen.slice(begin, batch.num_rows))])
                begin += batch.num_rows


def _differences(
    source: ViewSource, feature: str, expected: pa.Table, found: pa.Table, until: datetime
) -> npt.NDArray[np.intp]:
    """Places at which a feature is not what it should be."""
    wanted = expected["event_time"].cast(pa.int64()).to_numpy()
    newer = found["event_time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    newer = pc.fill_null(newer, -(2**63)).to_numpy(zero_copy_only=False) > wanted
    expired = np.zeros(len(wanted), bool)
    if source.ttl is not None:
        expired = wanted < microseconds(until - source.ttl)
    different = unequal(expected[feature], found[feature])
    return np.flatnonzero(different & ~newer & ~expired)


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
