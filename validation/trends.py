"""Batch statistics for people: now, in the last accepted snapshot, and how they went over the accepted ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Trend", "trends"]

_WORDS = {
    "rows": "rows",
    "coverage": "items that have a vector",
    "recent_coverage": "newest items that have a vector",
    "freshness_lag_hours": "newest vector behind the newest item, hours",
    "zero_share": "vectors that are all zero",
    "constant_share": "vectors whose components are all equal",
    "repeated_share": "vectors that repeat another item's",
    "near_duplicate_share": "vectors that nearly repeat another item's",
    "clipped_share": "vectors cut off at the largest value",
    "dead_dimensions": "dimensions that are the same for all items",
    "effective_rank": "directions in use (effective rank)",
    "top_eigenvalue_share": "variance in the strongest direction",
    "norm_median": "length of a vector, median",
    "norm_spread": "length of a vector, spread",
    "norm_outlier_share": "vectors far longer or shorter than the others",
    "hub_share": "items that have one and the same item among their 10 nearest",
    "hub_concentration": "places among nearest neighbours that the most frequent 1 % of the items hold",
    "hubness_skewness": "how uneven it is who is a nearest neighbour (skewness)",
    "common": "items that the accepted snapshot has too",
    "changed_share": "of these, items with another vector",
    "moved_share": "of these, items with another item's former vector",
    "neighbour_overlap": "nearest neighbours that are the same",
    "shift": "shift of the mean, standard deviations",
    "weight_mean": "weight of an event, mean",
    "clusters": "clusters",
    "largest_share": "items in the largest cluster",
    "empty_share": "clusters without an item",
    "distance_median": "distance to the centre of the cluster, median",
}
"""In the order in which people should read them."""
_PREFIXES = {
    "share_": "rows of kind {}",
    "distinct_": "different values of {}",
    "margin_": "how much better an item's own {} fits than another's (correlation)",
}
_WIDE, _HIGH, _EDGE = 120, 26, 4


@dataclass(frozen=True)
class Trend:
    """One statistic of one table."""

    name: str
    """In words."""
    now: str
    before: str
    """Of the last accepted snapshot; empty where there is none."""
    line: str
    """Points of an SVG polyline in a box of 120 x 26, oldest first and now last; empty where two values are lacking."""
    end: tuple[float, float] | None
    """Where the line ends: now."""


def trends(now: Mapping[str, float], history: Sequence[Mapping[str, float]]) -> list[Trend]:
    """The statistics of a table, most telling first.

    Args:
        now: Statistic → value.
        history: The same of accepted snapshots, oldest first.
    """
    last = history[-1] if history else {}
    names = [*(name for name in _WORDS if name in now or name in last)]
    names += sorted((now.keys() | last.keys()) - _WORDS.keys())
    return [_trend(name, now, last, history) for name in names]


def _trend(
    name: str, now: Mapping[str, float], last: Mapping[str, float], history: Sequence[Mapping[str, float]]
) -> Trend:
    values = [one.get(name, math.nan) for one in [*history, now]]
    points = _points(values)
    return Trend(
        name=_words(name),
        now=_shown(name, now.get(name)) or "not measured",
        before=_shown(name, last.get(name)),
        line=" ".join(f"{x:.1f},{y:.1f}" for x, y in points) if len(points) > 1 else "",
        end=points[-1] if len(points) > 1 and name in now else None,
    )


def _words(name: str) -> str:
    for prefix, words in _PREFIXES.items():
        if name.startswith(prefix):
            return words.format(name.removeprefix(prefix))
    return _WORDS.get(name, name.replace("_", " "))


def _points(values: Sequence[float]) -> list[tuple[float, float]]:
    there = [(place, value) for place, value in enumerate(values) if math.isfinite(value)]
    if len(there) < 2:
        return []
    low, high = min(value for _, value in there), max(value for _, value in there)
    # A change of less than a hundredth is drawn as a flat line and not blown up to the height of the box.
    scale = max(high - low, 0.01 * max(abs(high), abs(low)), 1e-12)
    middle, step = (high + low) / 2, (_WIDE - 2 * _EDGE) / (len(values) - 1)
    return [
        (_EDGE + step * place, _HIGH / 2 - (_HIGH - 2 * _EDGE) * (value - middle) / scale) for place, value in there
    ]


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name in ("coverage", "neighbour_overlap") or name.startswith("share_") or name.endswith(("_share", "_coverage")):
        return f"{value:.2%}"
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:,.4g}"
