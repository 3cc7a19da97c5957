"""What each user did last: the videos seen, the music heard, the music chosen for own videos."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from contracts.snapshot import Snapshot
from feature_repo.views.builder import BuildContext, Builder, chunk_of
from feature_repo.views.sequences import Sequences, change_points, codes, expand, lists, ranges, sequences

if TYPE_CHECKING:
    from feature_repo.views.catalogue import View

__all__ = ["HISTORY_LENGTH", "history_rows", "user_adopted_music", "user_history", "user_listens"]

HISTORY_LENGTH = 50
"""Events kept of a user's history."""


def user_history(view: "View", snapshot: Snapshot) -> Builder:
    """The videos of a user's last 50 events of any kind, oldest first."""
    return Builder(
        ("interactions",), partial(_of_events, view, "interactions", "video_id"), {"interactions": "user_id"}
    )


def user_listens(view: "View", snapshot: Snapshot) -> Builder:
    """The music of a user's last 50 listening events of any kind, oldest first."""
    return Builder(("listens",), partial(_of_events, view, "listens", "music_id"), {"listens": "user_id"})


def user_adopted_music(view: "View", snapshot: Snapshot) -> Builder:
    """The music of the last 50 videos with music that a user published, oldest first."""
    return Builder(("videos",), partial(_of_videos, view), {"videos": "author_id"})


def _of_events(
    view: "View", table: str, item: str, tables: Mapping[str, pa.Table], context: BuildContext
) -> Iterator[pa.Table]:
    return history_rows(view, sequences(tables[table], "user_id", item), context.newest)


def _of_videos(view: "View", tables: Mapping[str, pa.Table], context: BuildContext) -> Iterator[pa.Table]:
    videos = tables["videos"]
    videos = videos.filter(videos["music_id"].is_valid())
    published = sequences(videos, "author_id", "video_id", once=True)
    music = codes(videos["music_id"])
    yield from history_rows(view, replace(published, items=music.ids, item=music.rows[published.row]), context.newest)


def history_rows(view: "View", events: Sequences, newest: bool = False) -> Iterator[pa.Table]:
    """The last 50 events of each key as of each instant at which they changed.

    An event counts from its arrival on, at its place in the order of event times: one that arrives late and is older
    than the last 50 changes nothing.

    Args:
        view: Whose two features are the items and their event times.
        events: Of all keys.
        newest: Whether only the newest row of each key is of interest.

    Yields:
        One row per key and instant: lists of items, oldest first, and their event times in microseconds.
    """
    item_feature, time_feature = view.features
    order, last = change_points(events.key, events.arrivals, newest)
    rows = order[last]
    keys, moments = events.key[rows], events.arrivals[rows]
    starts = np.searchsorted(events.key, keys)
    # The furthest event that has arrived; as keys follow each other, the running maximum never reaches back.
    ends = np.maximum.accumulate(order)[last] + 1
    arrived = last + 1 - starts
    pending = ends - starts - arrived  # before the furthest, and not yet known
    lengths = np.minimum(ends - starts, HISTORY_LENGTH + pending)
    for part in ranges(lengths):
        row, entry = expand(ends[part] - lengths[part], lengths[part])
        known = events.arrivals[entry] <= moments[part][row]
        row, entry = row[known], entry[known]
        count = len(moments[part])
        last_entry = np.searchsorted(row, np.arange(count), side="right")
        among = last_entry[row] - np.arange(len(row)) <= HISTORY_LENGTH
        row, entry = row[among], entry[among]
        # A list changes when an event comes into it, so it is as old as what came last.
        since = np.maximum.reduceat(events.arrivals[entry], np.searchsorted(row, np.arange(count)))
        changed = (since == moments[part]) | newest
        kept = changed[row]
        row, entry = (np.cumsum(changed) - 1)[row[kept]], entry[kept]
        columns = {
            item_feature: lists(int(changed.sum()), row, events.items.take(pa.array(events.item[entry]))),
            time_feature: lists(int(changed.sum()), row, pa.array(events.times[entry])),
        }
        yield chunk_of(view, events.keys.take(pa.array(keys[part][changed])), since[changed], **columns)
