"""Has a running engine return new items, once they are materialized, without anything being built again."""

import logging

from contracts.database import Database
from contracts.home import Home
from feature_repo.materialize import materialized_snapshot
from feature_repo.offline import read_snapshot
from serving.engine import Engine
from serving.newcomers import newcomers_of
from serving.recommend import Ranker
from serving.watching import Watch

__all__ = ["NewItems", "admit_of"]

_LOG = logging.getLogger("backbeat.serving")


def admit_of(home: Home, snapshot_id: str, ranker: Ranker) -> int:
    """Have a version that answers nobody at the moment return the new items of a snapshot; how many there are."""
    if snapshot_id == ranker.package.manifest.snapshot:
        return 0
    found = newcomers_of(home, read_snapshot(home, snapshot_id), ranker.package, ranker.items)
    return 0 if found is None else ranker.admit(found)


class NewItems(Watch):
    """Looks at which snapshot is online, and admits what the versions that serve do not know of it.

    Args:
        database: Says what was materialized.
        home: Holds the snapshots.
        engine: Whose lists the new items come into.
        interval_s: Seconds between looks.
    """

    kind = "newcomers"

    def __init__(self, database: Database, home: Home, engine: Engine, interval_s: float) -> None:
        super().__init__(interval_s)
        self._database = database
        self._home = home
        self._engine = engine

    def follow(self) -> None:
        lineup = self._engine.lineup
        trained = lineup.champion.package.manifest.snapshot
        online = materialized_snapshot(self._database, self._home, trained)
        if online is None:
            return
        self._engine.newest = online
        for shadow in lineup.shadows:
            shadow.admit(online)
        for ranker in lineup.rankers:
            if online in (ranker.newest, ranker.package.manifest.snapshot):
                continue
            found = newcomers_of(self._home, read_snapshot(self._home, online), ranker.package, ranker.items)
            if found is not None:
                count = self._engine.admit(ranker, found)
                _LOG.warning("version %s returns %d new items of snapshot %s", ranker.version, count, online)
            ranker.newest = online
