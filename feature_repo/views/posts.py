"""What a user's posts are like: over all time, and of the last day, for one modality and encoder (AMAE, section III-D).

A post counts from the instant at which the post and its vector were both known. A post without a vector of the modality
does not count. Rows that repeat a post's id change nothing: a post is what first arrived under its id. A vector that is
encoded again takes the place of the one before, from its own arrival on.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX
from feature_repo.views.builder import CHUNK_ROWS, BuildContext, Builder, chunk_of
from feature_repo.views.moments import CONTEXT_WINDOW
from feature_repo.views.sequences import Numbers, arrivals_of, change_points, codes, expand, instants

if TYPE_CHECKING:
    from feature_repo.views.catalogue import View

__all__ = ["user_posts", "user_social"]

_BLOCK_BYTES = 32 << 20
"""Vectors held at once, beside the tables themselves."""

_NEVER = np.iinfo(np.int64).max


def user_social(view: "View", snapshot: Snapshot) -> Builder:
    """Mean vector of all posts of a user that are known, and their number, as of each instant at which it changed."""
    return _builder(view, snapshot, _social_rows)


def user_posts(view: "View", snapshot: Snapshot) -> Builder:
    """Event times and vectors of the posts of the 24 hours before each arrival of a post, oldest first.

    There is no row where a post arrives more than 24 hours late: it is in no window that ends from then on.
    """
    return _builder(view, snapshot, _recent_rows)


def _builder(view: "View", snapshot: Snapshot, rows: Callable[..., Iterator[pa.Table]]) -> Builder:
    table = EMBEDDING_PREFIX + next(name for name, spec in snapshot.embeddings.items() if spec == view.spec)
    return Builder(("posts", table), partial(rows, view, table), {"posts": "user_id", table: "post_id"})


@dataclass(frozen=True)
class _Posts:
    """Vectors of posts in order of user, event time and post, ``[P]``; several where a post was encoded again."""

    users: pa.Array
    """Distinct users in order."""
    user: Numbers
    times: Numbers
    """When the post happened, microseconds since 1970-01-01 UTC."""
    since: Numbers
    """From when on the vector counts."""
    until: Numbers
    """From when on another one does instead."""
    row: Numbers
    """Row of the vector in the table of embeddings."""
    before: Numbers
    """Row of the vector that it takes the place of, or -1."""


def _posts(tables: Mapping[str, pa.Table], embeddings: str) -> _Posts:
    posts, vectors = tables["posts"], tables[embeddings]
    post = codes(posts["post_id"])
    arrivals = arrivals_of(posts)
    order = np.lexsort((np.arange(len(posts)), instants(posts["event_time"]), arrivals, post.rows))
    first = order[np.r_[True, np.diff(post.rows[order]) != 0][: len(order)]]  # row of each distinct post

    of = pc.index_in(vectors["post_id"], value_set=post.ids)
    row = np.flatnonzero(np.asarray(of.is_valid()))
    number = np.asarray(of.drop_null()).astype(np.int64)
    stated, known = instants(vectors["event_time"])[row], arrivals_of(vectors)[row]
    since = np.maximum(known, arrivals[first][number])
    # Versions of one post by arrival; one that states an earlier instant than a version before it is out of date.
    order = np.lexsort((row, known, stated, since, number))
    rank = np.empty(len(order), np.int64)
    rank[np.lexsort((np.arange(len(order)), stated[order], number[order]))] = np.arange(len(order))
    last_of_instant = np.r_[(np.diff(number[order]) != 0) | (np.diff(since[order]) != 0), True][: len(order)]
    order = order[(np.maximum.accumulate(rank) == rank) & last_of_instant]
    row, number, since = row[order], number[order], since[order]
    again = np.r_[False, np.diff(number) == 0][: len(number)]
    before = np.where(again, np.roll(row, 1), -1)
    until = np.where(np.roll(again, -1), np.roll(since, -1), _NEVER)

    user = codes(posts["user_id"])
    owner, times = user.rows[first][number], instants(posts["event_time"])[first][number]
    order = np.lexsort((since, number, times, owner))
    return _Posts(user.ids, owner[order], times[order], since[order], until[order], row[order], before[order])


def _social_rows(
    view: "View", embeddings: str, tables: Mapping[str, pa.Table], context: BuildContext
) -> Iterator[pa.Table]:
    spec = _spec(view)
    posts, vectors = _posts(tables, embeddings), _Vectors(tables[embeddings], embeddings, spec.width)
    order, last = change_points(posts.user, posts.since)
    user, row, before = posts.user[order], posts.row[order], posts.before[order]
    instant = posts.since[order]
    start = np.r_[True, np.diff(user) != 0][: len(user)]
    new = np.cumsum(before < 0)
    count = new - np.repeat(new[start] - 1, np.diff(np.r_[np.flatnonzero(start), len(user)]))
    is_last = np.zeros(len(user), bool)
    is_last[_wanted(last, user[last], context)] = True
    carry, carried = np.zeros(spec.width), -1
    for part in _parts(np.ones(len(user), np.int64), 2 * spec.width):
        sums = vectors.of(row[part]).astype(np.float64)
        again = np.flatnonzero(before[part] >= 0)
        sums[again] -= vectors.of(before[part][again])
        if user[part][0] == carried:
            sums[0] += carry
        _accumulate(sums, start[part])
        carry, carried = sums[-1].copy(), int(user[part][-1])
        rows = np.flatnonzero(is_last[part])
        means = (sums[rows] / count[part][rows, None]).astype(np.float32)
        yield chunk_of(
            view,
            posts.users.take(pa.array(user[part][rows])),
            instant[part][rows],
            vector=_lists(np.full(len(rows), spec.width), means),
            posts=pa.array(count[part][rows]),
        )


def _accumulate(sums: npt.NDArray[np.float64], start: npt.NDArray[np.bool_]) -> None:
    """Running sums within each run of rows, in place. The order of additions does not depend on other runs."""
    begins = np.flatnonzero(np.r_[True, start[1:]])
    position = np.arange(len(sums)) - np.repeat(begins, np.diff(np.r_[begins, len(sums)]))
    order = np.argsort(position, kind="stable")
    bounds = np.searchsorted(position[order], np.arange(1, position.max() + 2))
    for first, stop in itertools.pairwise(bounds):
        rows = order[first:stop]
        sums[rows] += sums[rows - 1]


def _recent_rows(
    view: "View", embeddings: str, tables: Mapping[str, pa.Table], context: BuildContext
) -> Iterator[pa.Table]:
    spec = _spec(view)
    posts, vectors = _posts(tables, embeddings), _Vectors(tables[embeddings], embeddings, spec.width)
    in_time = np.flatnonzero(posts.times > posts.since - CONTEXT_WINDOW)
    order, last = change_points(posts.user[in_time], posts.since[in_time])
    changes = _wanted(in_time[order[last]], posts.user[in_time[order[last]]], context)
    user, instant = posts.user[changes], posts.since[changes]
    # A user and an instant as one number, so that windows are found by one search.
    distinct = np.unique(np.concatenate([posts.times, instant, instant - CONTEXT_WINDOW]))
    places = posts.user * len(distinct) + np.searchsorted(distinct, posts.times)
    here, day_ago = (
        user * len(distinct) + np.searchsorted(distinct, moment) for moment in (instant, instant - CONTEXT_WINDOW)
    )
    firsts, stops = np.searchsorted(places, day_ago, side="right"), np.searchsorted(places, here, side="right")
    for part in _parts(stops - firsts, spec.width):
        row, entry = expand(firsts[part], (stops - firsts)[part])
        now = instant[part][row]
        known = (posts.since[entry] <= now) & (now < posts.until[entry])
        row, entry = row[known], entry[known]
        lengths = np.bincount(row, minlength=len(instant[part]))
        bounds = pa.array(np.r_[0, np.cumsum(lengths)], pa.int32())
        yield chunk_of(
            view,
            posts.users.take(pa.array(user[part])),
            instant[part],
            times=pa.ListArray.from_arrays(bounds, pa.array(posts.times[entry])),
            vectors=_lists(lengths * spec.width, vectors.of(posts.row[entry])),
        )


def _wanted(changes: Numbers, user: Numbers, context: BuildContext) -> Numbers:
    """All changes, or the last one of each user where no more is asked for."""
    return changes[np.r_[np.diff(user) != 0, True][: len(changes)]] if context.newest else changes


def _spec(view: "View") -> EmbeddingSpec:
    assert view.spec is not None, "the catalogue gives these views a spec"
    return view.spec


class _Vectors:
    """Rows of a table of embeddings as matrices, without a copy of the table."""

    def __init__(self, table: pa.Table, name: str, width: int) -> None:
        self._width = width
        self._parts: list[npt.NDArray[np.float32]] = []
        for chunk in table["vector"].chunks:
            bounds = pc.min_max(pc.list_value_length(chunk)).as_py()
            values = chunk.flatten()
            if chunk.null_count or values.null_count or any(bound not in (None, width) for bound in bounds.values()):
                raise BadInput(
                    f"table {name!r}",
                    found=f"vectors of {bounds['min']} to {bounds['max']} components, with nulls"
                    if chunk.null_count or values.null_count
                    else f"vectors of {bounds['min']} to {bounds['max']} components",
                    expected=f"{width} components in each, as its spec says",
                    next_step="encode again, and ingest the result",
                )
            self._parts.append(values.to_numpy().reshape(-1, width))
        self._starts = np.cumsum([0, *map(len, self._parts)])

    def of(self, rows: Numbers) -> npt.NDArray[np.float32]:
        """``[n, width]`` of the rows."""
        matrix = np.empty((len(rows), self._width), np.float32)
        part = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(part):
            here = part == number
            matrix[here] = self._parts[number][rows[here] - self._starts[number]]
        return matrix


def _parts(vectors: Numbers, width: int) -> Iterator[slice]:
    """Cut rows into chunks whose vectors, so many in each row, fit into a block."""
    ends = np.cumsum(vectors)
    room = _BLOCK_BYTES // (4 * width)
    start = 0
    while start < len(vectors):
        before = ends[start] - vectors[start]
        stop = int(np.searchsorted(ends, before + room, side="right"))
        stop = min(max(stop, start + 1), start + CHUNK_ROWS)
        yield slice(start, stop)
        start = stop


def _lists(lengths: Numbers, matrix: npt.NDArray[np.float32]) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.r_[0, np.cumsum(lengths)], pa.int32()), pa.array(matrix.reshape(-1)))
