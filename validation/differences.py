"""How the vectors of one snapshot differ from another's, view by view: looked at, not judged."""

import math
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from contracts.console import progress
from contracts.errors import BadInput, Conflict, NotFound, unknown_name
from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX, ENTITY_KEYS, ENTITY_TABLES, TABLES
from feature_repo.offline import read_snapshot
from validation.statistics.drift import drift
from validation.statistics.paired import compare
from validation.statistics.permutation import holm
from validation.statistics.profile import Profile, measure_vectors
from validation.tables import JudgedTables

__all__ = ["differences", "snapshot_to_compare"]

_SEED = 0


def snapshot_to_compare(home: Home, snapshot: Snapshot, asked: str) -> Snapshot:
    """The snapshot of an id, which must be another one of the same data set.

    Raises:
        NotFound: There is none of that id.
        BadInput: It is the same one.
        Conflict: It is of another data set, whose ids mean other items.
    """
    if asked == snapshot.id:
        raise BadInput(
            f"snapshot {asked}",
            found="the current snapshot itself",
            expected="another one of its data set",
            next_step="run `backbeat validate list`, and name one with --against",
        )
    try:
        other = read_snapshot(home, asked)
    except NotFound:
        known = [path.name for path in home.offline.iterdir() if path.is_dir() and path.name != snapshot.id]
        raise unknown_name("snapshot", asked, known, next_step="run `backbeat validate list`") from None
    if other.dataset != snapshot.dataset:
        raise Conflict(
            f"snapshot {asked}",
            found=f"data set {other.dataset!r}",
            expected=f"{snapshot.dataset!r}, as the current snapshot: ids of another data set are other items",
            next_step="run `backbeat validate list`, and name one with --against",
        )
    return other


def differences(home: Home, snapshot: Snapshot, other: Snapshot) -> dict[str, Any]:
    """Measure both and compare the embedding views that have the same spec in both.

    Returns:
        ``snapshot``, ``against``; ``views``: for each, ``table``, ``view``, the facts of
        :class:`validation.statistics.paired.Paired` as ``paired``, and as ``drift`` the ``p_values`` of its new items
        (corrected over the tests of the view), the smallest of them as ``p_value`` (corrected over the views too),
        ``effects``, rows compared (``reference``, ``new``) and the ``items``
        that lie farthest off, or None where they are too few; ``not_compared``: table → why not.

    Raises:
        NotFound: A table's file is gone.
        BadInput: One is damaged.
    """
    former = {spec.digest: name for name, spec in other.embeddings.items()}
    not_compared = {
        EMBEDDING_PREFIX + name: f"snapshot {other.id} has no vectors of its spec {spec.digest}"
        for name, spec in snapshot.embeddings.items()
        if spec.digest not in former
    }
    shared = {name: former[spec.digest] for name, spec in snapshot.embeddings.items() if spec.digest in former}
    views: list[dict[str, Any]] = []
    p_values: dict[str, float] = {}
    tables, others = JudgedTables(home, snapshot), JudgedTables(home, other)
    with progress(f"comparing {snapshot.id} with {other.id}", len(shared)) as advance:
        for name, before in shared.items():
            then = _profile(other, others, before)
            now = _profile(snapshot, tables, name, then.ids)
            table = EMBEDDING_PREFIX + name
            found = drift(then, now, _SEED)
            views.append(
                {
                    "table": table,
                    "view": snapshot.embeddings[name].view,
                    "paired": _finite(asdict(compare(then, now))),
                    "drift": None if found is None else _finite(asdict(found)),
                }
            )
            if found is not None:
                p_values[table] = found.p_value
            advance(note=table)
    corrected = holm(p_values)
    for view in views:
        if view["drift"] is not None:
            view["drift"]["p_value"] = corrected[view["table"]]
    return {"snapshot": snapshot.id, "against": other.id, "views": views, "not_compared": not_compared}


def _profile(snapshot: Snapshot, tables: JudgedTables, name: str, accepted: pa.Array | None = None) -> Profile:
    spec = snapshot.embeddings[name]
    owners = ENTITY_TABLES[spec.entity]
    known = tables[owners] if owners in tables else TABLES[owners].empty_table()
    return measure_vectors(tables[EMBEDDING_PREFIX + name], known, ENTITY_KEYS[spec.entity], spec, accepted).profile


def _finite(document: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: what could not be measured is null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in document.items()
    }
