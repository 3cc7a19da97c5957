"""Training-serving skew: what requests were served with, against what a point-in-time join says was known then."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from statistics import median
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import select

from contracts.database import Database
from contracts.errors import NotFound
from contracts.home import Home
from contracts.log_rows import FeatureSnapshotRow
from contracts.manifest import read_manifest
from contracts.platform import ResponseRow
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.tables import TIMESTAMP
from feature_repo.historical import historical_features
from feature_repo.offline import newest_snapshot_of, read_snapshot
from feature_repo.services import ranking_of
from feature_repo.views.catalogue import View, views_of
from feature_repo.views.moments import MOMENT, MomentView, moment_views_of
from registry.store import ModelStore
from serving.contexts import views_of_manifest

__all__ = ["FeatureSkew", "SkewReport", "Skewed", "State", "measure_skew"]

State = Literal["equal", "older", "newer", "missing", "different"]
"""``older``: what had been known before; ``newer``: what the tables know only since; ``missing``: nothing, though there
was something; ``different``: what the tables never said."""

_LISTED = 10
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class _Asked:
    """A feature that a request was served with."""

    response_id: str
    feature: str
    """``<view>:<feature>``."""
    entity: str
    moment: datetime
    value: list[Any] | None
    """None where the online store had nothing."""


@dataclass(frozen=True)
class _Trained:
    """What a version was trained on."""

    snapshot: Snapshot
    """The newest of its data set."""
    history: str
    """The feature that is the history of its users."""
    views: list[str]
    """Views of vectors that its requests bring."""


@dataclass(frozen=True)
class Skewed:
    """A request that was served with something else than a join gives."""

    response_id: str
    feature: str
    entity: str
    state: State
    behind_s: float | None
    """Since when something else had been known, in seconds before the request; None where that cannot be said."""


@dataclass
class FeatureSkew:
    """One feature over all requests."""

    compared: int = 0
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("older", "newer", "missing", "different"), 0))
    """State → requests; the others are equal."""
    behind_s: dict[str, float] | None = None
    """Median and maximum of the seconds that what was served was behind; None where nothing was."""

    @property
    def share(self) -> float:
        """Share of the requests that are not equal."""
        return sum(self.states.values()) / self.compared if self.compared else 0.0


@dataclass
class SkewReport:
    """Every feature that the sampled requests were served with."""

    surface: str
    requests: int
    snapshots: list[str]
    """Whose tables were joined."""
    unread: int
    """Requests of which the online store did not answer: a fault, and no skew."""
    features: dict[str, FeatureSkew]
    examples: list[Skewed]

    @property
    def worst(self) -> float:
        """The greatest share of requests with a skewed feature."""
        return max((feature.share for feature in self.features.values()), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """The report as one JSON document."""
        document = asdict(self)
        for name, feature in self.features.items():
            document["features"][name]["share"] = feature.share
        return document | {"worst": self.worst}


def measure_skew(
    settings: Settings, home: Home, database: Database, surface: str, sample: int, since: datetime | None = None
) -> SkewReport:
    """Compare the features of sampled requests with those of a point-in-time join at the moment of each request.

    The join is on the newest snapshot of the data set that the serving version was trained on.

    Args:
        settings: Name the profile.
        home: Where the snapshots are.
        database: The platform's tables.
        surface: Whose requests.
        sample: At most so many, drawn by their random ids: the same ones at every call.
        since: Served then or later.

    Raises:
        NotFound: There are no such requests, or the snapshot's features are not applied.
        ServiceUnavailable: A server does not answer.
    """
    rows = _sampled(database, surface, sample, since)
    trained = _trained(settings, home, surface, {version for _, version in rows})
    asked: dict[str, list[_Asked]] = defaultdict(list)
    unread = 0
    for row, version in rows:
        faults = {each["feature"] for each in row.missing if each["reason"] != "absent"}
        unread += bool(faults)
        asked[trained[version].snapshot.id] += _asked(row, trained[version], faults)
    by_id = {each.snapshot.id: each.snapshot for each in trained.values()}
    report = SkewReport(surface, len(rows), sorted(by_id), unread, defaultdict(FeatureSkew), [])
    behind: dict[str, list[float]] = defaultdict(list)
    for snapshot_id, features in asked.items():
        for one, state, behind_s in _judged(settings, home, by_id[snapshot_id], features):
            feature = report.features[one.feature]
            feature.compared += 1
            if state == "equal":
                continue
            feature.states[state] += 1
            if behind_s is not None:
                behind[one.feature].append(behind_s)
            if len(report.examples) < _LISTED:
                report.examples.append(Skewed(one.response_id, one.feature, one.entity, state, behind_s))
    for name, seconds in behind.items():
        report.features[name].behind_s = {"median": round(median(seconds), 3), "maximum": round(max(seconds), 3)}
    report.features = dict(sorted(report.features.items()))
    return report


def _sampled(
    database: Database, surface: str, sample: int, since: datetime | None
) -> list[tuple[FeatureSnapshotRow, str]]:
    chosen = (
        select(FeatureSnapshotRow, ResponseRow.version)
        .join(ResponseRow, ResponseRow.id == FeatureSnapshotRow.response_id)
        .where(FeatureSnapshotRow.surface == surface)
        .order_by(FeatureSnapshotRow.response_id)
        .limit(sample)
    )
    if since is not None:
        chosen = chosen.where(FeatureSnapshotRow.at >= since)
    with database.session() as session:
        rows = [(row, version) for row, version in session.execute(chosen)]
        session.expunge_all()
    if not rows:
        raise NotFound(
            f"requests of {surface} whose features were kept",
            found="none" if since is None else f"none since {since:%Y-%m-%d %H:%M} UTC",
            expected="a sample of the served requests",
            next_step="serve with BACKBEAT_LOG_FEATURES_SAMPLE above 0, e.g. 1 for all requests",
        )
    return rows


def _trained(settings: Settings, home: Home, surface: str, versions: set[str]) -> dict[str, _Trained]:
    store, found = ModelStore(settings, home), {}
    for version in versions:
        manifest = read_manifest(store.package_path(store.get(surface, version)))
        snapshot = newest_snapshot_of(home, read_snapshot(home, manifest.snapshot).dataset)
        history = ranking_of(manifest.feature_service).history
        found[version] = _Trained(snapshot, history, sorted(views_of_manifest(manifest).values()))
    return found


def _asked(row: FeatureSnapshotRow, trained: _Trained, faults: set[str]) -> Iterator[_Asked]:
    if "user_history" not in faults:
        yield _Asked(row.response_id, trained.history, row.user_id, row.at, row.query["history"] or None)
    if faults.isdisjoint(("user_posts", "video_content")):
        entity = row.query["video_id"] or row.user_id
        for view in trained.views:
            yield _Asked(row.response_id, f"{view}:vector", entity, row.at, row.query["context"].get(view))


def _judged(
    settings: Settings, home: Home, snapshot: Snapshot, asked: Sequence[_Asked]
) -> Iterator[tuple[_Asked, State, float | None]]:
    views: dict[str, View | MomentView] = {**moment_views_of(home, snapshot), **views_of(home, snapshot)}
    by_feature: dict[str, list[_Asked]] = defaultdict(list)
    for one in asked:
        if one.feature.partition(":")[0] in views:  # else of an encoder that the newest snapshot does not have
            by_feature[one.feature].append(one)
    for reference, group in by_feature.items():
        name, _, feature = reference.partition(":")
        view = views[name]
        rows = pa.table(
            {
                view.key: pa.array([one.entity for one in group], pa.string()),
                MOMENT: pa.array([one.moment for one in group], TIMESTAMP),
            }
        )
        joined = historical_features(settings, home, [reference], rows, snapshot)[f"{name}__{feature}"].to_pylist()
        skewed = [(one, value) for one, value in zip(group, joined, strict=True) if not _equal(one.value, value)]
        told = {one.response_id for one, _ in skewed}
        yield from ((one, "equal", None) for one in group if one.response_id not in told)
        past = _past(view, feature, {one.entity for one, _ in skewed}) if isinstance(view, View) and skewed else {}
        for one, value in skewed:
            yield (one, *_state(one, value, past.get(one.entity, [])))


def _past(view: View, feature: str, entities: set[str]) -> dict[str, list[tuple[datetime, Any]]]:
    """Entity → since when what was known of it, the oldest first."""
    columns = [view.key, feature, "event_time", "ingested_at"]
    rows = pq.read_table(view.path, columns=columns, filters=pc.field(view.key).isin(sorted(entities)))
    past: dict[str, list[tuple[datetime, Any]]] = defaultdict(list)
    for row in rows.to_pylist():
        past[row[view.key]].append((max(row["event_time"], row["ingested_at"]), row[feature]))
    return {entity: sorted(known, key=lambda state: state[0]) for entity, known in past.items()}


def _state(one: _Asked, joined: Any, past: Sequence[tuple[datetime, Any]]) -> tuple[State, float | None]:
    """What was served instead of what a join gives, and since when it had been something else."""
    before = [state for state in past if state[0] <= one.moment]
    if not one.value:
        return "missing", _behind(one, before[:1])
    for place in reversed(range(len(before) - 1)):
        if _equal(one.value, before[place][1]):
            return "older", _behind(one, before[place + 1 :])
    if not joined or any(_equal(one.value, value) for moment, value in past if moment > one.moment):
        return "newer", None
    return "different", None


def _behind(one: _Asked, since: Sequence[tuple[datetime, Any]]) -> float | None:
    return round((one.moment - since[0][0]).total_seconds(), 3) if since else None


def _equal(served: Any, joined: Any) -> bool:
    if not served or not joined:
        return not served and not joined
    if len(served) != len(joined):
        return False
    if isinstance(served[0], str):
        return bool(served == joined)
    return bool(np.allclose(served, joined, rtol=_TOLERANCE, atol=_TOLERANCE))
