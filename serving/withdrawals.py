"""Has a running engine leave out what is withdrawn, and return what is admitted again."""

import logging
from collections.abc import Hashable

from contracts.database import Database
from contracts.withdrawals import kind_of_surface, withdrawals, withdrawals_as_of
from serving.engine import Engine
from serving.watching import Watch

__all__ = ["WithdrawnItems"]

_LOG = logging.getLogger("backbeat.serving")


class WithdrawnItems(Watch):
    """Looks at what the platform's tables say is withdrawn.

    Args:
        database: The tables.
        engine: Whose lists it leaves.
        interval_s: Seconds between looks.
    """

    kind = "withdrawals"

    def __init__(self, database: Database, engine: Engine, interval_s: float) -> None:
        super().__init__(interval_s)
        self._database = database
        self._engine = engine
        self._items = kind_of_surface(engine.surface)
        self._seen: Hashable = None

    def follow(self) -> None:
        now = withdrawals_as_of(self._database, self._items)
        if now == self._seen:
            return
        ids = [each.item_id for each in withdrawals(self._database, self._items)]
        known = self._engine.leave_out(ids)
        if ids or self._seen is not None:
            _LOG.warning("%d items are withdrawn, of which the champion knows %d", len(ids), known)
        self._seen = now
