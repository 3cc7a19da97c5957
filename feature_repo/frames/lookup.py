"""Features of a snapshot at moments, for entities by id."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.clock import to_utc
from contracts.home import Home
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.tables import TIMESTAMP
from feature_repo.historical import historical_features
from feature_repo.offline import read_table
from feature_repo.raw_tables import microseconds
from feature_repo.views.moments import MOMENT

__all__ = ["Lookup"]


@dataclass(frozen=True)
class Lookup:
    """Asks Feast's point-in-time join for one snapshot."""

    settings: Settings
    home: Home
    snapshot: Snapshot

    def at(self, key: str, ids: pa.Array, moments: int | npt.NDArray[np.int64], references: list[str]) -> pa.Table:
        """What was known of entities.

        Args:
            key: Column of their ids.
            ids: ``[n]``
            moments: Microseconds since 1970-01-01 UTC, one for all or ``[n]``; what came in then counts.
            references: As :func:`feature_repo.historical.historical_features` takes them.
        """
        given = np.broadcast_to(np.asarray(moments, np.int64), len(ids))
        rows = pa.table({key: ids, MOMENT: pa.array(given, pa.int64()).cast(TIMESTAMP)})
        return historical_features(self.settings, self.home, references, rows, self.snapshot)

    @property
    def before_cut(self) -> int:
        """The last microsecond of training."""
        return microseconds(self.snapshot.split.train_until) - 1

    def last_known(self) -> int:
        """When the last row of the snapshot became known."""
        return microseconds(self._last_row())

    def _last_row(self) -> datetime:
        tables = (read_table(self.home, self.snapshot, name, ["ingested_at"]) for name in self.snapshot.tables)
        newest = (pc.max(table["ingested_at"]) for table in tables)
        return to_utc(max(moment.as_py() for moment in newest if moment.is_valid))
