"""Features that depend on the moment they are asked for: posts of the last day, and what a video was watched lately.

Their state is in batch views, of which a point-in-time join or the online store gives the row known at the moment. What
is left to do is a pure function of that state and the moment, and there is one function for all: offline, online and
Feast's on-demand views call the same code.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.embeddings import EmbeddingSpec
from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import ENTITY_KEYS
from feature_repo.views.catalogue import FAMILIES, spec_suffix, views_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CONTEXT_WINDOW",
    "MOMENT",
    "MOMENT_FAMILIES",
    "TREND_HOURS",
    "MomentFamily",
    "MomentView",
    "moment_views_of",
    "on_demand",
    "user_context",
    "video_trend",
]

MOMENT = "moment"
"""Column of a request that says when, in microseconds since 1970-01-01 UTC."""

_HOUR = 3_600_000_000
CONTEXT_WINDOW = 24 * _HOUR
"""Microseconds before the moment in which a post is context."""

TREND_HOURS = (1, 24, 168)
"""Widths of the windows of :func:`video_trend`."""

_BLOCK_BYTES = 64 << 20

State = Mapping[str, pa.Array]
"""Feature of the state → its column, one row for each row asked for, null where nothing was known."""

Instants = npt.NDArray[np.int64]


def user_context(state: State, moment: Instants) -> dict[str, pa.Array]:
    """Mean of what a user posted in the 24 hours before the moment (AMAE, section III-D).

    Args:
        state: ``times`` and ``vectors`` of the newest row of ``user_posts`` (``[p]`` microseconds and ``[p x width]``
            floats in each row), ``vector`` of ``user_social``.
        moment: Microseconds since 1970-01-01 UTC, ``[n]``.

    Returns:
        ``vector``: mean over the posts that happened in (moment - 24 h, moment], or the user's global mean where there
        is none; null for a user of whom no post is known. ``posts``: how many there were; 0 where the global mean
        stands in, null where ``vector`` is.
    """
    social, rows = _flat(state["vector"]), len(moment)
    lengths = _lengths(state["times"])
    times, vectors = _flat(state["times"]), _flat(state["vectors"])
    known = np.asarray(state["vector"].is_valid())
    width = len(vectors) // len(times) if len(times) else len(social) // max(int(known.sum()), 1)
    row_of = np.repeat(np.arange(rows), lengths)
    since = moment[row_of]
    inside = np.flatnonzero((times > since - CONTEXT_WINDOW) & (times <= since))
    counts = np.bincount(row_of[inside], minlength=rows)
    means = np.zeros((rows, width), np.float32)
    means[known] = social.reshape(-1, width) if width else 0
    matrix = vectors.reshape(-1, width) if width else np.zeros((0, 0), np.float32)
    recent = np.flatnonzero(counts)
    starts = np.r_[0, np.cumsum(counts[recent])]
    for first, last in _blocks(starts, width):
        entries = inside[starts[first] : starts[last]]
        sums = np.add.reduceat(matrix[entries].astype(np.float64), starts[first:last] - starts[first], axis=0)
        means[recent[first:last]] = sums / counts[recent[first:last], None]
    present = known | (counts > 0)
    offsets = np.r_[0, np.cumsum(np.where(present, width, 0))]
    values = means[present] if not present.all() else means
    return {
        "vector": pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), pa.array(values.reshape(-1)), mask=pa.array(~present)
        ),
        "posts": pa.array(counts, pa.int64(), mask=~present),
    }


def video_trend(state: State, moment: Instants) -> dict[str, pa.Array]:
    """How often a video was viewed and liked lately, by the clock hour, and how old it is.

    Args:
        state: ``hours``, ``hour_views`` and ``hour_likes`` of the newest row of ``video_popularity``,
            ``published_at`` of ``video_profile``.
        moment: Microseconds since 1970-01-01 UTC, ``[n]``.

    Returns:
        ``views_<w>h`` and ``likes_<w>h`` for windows of 1, 24 and 168 hours: events of the clock hours that begin in
        (h - w hours, h], where h is the beginning of the moment's hour; null for a video of which nothing is known.
        ``age_hours`` since publication; null where that is not known.
    """
    rows = len(moment)
    published = state["published_at"]
    unknown = np.asarray(state["hours"].is_null()) & np.asarray(published.is_null())
    row_of = np.repeat(np.arange(rows), _lengths(state["hours"]))
    hours = _flat(state["hours"])
    here = (moment // _HOUR * _HOUR)[row_of]
    answer = {}
    for kind in ("views", "likes"):
        events = _flat(state[f"hour_{kind}"])
        for width in TREND_HOURS:
            inside = (hours > here - width * _HOUR) & (hours <= here)
            sums = np.bincount(row_of[inside], weights=events[inside], minlength=rows).astype(np.int64)
            answer[f"{kind}_{width}h"] = pa.array(sums, mask=unknown)
    age = (moment - np.asarray(published.fill_null(0))) / _HOUR
    answer["age_hours"] = pa.array(age.astype(np.float32), mask=np.asarray(published.is_null()))
    return answer


@dataclass(frozen=True)
class MomentFamily:
    """A kind of view that is computed at the moment asked for."""

    entity: str
    features: Mapping[str, str]
    """Feature → Arrow type, as in :class:`feature_repo.views.catalogue.Family`."""
    state: Mapping[str, str]
    """Feature of the state → the family of the batch view it is a feature of."""
    value: Callable[[State, Instants], dict[str, pa.Array]]


MOMENT_FAMILIES = {
    "user_context": MomentFamily(
        "user",
        {"vector": "list<float32>", "posts": "int64"},
        {"times": "user_posts", "vectors": "user_posts", "vector": "user_social"},
        user_context,
    ),
    "video_trend": MomentFamily(
        "video",
        {f"{kind}_{width}h": "int64" for kind in ("views", "likes") for width in TREND_HOURS}
        | {"age_hours": "float32"},
        {
            "hours": "video_popularity",
            "hour_views": "video_popularity",
            "hour_likes": "video_popularity",
            "published_at": "video_profile",
        },
        video_trend,
    ),
}
"""Family → what it is computed from, and how."""


@dataclass(frozen=True)
class MomentView:
    """A view of one snapshot that is computed at the moment asked for."""

    name: str
    family: str
    spec: EmbeddingSpec | None = None
    """What made the vectors it is a mean of."""

    @property
    def entity(self) -> str:
        """Whose feature it is."""
        return MOMENT_FAMILIES[self.family].entity

    @property
    def key(self) -> str:
        """The column that names the entity."""
        return ENTITY_KEYS[self.entity]

    @property
    def features(self) -> Mapping[str, str]:
        """Feature → Arrow type."""
        return MOMENT_FAMILIES[self.family].features

    @property
    def state(self) -> dict[str, str]:
        """Feature of the state → the batch view it is a feature of."""
        suffix = self.name.removeprefix(self.family)
        return {feature: f"{family}{suffix}" for feature, family in MOMENT_FAMILIES[self.family].state.items()}

    def value(self, state: State, moment: Instants) -> dict[str, pa.Array]:
        """The features at the moments, from the state known then."""
        return MOMENT_FAMILIES[self.family].value(state, moment)


def moment_views_of(home: Home, snapshot: Snapshot) -> dict[str, MomentView]:
    """Every view of a snapshot that is computed at the moment asked for, by name."""
    views = views_of(home, snapshot)
    found = [
        MomentView(f"user_context_{spec_suffix(view.spec)}", "user_context", view.spec)
        for view in views.values()
        if view.family == "user_posts" and view.spec is not None
    ]
    if "video_popularity" in views and "video_profile" in views:
        found.append(MomentView("video_trend", "video_trend"))
    return {view.name: view for view in found}


def on_demand(name: str, family: str, frame: "pd.DataFrame") -> "pd.DataFrame":
    """The same, as Feast's on-demand views want it.

    Args:
        name: Of the view.
        family: Its family.
        frame: ``moment`` and ``<view>__<feature>`` of its state, one row for each row asked for.

    Returns:
        Its features as ``<feature>``. One that has the name of a feature of its sources is there as
        ``<name>__<feature>`` too: of those Feast drops the short name; of others it makes the long name itself. So the
        former can be had with ``full_feature_names=True`` only, as vectors of several views can in any case.
    """
    import pandas as pd

    view = MomentView(name, family)
    state = {}
    for feature, source in view.state.items():
        kind = _LIST_TYPES.get(feature, pa.list_(pa.int64()))
        values = [None if _absent(value) else value for value in frame[f"{source}__{feature}"]]
        state[feature] = pa.array(values, kind)
    sources = MOMENT_FAMILIES[family].state.values()
    taken = {feature for source in sources for feature in FAMILIES[source].features}
    columns: dict[str, Any] = {}
    for feature, column in view.value(state, frame[MOMENT].to_numpy(np.int64)).items():
        values = column.to_pylist()
        kind = _PANDAS_TYPES.get(view.features[feature], object)
        columns[feature] = pd.Series(values, dtype=kind, index=frame.index)
        if feature in taken:
            columns[f"{name}__{feature}"] = columns[feature]
    return pd.DataFrame(columns)


_LIST_TYPES = {
    "vector": pa.list_(pa.float32()),
    "vectors": pa.list_(pa.float32()),
    "published_at": pa.int64(),
}
_PANDAS_TYPES = {"int64": "Int64", "float32": "Float32"}


def _absent(value: Any) -> bool:
    """Whether a cell of a frame is a null, in any of pandas' spellings."""
    return value is None or (np.isscalar(value) and value != value)


def _flat(lists: pa.Array) -> npt.NDArray[Any]:
    """Values of all lists one after the other, those of nulls left out."""
    return np.asarray(lists.flatten().to_numpy(zero_copy_only=False))


def _lengths(lists: pa.Array) -> npt.NDArray[np.int64]:
    return np.asarray(pc.list_value_length(lists).fill_null(0)).astype(np.int64)


def _blocks(starts: npt.NDArray[np.int64], width: int) -> list[tuple[int, int]]:
    """Cut rows of ``starts[i + 1] - starts[i]`` vectors into runs whose vectors fit into a block of memory."""
    room = max(_BLOCK_BYTES // (8 * max(width, 1)), 1)
    bounds = [0]
    while bounds[-1] < len(starts) - 1:
        last = int(np.searchsorted(starts, starts[bounds[-1]] + room, side="right")) - 1
        bounds.append(max(last, bounds[-1] + 1))
    return list(itertools.pairwise(bounds))
