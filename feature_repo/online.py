"""Features at request time, from the online store."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
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
    set, where equal ids are other users.

    Args:
        settings: Name the profile.
        home: Which home.
        trained: Id of the snapshot the model was trained on.
    """

    def __init__(self, settings: Settings, home: Home, trained: str) -> None:
        self._settings = settings
        self._home = home
        self._trained = trained
        self._opened: _Opened | None = None
        self._lock = threading.Lock()

    def user_history(self, user_ids: Sequence[str]) -> list[list[str]]:
        """Ids of the last 50 videos of each user, oldest first; an empty list for a user never seen.

        Args:
            user_ids: One or more users; all are read in one round trip.

        Raises:
            NotFound: Nothing of the model's data set is materialized.
            ServiceUnavailable: A server of the production profile does not answer.
        """
        histories = self._stored("user_history", user_ids, None, ["video_ids"])["video_ids"] if len(user_ids) else []
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
        moment = _aware(moment)
        computed = self._open().moments.get(view)
        if computed is None:
            return self._stored(view, ids, moment)
        state: dict[str, pa.Array] = {}
        for source in dict.fromkeys(computed.state.values()):
            wanted = [feature for feature, owner in computed.state.items() if owner == source]
            rows = self._stored(source, ids, moment, wanted)
            state |= {feature: rows[feature].combine_chunks() for feature in wanted}
        values = computed.value(state, np.full(len(ids), microseconds(moment)))
        columns = {name: values[name].cast(TYPES[kind]) for name, kind in computed.features.items()}
        return pa.table({computed.key: pa.array(ids, pa.string()), **columns})

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
        moment = _aware(moment)
        opened = self._open()
        width = self._width(opened, view)
        if view not in opened.moments:
            with servers_answer(), _tables_there(opened.snapshot):
                found: tuple[Any, Any] = opened.store.read_matrix(
                    opened.config, opened.views[view], ids, "vector", width, now=moment
                )
            return found
        vectors = self.read(view, ids, moment)["vector"].combine_chunks()
        present = np.asarray(vectors.is_valid())
        matrix = np.zeros((len(ids), width), np.float32)
        matrix[present] = vectors.flatten().to_numpy().reshape(-1, width)
        return matrix, present

    def close(self) -> None:
        """Let go of the connections; the next read opens them again."""
        with self._lock:
            self._opened = None

    def _width(self, opened: _Opened, view: str) -> int:
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
        self, view: str, ids: Sequence[str], moment: datetime | None, features: Sequence[str] | None = None
    ) -> pa.Table:
        opened = self._open()
        _known(opened, view)
        with servers_answer(), _tables_there(opened.snapshot):
            rows: pa.Table = opened.store.read_table(opened.config, opened.views[view], ids, features, now=moment)
        return rows

    def _open(self) -> _Opened:
        with self._lock:
            if self._opened is None:
                self._opened = self._opened_now()
            return self._opened

    def _opened_now(self) -> _Opened:
        database = Database(self._settings, self._home)
        try:
            snapshot_id = materialized_snapshot(database, self._home, self._trained)
        finally:
            database.close()
        if snapshot_id is not None:
            with servers_answer():
                store = open_store(self._settings, self._home, snapshot_id)
                if applied_definitions(store) is not None:
                    views = {view.name: view for view in store.list_feature_views()}
                    moments = {
                        view.name: MomentView(view.name, view.tags["family"])
                        for view in store.registry.list_on_demand_feature_views(store.project, skip_udf=True)
                    }
                    inner = store._get_provider().online_store
                    return _Opened(snapshot_id, store.config, inner, views, moments)
        raise NotFound(
            f"online features for models of snapshot {self._trained}",
            found="no snapshot of its data set materialized"
            if snapshot_id is None
            else f"snapshot {snapshot_id} gone from the feature store",
            expected="a snapshot of the data set the model was trained on, in the online store",
            next_step="ingest that data set again, then run `backbeat features apply` and "
            "`backbeat features materialize`",
        )


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
