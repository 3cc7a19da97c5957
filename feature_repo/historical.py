"""Features as they were known at given moments, through Feast's point-in-time join.

A row of a source counts at a moment if it had happened and was known then: ``event_time <= moment`` and
``ingested_at <= moment``, both inclusive. Who asks for what was known *before* an event, as training does, asks for the
moment one microsecond earlier; otherwise the event itself is among the features.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.clock import utc_now
from contracts.errors import BadInput, unknown_name
from contracts.home import Home
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.tables import TIMESTAMP
from feature_repo.definitions import ENTITIES
from feature_repo.offline import current_snapshot, read_table
from feature_repo.services import service_views
from feature_repo.store import require_applied
from feature_repo.views.builder import TYPES
from feature_repo.views.catalogue import View, views_of
from feature_repo.views.moments import MOMENT, MomentView, moment_views_of
from feature_repo.views.sequences import instants

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["historical_features", "unknown_ids"]

_INSTANT = "event_timestamp"
"""What Feast calls the moment."""

_UNKNOWN = b"backbeat.unknown_ids"
_BLOCK_FLOATS = 1 << 26
"""State of views computed at the moment is read for so many rows at once that it has at most this many floats."""

AnyView = View | MomentView
Chosen = list[tuple[AnyView, list[str]]]
"""Views, and the features wanted of each."""


def historical_features(
    settings: Settings,
    home: Home,
    wanted: str | Sequence[str],
    rows: pa.Table,
    snapshot: Snapshot | None = None,
) -> pa.Table:
    """Look features up as of a moment in each row.

    Args:
        settings: Name the profile.
        home: Where the snapshot is.
        wanted: Name of a feature service, or references: ``<view>:<feature>``, or ``<view>`` for all of its features.
        rows: ``moment``, a timestamp with a time zone, and those of ``user_id``, ``video_id`` and ``music_id`` that the
            views need. Rows may repeat. A null id is that of nobody.
        snapshot: Whose features; the current snapshot's if None.

    Returns:
        The rows in their order, and a column ``<view>__<feature>`` for each feature: null where nothing was known at
        the moment. :func:`unknown_ids` of it counts the ids that the snapshot does not have.

    Raises:
        NotFound: The service, view or feature is unknown, the snapshot lacks a table that the service needs, or its
            features are not applied.
        BadInput: A column of the rows is missing, unknown or of a wrong type; a moment is naive, null or in the future.
        ServiceUnavailable: The registry's database does not answer.
    """
    snapshot = snapshot or current_snapshot(home)
    chosen = _chosen(home, snapshot, wanted)
    moments = _checked(rows, chosen)
    store = require_applied(settings, home, snapshot)
    keys = list(dict.fromkeys(view.key for view, _ in chosen))
    asked = pa.table({**{key: _ids(rows, key) for key in keys}, _INSTANT: moments})
    columns: dict[str, pa.ChunkedArray] = {}
    if len(rows):
        if batch := [f"{view.name}:{name}" for view, names in chosen for name in names if isinstance(view, View)]:
            columns |= _joined(store, asked, batch)
        for view, names in chosen:
            if isinstance(view, MomentView):
                columns |= _at_moments(store, asked, view, names)
    answer = rows
    for view, names in chosen:
        for feature in names:
            name, kind = f"{view.name}__{feature}", TYPES[view.features[feature]]
            answer = answer.append_column(name, columns[name].cast(kind) if len(rows) else pa.array([], kind))
    unknown = {key: count for key in keys if (count := _count_unknown(home, snapshot, key, asked[key]))}
    return answer.replace_schema_metadata({**(rows.schema.metadata or {}), _UNKNOWN: json.dumps(unknown)})


def unknown_ids(answer: pa.Table) -> dict[str, int]:
    """Column of ids → how many distinct ids in it the snapshot does not have; columns without such ids are left out."""
    return dict(json.loads((answer.schema.metadata or {}).get(_UNKNOWN, b"{}")))


def _chosen(home: Home, snapshot: Snapshot, wanted: str | Sequence[str]) -> Chosen:
    known: dict[str, AnyView] = {**views_of(home, snapshot), **moment_views_of(home, snapshot)}
    references = service_views(home, snapshot, wanted) if isinstance(wanted, str) else wanted
    features: dict[str, list[str]] = {}
    for reference in references:
        name, _, feature = reference.partition(":")
        if name not in known:
            raise unknown_name(
                f"feature view of snapshot {snapshot.id}", name, known, next_step="use one of those names"
            )
        of_view = known[name].features
        if feature and feature not in of_view:
            raise unknown_name(f"feature of view {name}", feature, of_view, next_step="use one of those names")
        names = features.setdefault(name, [])
        names.extend(each for each in ([feature] if feature else of_view) if each not in names)
    if not features:
        raise BadInput(
            "request for features",
            found="no views in it",
            expected="a feature service, or references such as 'user_history:video_ids'",
            next_step=f"name some of {', '.join(known)}",
        )
    return [(known[name], names) for name, names in features.items()]


def _checked(rows: pa.Table, chosen: Chosen) -> pa.ChunkedArray:
    """The moments in microseconds with a time zone, after a look at all that can be wrong with a request."""
    needed = list(dict.fromkeys(view.key for view, _ in chosen))
    may = [*ENTITIES.values(), MOMENT]
    if strange := [name for name in rows.column_names if name not in may]:
        raise _request(f"columns {', '.join(strange)}", f"columns out of {', '.join(may)}", "drop or rename them")
    if absent := [name for name in (*needed, MOMENT) if name not in rows.column_names]:
        raise _request(
            f"no column {', '.join(absent)}",
            f"columns {', '.join([*needed, MOMENT])}, which these features need",
            "add it",
        )
    moments = rows[MOMENT]
    if not pa.types.is_timestamp(moments.type) or moments.type.tz is None:
        raise _request(
            f"moments of type {moments.type}",
            "timestamps with a time zone",
            "say which zone they are in, e.g. `column.cast(pa.timestamp('us', tz='UTC'))`",
        )
    if moments.null_count:
        raise _request(f"{moments.null_count:,} rows without a moment", "a moment in each row", "drop those rows")
    moments = moments.cast(TIMESTAMP, safe=False)  # to the microsecond that the moment lies in
    now = utc_now()
    if late := pc.sum(pc.greater(moments, pa.scalar(now, TIMESTAMP))).as_py() or 0:
        raise _request(
            f"{late:,} moments in the future, the last {pc.max(moments).as_py().isoformat()}",
            f"moments up to now, {now.isoformat()}",
            "ask when it has happened; nobody knows what will be known then",
        )
    return moments


def _request(found: str, expected: str, next_step: str) -> BadInput:
    return BadInput("rows to look features up for", found=found, expected=expected, next_step=next_step)


def _ids(rows: pa.Table, key: str) -> pa.ChunkedArray:
    ids = rows[key]
    plain = ids.type.value_type if pa.types.is_dictionary(ids.type) else ids.type
    if not any(is_kind(plain) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)):
        raise _request(f"{key} of type {ids.type}", "strings, as in the tables", "give the ids as they were ingested")
    return ids.cast(pa.string())


def _joined(store: "FeatureStore", asked: pa.Table, references: list[str]) -> dict[str, pa.ChunkedArray]:
    """Column ``<view>__<feature>`` of each reference, by Feast, for the rows in their order."""
    entities = pd.DataFrame(
        {name: asked[name].to_pandas() for name in asked.column_names[:-1]} | {_INSTANT: asked[_INSTANT].to_pandas()}
    )
    answer = store.get_historical_features(entities, references, full_feature_names=True).to_arrow()
    return {name: answer[name] for name in (reference.replace(":", "__") for reference in references)}


def _at_moments(
    store: "FeatureStore", asked: pa.Table, view: MomentView, names: list[str]
) -> dict[str, pa.ChunkedArray]:
    """Features of a view that is computed at the moment, from its state at each moment, some rows at a time."""
    width = 1 if view.spec is None else view.spec.width
    paths = {store.get_feature_view(source).batch_source.path for source in view.state.values()}
    longest = max(_longest_list(Path(path)) for path in paths)
    parts: dict[str, list[pa.Array]] = {name: [] for name in names}
    size = max(_BLOCK_FLOATS // (width * longest), 1)
    for start in range(0, len(asked), size):
        block = asked.slice(start, size)
        found = _joined(store, block, [f"{source}:{feature}" for feature, source in view.state.items()])
        state = {feature: found[f"{source}__{feature}"].combine_chunks() for feature, source in view.state.items()}
        value = view.value(state, instants(block[_INSTANT]))
        for name in names:
            parts[name].append(value[name])
    return {f"{view.name}__{name}": pa.chunked_array(arrays) for name, arrays in parts.items()}


@lru_cache(maxsize=64)
def _longest_list(path: Path) -> int:
    """Most instants that one row of a view's file lists, at least 1; the file of a snapshot does not change."""
    longest = 1
    with pq.ParquetFile(path) as file:
        listed = [name for name in ("times", "hours") if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=listed[:1]) if listed else ():
            longest = max(longest, pc.max(pc.list_value_length(batch.column(0))).as_py() or 1)
    return longest


def _count_unknown(home: Home, snapshot: Snapshot, key: str, ids: pa.ChunkedArray) -> int:
    table = {key: f"{entity}s" if entity != "music" else entity for entity, key in ENTITIES.items()}[key]
    given = ids.drop_null().unique()
    if table not in snapshot.tables:
        return len(given)
    known = read_table(home, snapshot, table, [key])[key].unique()
    return int(pc.sum(pc.invert(pc.is_in(given, value_set=known))).as_py() or 0)
