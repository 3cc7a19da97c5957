"""Recorded lists made again, from what was read for them, by the version that served them or by another one."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select

from contracts.console import progress
from contracts.database import Database
from contracts.errors import BackbeatError, NotFound
from contracts.experiments import Experiment, experiment_of_name
from contracts.home import Home
from contracts.log_rows import FeatureSnapshotRow
from contracts.platform import ResponseRow
from contracts.settings import Settings
from feature_repo.encoders.device import prepare_torch
from registry.store import ModelStore
from serving.admission import admit_of
from serving.building import build_ranker
from serving.experiments.live import LiveExperiment
from serving.feature_snapshots import computed_on, left_out_of, newest_of, read_query
from serving.recommend import Ranker
from training.packages import load_package

__all__ = ["Difference", "Recorded", "ReplayReport", "Replayer", "recorded_lists", "replay_lists"]

_LISTED = 20
"""Differences that a report shows."""


@dataclass(frozen=True)
class Recorded:
    """A served list with what it was made from."""

    response_id: str
    surface: str
    version: str
    items: list[dict[str, Any]]
    """``item_id``, ``score`` and ``step`` of each place."""
    query: dict[str, Any]
    computed_on: dict[str, Any]
    experiment: str | None
    teams: list[int] | None


@dataclass(frozen=True)
class Difference:
    """The first place at which a list is another one now."""

    response_id: str
    served: str
    """The version that served it."""
    place: int
    """From 0."""
    was: dict[str, Any] | None
    """What was served there; None where the list had ended."""
    now: dict[str, Any] | None
    elsewhere: bool
    """Whether it was computed on another device, or with another index."""


@dataclass
class ReplayReport:
    """What became of the lists."""

    version: str | None
    """The version that made all of them again; None: each the one that served it."""
    lists: int = 0
    """Made again."""
    reproduced: int = 0
    """Of these, equal bit for bit: items, scores and steps."""
    broken: int = 0
    """Lists that the very version that served them does not reproduce."""
    same_items: float | None = None
    """Mean share of the served items that are in the list now."""
    differences: list[Difference] = field(default_factory=list)
    """The first of them."""
    not_replayed: dict[str, int] = field(default_factory=dict)
    """Why a list cannot be made again → how many."""

    def as_dict(self) -> dict[str, Any]:
        """The report as one JSON document."""
        return asdict(self)


def recorded_lists(
    database: Database,
    surface: str,
    response_ids: Sequence[str] = (),
    sample: int | None = None,
    since: datetime | None = None,
) -> list[Recorded]:
    """Lists whose features were kept.

    Args:
        database: The platform's tables.
        surface: Of which surface, where no lists are named.
        response_ids: These lists, in this order.
        sample: At most so many otherwise, drawn by their random ids: the same ones at every call.
        since: Served then or later.

    Raises:
        NotFound: A list was not recorded, its features were not kept, or there are no such lists at all.
    """
    chosen = select(ResponseRow, FeatureSnapshotRow).outerjoin(
        FeatureSnapshotRow, FeatureSnapshotRow.response_id == ResponseRow.id
    )
    if response_ids:
        chosen = chosen.where(ResponseRow.id.in_(response_ids))
    else:
        chosen = chosen.where(ResponseRow.surface == surface, FeatureSnapshotRow.response_id.is_not(None))
        chosen = chosen.order_by(ResponseRow.id).limit(sample)
        if since is not None:
            chosen = chosen.where(ResponseRow.at >= since)
    with database.session() as session:
        found = {row.id: (row, kept) for row, kept in session.execute(chosen)}
        lists = []
        for response_id in response_ids or found:
            row, kept = found.get(response_id, (None, None))
            if row is None or kept is None:
                raise _not_kept(response_id, served=row is not None)
            lists.append(
                Recorded(
                    row.id,
                    row.surface,
                    row.version,
                    row.items,
                    kept.query,
                    kept.computed_on,
                    row.experiment,
                    row.teams,
                )
            )
    if not lists:
        raise NotFound(
            f"requests of {surface} whose features were kept",
            found="none" if since is None else f"none since {since:%Y-%m-%d %H:%M} UTC",
            expected="a sample of the served requests",
            next_step="serve with BACKBEAT_LOG_FEATURES_SAMPLE above 0, e.g. 1 for all requests",
        )
    return lists


class Replayer:
    """Makes lists again; versions are loaded when they are needed, and kept.

    Args:
        settings: Which registry, which device, which index.
        home: Holds them, and cached packages.
        database: The platform's tables.
    """

    def __init__(self, settings: Settings, home: Home, database: Database) -> None:
        self._settings = settings
        self._home = home
        self._database = database
        self._store = ModelStore(settings, home)
        self._device = prepare_torch(settings)
        self._rankers: dict[tuple[str, str, str | None], Ranker] = {}
        self._experiments: dict[str, Experiment] = {}
        self.computed_on = computed_on(settings, self._device)
        """What these lists hang on beside their version."""

    def again(self, recorded: Recorded, version: str | None = None) -> list[dict[str, Any]]:
        """The list that a version makes of what was recorded.

        A list of an experiment is drawn again as it was; another version's list is its own.

        Args:
            recorded: The request.
            version: Its number; the one that served if None.

        Raises:
            NotFound: The version, its package, the experiment or the snapshot of new items is gone, or an item came to
                the version while the list was made.
            BadInput: The package is damaged, or lacks what the request filters by.
            ServiceUnavailable: A server does not answer.
        """
        query = read_query(recorded.query)
        ranker = self._ranker(recorded, version or recorded.version)
        same = version in (None, recorded.version)
        experiment = self._experiment(recorded) if same and recorded.experiment is not None else None
        if experiment is None:
            if same:
                self._require_known(recorded, ranker)
            return [item.as_dict() for item in ranker.rank(query)]
        challenger = None if experiment.challenger is None else self._ranker(recorded, experiment.challenger)
        live = LiveExperiment(experiment, challenger)
        (served,) = live.serve(ranker, [query], None, [recorded.response_id])
        return [item.as_dict() for item in served.ranking.items]

    def _require_known(self, recorded: Recorded, ranker: Ranker) -> None:
        ids = [item["item_id"] for item in recorded.items]
        if (ranker.items.rows(ids) < 0).any():
            raise NotFound(
                f"list of version {ranker.version}",
                found="an item that came to it just then",
                expected="items that its package or the snapshot online has",
                next_step="choose another list",
            )

    def _experiment(self, recorded: Recorded) -> Experiment | None:
        """The experiment that mixed a list; None where the list is its version's own."""
        assert recorded.experiment is not None
        experiment = self._experiments.get(recorded.experiment)
        if experiment is None:
            with self._database.session() as session:
                experiment = experiment_of_name(session, recorded.experiment)
            self._experiments[recorded.experiment] = experiment
        # The challenger of an interleaving may have failed: then the champion's own list was served.
        own = experiment.mode == "ab" or (experiment.mode == "interleaving" and recorded.teams is None)
        return None if own else experiment

    def _ranker(self, recorded: Recorded, version: str) -> Ranker:
        """A version with the items that lists had then."""
        newest = newest_of(recorded.computed_on)
        key = (recorded.surface, version, newest)
        ranker = self._rankers.get(key)
        if ranker is None:
            found = self._store.get(recorded.surface, version)
            package = load_package(self._store.package_path(found), self._device)
            ranker = build_ranker(self._settings, self._home, found.version, package)
            if newest is not None:
                admit_of(self._home, newest, ranker)
            self._rankers[key] = ranker
        ranker.leave_out(left_out_of(recorded.computed_on))
        return ranker


def replay_lists(replayer: Replayer, lists: Sequence[Recorded], version: str | None = None) -> ReplayReport:
    """Make lists again and compare them with what was served.

    Args:
        replayer: Makes them.
        lists: What was recorded.
        version: Number of the version to ask; each the one that served it if None.

    Raises:
        NotFound: There is no such version, or its package is gone.
    """
    report, shares = ReplayReport(version), []
    refused: Counter[str] = Counter()
    with progress("lists", len(lists)) as advance:
        for recorded in lists:
            try:
                now = replayer.again(recorded, version)
            except BackbeatError as error:
                if version is not None:
                    raise
                refused[f"{error.subject}: {error.found}"] += 1
                continue
            finally:
                advance()
            report.lists += 1
            served_ids = {item["item_id"] for item in recorded.items}
            shares.append(len(served_ids & {item["item_id"] for item in now}) / max(len(served_ids), 1))
            place = next(_differing(recorded.items, now), None)
            if place is None:
                report.reproduced += 1
                continue
            report.broken += version in (None, recorded.version)
            if len(report.differences) < _LISTED:
                elsewhere = any(recorded.computed_on.get(key) != value for key, value in replayer.computed_on.items())
                report.differences.append(
                    Difference(
                        recorded.response_id,
                        recorded.version,
                        place,
                        _at(recorded.items, place),
                        _at(now, place),
                        elsewhere,
                    )
                )
    report.not_replayed = dict(refused)
    report.same_items = round(sum(shares) / len(shares), 6) if shares else None
    return report


def _differing(was: Sequence[Any], now: Sequence[Any]) -> Iterator[int]:
    return (place for place in range(max(len(was), len(now))) if _at(was, place) != _at(now, place))


def _at(items: Sequence[Any], place: int) -> Any:
    return items[place] if place < len(items) else None


def _not_kept(response_id: str, served: bool) -> NotFound:
    return NotFound(
        f"features of response {response_id!r}",
        found="a list whose features were not kept" if served else "no served list of that id",
        expected="a list of the sample whose features are kept",
        next_step="choose another one, or serve with BACKBEAT_LOG_FEATURES_SAMPLE=1, which keeps those of all requests",
    )
