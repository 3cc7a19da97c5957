"""Features at request time, from the online store."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from contracts.database import Database
from contracts.errors import NotFound, unknown_name
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.definitions import ENTITIES, FEATURE_SERVICES
from feature_repo.materialize import materialized_snapshot
from feature_repo.store import open_store, servers_answer

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["OnlineFeatures"]

_HISTORY = "user_history:video_ids"


class OnlineFeatures:
    """Reads the online store of the materialized snapshot; opened at the first read, safe to share by threads.

    Args:
        settings: Name the profile.
        home: Which home.
        feature_service: The service the model was trained on.

    Raises:
        NotFound: There is no feature service of that name.
    """

    def __init__(self, settings: Settings, home: Home, feature_service: str) -> None:
        if feature_service not in FEATURE_SERVICES:
            raise unknown_name("feature service", feature_service, FEATURE_SERVICES, next_step="train the model again")
        self._settings = settings
        self._home = home
        self._store: FeatureStore | None = None
        self._lock = threading.Lock()

    def user_history(self, user_ids: Sequence[str]) -> list[list[str]]:
        """Ids of the last 50 videos of each user, oldest first; an empty list for a user never seen.

        Args:
            user_ids: One or more users; all are read in one round trip.

        Raises:
            NotFound: Nothing was materialized yet.
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
            snapshot_id = materialized_snapshot(database, self._home)
        finally:
            database.close()
        if snapshot_id is None:
            raise NotFound(
                "online features",
                found="no snapshot materialized",
                expected="the features of a snapshot in the online store",
                next_step="run `backbeat features materialize`",
            )
        return open_store(self._settings, self._home, snapshot_id)
