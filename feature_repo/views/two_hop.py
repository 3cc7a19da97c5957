"""Videos two hops away: watched by users who share a video with the user."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from contracts.snapshot import Snapshot
from feature_repo.views.builder import BuildContext, Builder
from feature_repo.views.neighbours import Lists, Recent, heaviest, list_rows, midnights
from feature_repo.views.sequences import Numbers, Sequences, expand, sequences

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from feature_repo.views.catalogue import View

__all__ = ["shared_lists", "user_two_hop"]

_USERS = 2048
"""Users whose lists are computed at once."""


def user_two_hop(view: "View", snapshot: Snapshot) -> Builder:
    """Up to 50 videos that users sharing a video with the user watched and the user did not, most shared first.

    The weight of a video is the number of paths user - video - other user - video to it, over the last 20 videos of
    either user and the last 20 viewers of the video between them. Events of any kind count as watching.
    """
    return Builder(("interactions",), partial(_rows, view))


def _rows(view: "View", tables: Mapping[str, pa.Table], context: BuildContext) -> Iterator[pa.Table]:
    events = sequences(tables["interactions"], "user_id", "video_id")
    yield from list_rows(view, events.keys, events.items, list(shared_lists(events, hops=2)))


def shared_lists(events: Sequences, hops: int) -> Iterator[Lists]:
    """Who or what is nearest to each user who did something, midnight by midnight.

    Args:
        events: Users (keys) and videos (items).
        hops: 1 for the users who share videos with the user, weighted by how many; 2 for the videos that those have
            and the user has not.

    Yields:
        The lists of at most 2,048 users as of one midnight.
    """
    if not len(events.key):
        return
    midnight = midnights(events.arrivals)
    by_day = np.argsort(midnight, kind="stable")
    days, firsts = np.unique(midnight[by_day], return_index=True)
    # Pairs of user and video, each from the midnight on that first knows it.
    order = np.lexsort((midnight, events.item, events.key))
    key, item = events.key[order], events.item[order]
    fresh = np.r_[True, (key[1:] != key[:-1]) | (item[1:] != item[:-1])][: len(key)]
    key, item, known_from = key[fresh], item[fresh], midnight[order][fresh]
    of_user, of_video = Recent(len(events.keys)), Recent(len(events.items))
    for day, first, last in zip(days.tolist(), firsts, [*firsts[1:], len(by_day)], strict=True):
        new = by_day[first:last]
        of_user.learn(events.key[new], events.item[new], events.times[new])
        of_video.learn(events.item[new], events.key[new], events.times[new])
        active = np.unique(events.key[new])
        for start in range(0, len(active), _USERS):
            users = active[start : start + _USERS]
            shape = (len(events.keys), len(events.items))
            scores, itself = _shared(of_user, of_video, users, shape), users
            row = np.arange(len(users))
            if hops == 2:
                scores = _onwards(scores, of_user, shape[1])
                row, entry = expand(np.searchsorted(key, users), np.bincount(key, minlength=shape[0])[users])
                known = known_from[entry] <= day
                row, itself = row[known], item[entry[known]]
            lengths, column, weight = heaviest(_without(scores, row, itself))
            yield Lists(users, np.full(len(users), day), lengths, column, weight)


def _shared(of_user: Recent, of_video: Recent, users: Numbers, shape: tuple[int, int]) -> "csr_matrix":
    """Number of videos that each of ``users`` shares with every user, ``[len(users), U]``."""
    return _onwards(of_user.matrix(users, shape[1]), of_video, shape[0])


def _onwards(scores: "csr_matrix", recent: Recent, width: int) -> "csr_matrix":
    """One step further: ``[R, K]`` times the items of the K keys, of which only those that occur are looked up."""
    from scipy.sparse import csr_matrix

    occurs = np.zeros(scores.shape[1], bool)
    occurs[scores.indices] = True
    keys, number = np.flatnonzero(occurs), np.cumsum(occurs, dtype=np.int32) - 1
    compact = csr_matrix((scores.data, number[scores.indices], scores.indptr), shape=(scores.shape[0], len(keys)))
    return compact @ recent.matrix(keys, width)


def _without(scores: "csr_matrix", row: Numbers, column: Numbers) -> "csr_matrix":
    """The scores, those at the given places not positive."""
    from scipy.sparse import csr_matrix

    far = np.full(len(row), -(2**20), np.int32)  # no score is above 20 * 20 * 20
    return scores + csr_matrix((far, (row, column)), shape=scores.shape)
