"""Features at request time, from the online store."""

import logging
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, NotFound, unknown_name
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.materialize import materialized_snapshot
from feature_repo.raw_tables import microseconds
from feature_repo.store import applied_definitions, open_store, servers_answer
from feature_repo.views.builder import TYPES
from feature_repo.views.moments import MomentView

if TYPE_CHECKING:
    from feast import FeatureView, RepoConfig

__all__ = ["OnlineFeatures"]

_RECHECK_S = 5.0
_WAIT_S = 1.0
"""How long the first read after a quiet time waits for the look, lest it answer from long ago."""

_LOG = logging.getLogger("backbeat.features")


@dataclass(frozen=True)
class _Opened:
    """A snapshot's project in the online store, and what is in it."""

    snapshot: str
    config: "RepoConfig"
    store: Any
    """One of our online stores: safe to share by threads."""
    views: dict[str, "FeatureView"]
    moments: dict[str, MomentView]


class OnlineFeatures:
    """Reads the newest online features of a model's own data set; opened at the first read, safe to share by threads.

    The snapshot is the one :func:`feature_repo.materialize.materialized_snapshot` names: never one of another data
    set, where equal ids are other users. Every few seconds a read has it looked up again, in a thread of its own, and
    reads that begin afterwards read the new one; one read is always of one snapshot.

    Args:
        settings: Name the profile.
        home: Which home.
        trained: Id of the snapshot the model was trained on.
        recheck_s: Seconds after which a read has the snapshot looked up again.
    """

    def __init__(self, settings: Settings, home: Home, trained: str, recheck_s: float = _RECHECK_S) -> None:
        self._settings = settings
        self._home = home
        self._trained = trained
        self._recheck_s = recheck_s
        self._opened: _Opened | None = None
        self._looked = 0.0
        self._looking = False
        self._lock = threading.Lock()

    def user_history(self, user_ids: Sequence[str]) -> list[list[str]]:
        """Ids of the last 50 videos of each user, oldest first; an empty list for a user never seen.

        Args:
            user_ids: One or more users; all are read in one round trip.

        Raises:
            NotFound: Nothing of the model's data set is materialized.
            ServiceUnavailable: A server of the production profile does not answer.
        """
        return self.histories("user_history:video_ids", user_ids)

    def histories(self, reference: str, user_ids: Sequence[str]) -> list[list[str]]:
        """Ids of the last 50 items that each user chose, oldest first; an empty list for a user never seen.

        Args:
            reference: Feature that holds them, ``<view>:<feature>``, as
                :attr:`feature_repo.services.Ranking.history` names it.
            user_ids: One or more users; all are read in one round trip.

        Raises:
            NotFound: There is no such view, or nothing of the model's data set is materialized.
            ServiceUnavailable: A server of the production profile does not answer.
        """
        if not len(user_ids):
            return []
        view, feature = reference.split(":")
        histories = _stored(self._open(), view, user_ids, None, [feature])[feature]
        return [history.as_py() or [] for history in histories]

    def read(self, view: str, ids: Sequence[str], moment: datetime | None = None) -> pa.Table:
        """Features of a view, for entities in their order.

        The online store has the newest row of each entity and no other: a moment says how old that row is, and where
        windows end; it does not bring older rows back.

        Args:
            view: Name of a batch view, or of one that is computed at the moment.
            ids: Entities, ``[n]``; they may repeat.
            moment: The moment that a row must not be expired at, and that features are computed at; now if None.

        Returns:
            The entity's key and the features, ``[n]``; nulls for an entity that is not there. A batch view has
            ``event_time`` too: since when its values have been known.

        Raises:
            NotFound: There is no such view, or nothing of the model's data set is materialized.
            BadInput: The moment is naive.
            ServiceUnavailable: A server of the production profile does not answer.
        """
        return _Reading(self._open(), ids, _aware(moment)).table(view)

    def matrix(
        self, view: str, ids: Sequence[str], moment: datetime | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Vectors of a view of vectors as one array, for entities in their order.

        Args:
            view: Name of a view with a feature ``vector``.
            ids: Entities, ``[n]``; they may repeat.
            moment: As in :meth:`read`.

        Returns:
            ``[n, width]``, zeros where there is no vector; and which rows have one, ``[n]``.

        Raises:
            NotFound: There is no such view, or nothing of the model's data set is materialized.
            BadInput: The view has no vectors, or the moment is naive.
            ServiceUnavailable: A server of the production profile does not answer.
        """
        return _Reading(self._open(), ids, _aware(moment)).matrix(view)

    def matrices(
        self, views: Collection[str], ids: Sequence[str], moment: datetime | None = None
    ) -> dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]:
        """:meth:`matrix` of several views, all of one snapshot; what two of them are made from is read once.

        Args:
            views: Names of views with a feature ``vector``; those that the snapshot does not have are left out.
            ids: Entities, ``[n]``; they may repeat.
            moment: As in :meth:`read`.

        Raises:
            NotFound: Nothing of the model's data set is materialized.
            BadInput: A view has no vectors, or the moment is naive.
            ServiceUnavailable: A server of the production profile does not answer.
        """
        opened = self._open()
        reading = _Reading(opened, ids, _aware(moment))
        # Computed ones first: a view that they are computed from need not be read for itself.
        there = [*(view for view in views if view in opened.moments), *(view for view in views if view in opened.views)]
        return {view: reading.matrix(view) for view in there}

    def refresh(self) -> bool:
        """Look now which snapshot is materialized, and read that one from here on; what is being read ends as it began.

        Returns:
            Whether it is another one than before. Always no where nothing was read since the last :meth:`close`.

        Raises:
            NotFound: Nothing of the model's data set is materialized any more; reads go on as before.
            ServiceUnavailable: A server of the production profile does not answer; reads go on as before.
        """
        before = self._opened
        if before is None:
            return False
        newest = self._newest()
        if newest == before.snapshot:
            return False
        opened = self._opened_on(newest)
        with self._lock:
            if self._opened is not before:  # closed, or another thread's refresh came first
                return False
            self._opened = opened
        _LOG.info("online features of snapshot %s from here on, before %s", newest, before.snapshot)
        return True

    def close(self) -> None:
        """Let go of the connections; the next read opens them again."""
        with self._lock:
            self._opened = None

    def _open(self) -> _Opened:
        with self._lock:
            if self._opened is None:
                self._opened = self._opened_on(self._newest())
                self._looked = time.monotonic()
            opened, age = self._opened, time.monotonic() - self._looked
            if self._looking or age < self._recheck_s:
                return opened
            self._looking = True
            # A thread, for opening another snapshot takes longer than readers should wait.
            look = threading.Thread(target=self._look, name="online-features", daemon=True)
            look.start()
        if age >= 2 * self._recheck_s:
            look.join(_WAIT_S)
        return self._opened or opened

    def _look(self) -> None:
        try:
            self.refresh()
        except Exception as error:  # noqa: BLE001 - what is open can still be read
            _LOG.warning("cannot tell whether other online features are to be read: %s", error)
        finally:
            with self._lock:
                self._looking, self._looked = False, time.monotonic()

    def _newest(self) -> str:
        database = Database(self._settings, self._home)
        try:
            snapshot_id = materialized_snapshot(database, self._home, self._trained)
        finally:
            database.close()
        if snapshot_id is None:
            raise self._nothing("no snapshot of its data set materialized")
        return snapshot_id

    def _opened_on(self, snapshot_id: str) -> _Opened:
        with servers_answer():
            store = open_store(self._settings, self._home, snapshot_id)
            if applied_definitions(store) is None:
                raise self._nothing(f"snapshot {snapshot_id} gone from the feature store")
            views = {view.name: view for view in store.list_feature_views()}
            moments = {
                view.name: MomentView(view.name, view.tags["family"])
                for view in store.registry.list_on_demand_feature_views(store.project, skip_udf=True)
            }
            return _Opened(snapshot_id, store.config, store._get_provider().online_store, views, moments)

    def _nothing(self, found: str) -> NotFound:
        return NotFound(
            f"online features for models of snapshot {self._trained}",
            found=found,
            expected="a snapshot of the data set the model was trained on, in the online store",
            next_step="ingest that data set again, then run `backbeat features apply` and "
            "`backbeat features materialize`",
        )


class _Reading:
    """Reads about the same entities at one moment, from one snapshot; the same features of a view are fetched once."""

    def __init__(self, opened: _Opened, ids: Sequence[str], moment: datetime) -> None:
        self._opened = opened
        self._ids = ids
        self._moment = moment
        self._fetched: dict[tuple[str, ...], pa.Table] = {}

    def table(self, view: str) -> pa.Table:
        """The features of a view, as :meth:`OnlineFeatures.read` gives them."""
        computed = self._opened.moments.get(view)
        if computed is None:
            return _stored(self._opened, view, self._ids, self._moment)
        state: dict[str, pa.Array] = {}
        for source in dict.fromkeys(computed.state.values()):
            wanted = [feature for feature, owner in computed.state.items() if owner == source]
            rows = self._of(source, wanted)
            state |= {feature: rows[feature].combine_chunks() for feature in wanted}
        values = computed.value(state, np.full(len(self._ids), microseconds(self._moment)))
        columns = {name: values[name].cast(TYPES[kind]) for name, kind in computed.features.items()}
        return pa.table({computed.key: pa.array(self._ids, pa.string()), **columns})

    def matrix(self, view: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """The vectors of a view, as :meth:`OnlineFeatures.matrix` gives them."""
        opened, width = self._opened, self._width(view)
        rows = self.table(view) if view in opened.moments else self._fetched.get((view, "vector"))
        if rows is None:
            with servers_answer(), _tables_there(opened.snapshot):
                found: tuple[Any, Any] = opened.store.read_matrix(
                    opened.config, opened.views[view], self._ids, "vector", width, now=self._moment
                )
            return found
        vectors = rows["vector"].combine_chunks()
        present = np.asarray(vectors.is_valid())
        matrix = np.zeros((len(self._ids), width), np.float32)
        matrix[present] = vectors.flatten().to_numpy().reshape(-1, width)
        return matrix, present

    def _of(self, view: str, features: Sequence[str]) -> pa.Table:
        key = (view, *features)
        if key not in self._fetched:
            self._fetched[key] = _stored(self._opened, view, self._ids, self._moment, features)
        return self._fetched[key]

    def _width(self, view: str) -> int:
        opened = self._opened
        _known(opened, view)
        computed = opened.moments.get(view)
        source = opened.views[view if computed is None else computed.state.get("vector", "video_popularity")]
        if all(field.name != "vector" for field in source.features):
            raise BadInput(
                f"view {view!r}",
                found="no feature 'vector' in it",
                expected="a view of vectors",
                next_step="read its features with `read`",
            )
        return int(source.tags["width"])


def _stored(
    opened: _Opened, view: str, ids: Sequence[str], moment: datetime | None, features: Sequence[str] | None = None
) -> pa.Table:
    _known(opened, view)
    with servers_answer(), _tables_there(opened.snapshot):
        rows: pa.Table = opened.store.read_table(opened.config, opened.views[view], ids, features, now=moment)
    return rows


def _known(opened: _Opened, view: str) -> None:
    known = [*opened.views, *opened.moments]
    if view not in known:
        raise unknown_name(
            f"online feature view of snapshot {opened.snapshot}", view, known, next_step="use one of those names"
        )


@contextmanager
def _tables_there(snapshot: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "no such" not in str(error):  # table; or column, in a file that an earlier version wrote
            raise
        raise NotFound(
            f"online features of snapshot {snapshot}",
            found=f"an online store without them ({error})",
            expected="what `backbeat features materialize` wrote",
            next_step="run `backbeat features materialize`",
        ) from None


def _aware(moment: datetime | None) -> datetime:
    if moment is not None and moment.tzinfo is None:
        raise BadInput(
            "moment of an online read",
            found=f"{moment.isoformat()}, which is in no time zone",
            expected="an aware datetime, e.g. in UTC",
            next_step="say which zone it is in",
        )
    return moment or utc_now()
