"""How often each video was viewed and liked, in all and by the hour."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.snapshot import Snapshot
from feature_repo.views.builder import BuildContext, Builder, chunk_of
from feature_repo.views.sequences import change_points, expand, lists, ranges, sequences

if TYPE_CHECKING:
    from feature_repo.views.catalogue import View

__all__ = ["HOUR_US", "WINDOW_HOURS", "video_popularity"]

HOUR_US = 3_600_000_000
WINDOW_HOURS = 168
"""Clock hours kept: that of the row's instant and those before it."""


def video_popularity(view: "View", snapshot: Snapshot) -> Builder:
    """Views and likes so far, and those of each clock hour of the last week that had any."""
    return Builder(("interactions",), partial(_rows, view), {"interactions": "video_id"})


def _rows(view: "View", tables: Mapping[str, pa.Table], context: BuildContext) -> Iterator[pa.Table]:
    table = tables["interactions"]
    counted = pc.is_in(table["kind"], value_set=pa.array(["view", "like"]))
    events = sequences(table.filter(counted), "video_id", "user_id")
    if not len(events.key):
        return
    liked = (events.kinds.to_numpy(zero_copy_only=False) == "like")[events.kind]

    order, last = change_points(events.key, events.arrivals, context.newest)
    keys, moments = events.key[order[last]], events.arrivals[order[last]]
    starts = np.searchsorted(events.key, keys)
    so_far = np.r_[0, np.cumsum(liked[order])]
    likes = so_far[last + 1] - so_far[starts]
    views = last + 1 - starts - likes

    # Buckets: runs of one video and clock hour, within them by arrival.
    hours = events.times // HOUR_US
    by_bucket = np.lexsort((events.arrivals, hours, events.key))
    key, hour, arrival = events.key[by_bucket], hours[by_bucket], events.arrivals[by_bucket]
    opens = np.flatnonzero(np.r_[True, (key[1:] != key[:-1]) | (hour[1:] != hour[:-1])])
    closes = np.r_[opens[1:], len(key)]
    bucket_likes = np.r_[0, np.cumsum(liked[by_bucket])]

    # One number for video and hour, so that a search finds the first and last bucket of a row's window.
    base, row_hours = hours.min() - WINDOW_HOURS, moments // HOUR_US
    span = row_hours.max() - base + 1
    place = key[opens] * span + hour[opens] - base
    low = np.searchsorted(place, keys * span + row_hours - WINDOW_HOURS - base, side="right")
    high = np.searchsorted(place, keys * span + row_hours - base, side="right")
    # Likewise one for bucket and arrival, for buckets of which not all is known yet.
    distinct, rank = np.unique(arrival, return_inverse=True)
    within = np.repeat(np.arange(len(opens)), closes - opens) * len(distinct) + rank
    row_rank = np.searchsorted(distinct, moments)

    for part in ranges(high - low):
        row, bucket = expand(low[part], (high - low)[part])
        known = closes[bucket].copy()
        open_ones = np.flatnonzero(arrival[known - 1] > moments[part][row])
        sought = bucket[open_ones] * len(distinct) + row_rank[part][row[open_ones]]
        known[open_ones] = np.searchsorted(within, sought, side="right")
        some = known > opens[bucket]
        row, bucket, known = row[some], bucket[some], known[some]
        hour_likes = bucket_likes[known] - bucket_likes[opens[bucket]]
        count = len(moments[part])
        yield chunk_of(
            view,
            events.keys.take(pa.array(keys[part])),
            moments[part],
            views=pa.array(views[part]),
            likes=pa.array(likes[part]),
            hours=lists(count, row, pa.array(hour[opens[bucket]] * HOUR_US)),
            hour_views=lists(count, row, pa.array(known - opens[bucket] - hour_likes)),
            hour_likes=lists(count, row, pa.array(hour_likes)),
        )
