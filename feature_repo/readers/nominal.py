"""Times of data that are published with a split, or to be split at random, but without any times.

Training events fall on 2000-01-01, validation events on the day after, test events on the day after that, so that a
split is two instants here too.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from contracts.snapshot import SplitInstants
from feature_repo.raw_tables import Microseconds, microseconds

__all__ = ["NOMINAL_SPLIT", "NOMINAL_START", "day_of_part", "seconds_of_day"]

NOMINAL_START = datetime(2000, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_DAY_US = _DAY // timedelta(microseconds=1)

NOMINAL_SPLIT = SplitInstants(train_until=NOMINAL_START + _DAY, validation_until=NOMINAL_START + 2 * _DAY, nominal=True)


def day_of_part(part: int) -> int:
    """Microseconds since 1970 at which a part's day begins: 0 is training, 1 validation, 2 test, -1 the day before."""
    return microseconds(NOMINAL_START) + part * _DAY_US


def seconds_of_day(users: npt.NDArray[np.integer]) -> Microseconds:
    """Microseconds into the day of each event, ``[E]``: a user's events in their order, all within the day."""
    if len(users) == 0:
        return np.empty(0, np.int64)
    order = np.argsort(users, kind="stable")
    ordered = users[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(ordered)])
    position = np.empty(len(users), np.int64)
    position[order] = np.arange(len(users)) - np.repeat(starts, lengths)
    return position * min(1_000_000, _DAY_US // int(lengths.max()))
