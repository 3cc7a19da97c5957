"""Who each user is tied to: by acts such as follows and reposts, or by liking the same videos."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.snapshot import Snapshot
from feature_repo.views.builder import BuildContext, Builder
from feature_repo.views.neighbours import NEIGHBOURS, Lists, list_rows, midnights
from feature_repo.views.sequences import Numbers, expand, ranges, sequences
from feature_repo.views.two_hop import shared_lists

if TYPE_CHECKING:
    from feature_repo.views.catalogue import View

__all__ = ["user_network"]

_FAMILY = "user_network_"


def user_network(view: "View", snapshot: Snapshot) -> Builder:
    """Up to 50 neighbours of a user in one network, heaviest first, of equal weights the lower ids first.

    The weight of a neighbour is the sum of the weights of the user's acts towards it; neighbours whose sum is not
    positive are left out. In ``co_like``, where no edges of that name are, it is the number of videos that both like,
    of the last 20 the user liked, by one of the last 20 who liked them.
    """
    network = view.name.removeprefix(_FAMILY)
    needs = tuple(name for name in ("edges", "interactions") if name in snapshot.tables)
    return Builder(needs, partial(_rows, view, network))


def _rows(view: "View", network: str, tables: Mapping[str, pa.Table], context: BuildContext) -> Iterator[pa.Table]:
    if "edges" in tables:
        edges = tables["edges"]
        edges = edges.filter(pc.equal(edges["network"], network))
        if edges.num_rows or "interactions" not in tables:
            return _of_edges(view, edges)
    events = tables["interactions"]
    likes = sequences(events.filter(pc.equal(events["kind"], "like")), "user_id", "video_id")
    return list_rows(view, likes.keys, likes.keys, list(shared_lists(likes, hops=1)))


def _of_edges(view: "View", edges: pa.Table) -> Iterator[pa.Table]:
    edges = edges.filter(pc.not_equal(edges["source_id"], edges["target_id"]))
    acts = sequences(edges, "source_id", "target_id")
    weights = edges["weight"].combine_chunks().to_numpy()[acts.row].astype(np.float64)
    return list_rows(view, acts.keys, acts.items, list(_summed(acts.key, acts.item, midnights(acts.arrivals), weights)))


def _summed(key: Numbers, item: Numbers, midnight: Numbers, weights: npt.NDArray[np.float64]) -> Iterator[Lists]:
    order = np.lexsort((midnight, item, key))
    key, item, midnight = key[order], item[order], midnight[order]
    total = np.r_[0.0, np.cumsum(weights[order])]
    # The sum of each pair as of each midnight that changes it.
    fresh = np.r_[True, (key[1:] != key[:-1]) | (item[1:] != item[:-1])][: len(key)]
    begins = np.flatnonzero(fresh)[np.cumsum(fresh) - 1]
    last = np.flatnonzero(np.r_[fresh[1:] | (midnight[1:] != midnight[:-1]), True][: len(key)])
    sums = (total[last + 1] - total[begins[last]]).astype(np.float32)
    pair, key, item, midnight = begins[last], key[last], item[last], midnight[last]
    rows = np.unique(np.stack([key, midnight], axis=1), axis=0)
    starts = np.searchsorted(key, rows[:, 0])
    lengths = np.searchsorted(key, rows[:, 0], side="right") - starts
    for part in ranges(lengths):
        row, entry = expand(starts[part], lengths[part])
        known = midnight[entry] <= rows[part, 1][row]
        row, entry = row[known], entry[known]
        newest = np.r_[(row[1:] != row[:-1]) | (pair[entry][1:] != pair[entry][:-1]), True][: len(row)]
        newest &= sums[entry] > 0
        row, entry = row[newest], entry[newest]
        order = np.lexsort((item[entry], -sums[entry], row))
        row, entry = row[order], entry[order]
        top = np.arange(len(row)) - np.searchsorted(row, row) < NEIGHBOURS
        row, entry = row[top], entry[top]
        count = len(rows[part])
        yield Lists(rows[part, 0], rows[part, 1], np.bincount(row, minlength=count), item[entry], sums[entry])
