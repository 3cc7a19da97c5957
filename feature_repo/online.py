"""Features at request time, from the online store."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from contracts.database import Database
from contracts.errors import NotFound
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.definitions import ENTITIES
from feature_repo.materialize import materialized_snapshot
from feature_repo.store import applied_definitions, open_store, servers_answer

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["OnlineFeatures"]

_HISTORY = "user_history:video_ids"


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
        self._store: FeatureStore | None = None
        self._lock = threading.Lock()

    def user_history(self, user_ids: Sequence[str]) -> list[list[str]]:
        """Ids of the last 50 videos of each user, oldest first; an empty list for a user never seen.

        Args:
            user_ids: One or more users; all are read in one round trip.

        Raises:
            NotFound: Nothing of the model's data set is materialized.
            ServiceUnavailable: A server of the production profile does not answer.
        """
        if not user_ids:
            return []
        with self._lock, servers_answer():
            # One connection, one reader: SQLite's is not made for two threads at once.
            if self._store is None:
                self._store = self._open()
            answer = self._store.get_online_features(
                features=[_HISTORY], entity_rows=[{ENTITIES["user"]: user_id} for user_id in user_ids]
            )
        return [history or [] for history in answer.to_dict()["video_ids"]]

    def close(self) -> None:
        """Return the connections; the next read opens them again."""
        with self._lock:
            self._store = None

    def _open(self) -> "FeatureStore":
        database = Database(self._settings, self._home)
        try:
            snapshot_id = materialized_snapshot(database, self._home, self._trained)
        finally:
            database.close()
        if snapshot_id is not None:
            store = open_store(self._settings, self._home, snapshot_id)
            if applied_definitions(store) is not None:
                return store
        raise NotFound(
            f"online features for models of snapshot {self._trained}",
            found="no snapshot of its data set materialized"
            if snapshot_id is None
            else f"snapshot {snapshot_id} gone from the feature store",
            expected="a snapshot of the data set the model was trained on, in the online store",
            next_step="ingest that data set again, then run `backbeat features apply` and "
            "`backbeat features materialize`",
        )
