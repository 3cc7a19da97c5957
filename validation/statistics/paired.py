"""The same items before and now: whose vector changed, and who carries somebody else's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from validation.statistics.profile import Profile
from validation.statistics.scaling import varying

__all__ = ["ENCODER_NOISE", "Paired", "compare", "within_noise"]

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

ENCODER_NOISE = 3e-3
"""Length of a difference over the length of the vector that rounding to half precision (2e-4) and the order of a GPU's
additions (up to 1e-3) explain. Eight-bit quantisation is above it."""
_LISTED = 20
_NEIGHBOURS, _LEAST_COMMON = 10, 50
_QUERIES, _TARGETS = 384, 2048
_SEARCHED = 1024
_SKETCH = 64
_MOVED_RATIO = 0.05


@dataclass(frozen=True)
class Paired:
    """Items that two snapshots have in common, compared."""

    common: int
    lost: int
    new: int
    changed_share: float
    """Of the common items: the vector differs by more than encoder noise. NaN without common items."""
    noise_share: float
    """Of the common items: the vector's bits differ, but by no more than encoder noise."""
    moved_share: float
    """Of the common items: the vector is now, exactly or nearly, what another item's was."""
    neighbour_overlap: float
    """Mean share of the ten nearest neighbours now that were among them before; NaN for fewer than 50 items."""
    shift: float
    """Root mean square over dimensions of the mean difference, in the accepted snapshot's standard deviations, without
    what chance adds. NaN without common items in both samples."""
    sampled: int
    """Common items whose vectors are in both samples: distances, overlap and shift are theirs."""
    changed: list[tuple[str, float]]
    """Up to 20 sampled items that changed most: root mean square distance over dimensions, in standard deviations."""
    moved: list[tuple[str, str]]
    """Up to 20 items, each with the one whose vector it now has."""


@dataclass(frozen=True)
class _Sampled:
    """Vectors of the common items that both samples hold, in one order, divided by the largest component."""

    common: Rows
    """Positions among the common items ``[s]``."""
    before: Floats
    now: Floats
    deviation: Floats
    """Of each dimension before; infinite where it does not vary."""


def compare(before: Profile, now: Profile) -> Paired:
    """Compare common items: bits of all of them, distances on the samples' common part.

    A vector of another item is found by its bits over the whole table, if no two items had it before (a vector that
    several have is a placeholder, and taking it is no swap); and by distance among up to 1,024 changed items of the
    sample, where the other's vector is 20 times nearer than the item's own former one.

    Raises:
        BadInput: The vectors have different widths.
    """
    now.require_width_of(before)
    positions = pc.index_in(now.ids, value_set=before.ids).fill_null(-1).to_numpy().astype(np.int64)
    here = np.flatnonzero(positions >= 0)
    there = positions[here]
    counts: dict[str, Any] = {"common": len(here), "lost": len(before.ids) - len(here), "new": len(now.ids) - len(here)}
    if not len(here):
        shares: dict[str, Any] = dict.fromkeys(_SHARES, float("nan"))
        return Paired(**counts, **shares, sampled=0, changed=[], moved=[])

    altered = before.fingerprints[there] != now.fingerprints[here]
    if not altered.any():
        return _unaltered(before, now, here, there, counts)
    sampled = _sampled(before, now, here, there)
    distance = _rms(sampled.now - sampled.before, sampled.deviation)
    beyond = altered[sampled.common] & ~within_noise(sampled.before, sampled.now)
    looked_at = altered[sampled.common].sum()
    # Altered items outside of the sample count as changed in the proportion of those within; all, if none is within.
    changed = altered.mean() * (beyond.sum() / looked_at if looked_at else 1.0)

    single = ~pd.Series(before.fingerprints).duplicated(keep=False).to_numpy()
    exact = _exact_sources(before, now, here, altered, single)
    candidates = np.flatnonzero(beyond & (exact[sampled.common] < 0))
    near = _near_sources(sampled, candidates[:_SEARCHED], single[there[sampled.common]])
    found = (near >= 0).sum() * max(1.0, len(candidates) / _SEARCHED)
    taken = (exact >= 0).mean() + altered.mean() * (found / looked_at if looked_at else 0.0)
    pairs = [(here[row], exact[row]) for row in np.flatnonzero(exact >= 0)[:_LISTED]]
    pairs += [(here[sampled.common[row]], there[sampled.common[near[row]]]) for row in np.flatnonzero(near >= 0)]
    worst = np.flatnonzero(beyond)[np.argsort(-distance[beyond], kind="stable")[:_LISTED]]
    return Paired(
        **counts,
        changed_share=float(changed),
        noise_share=float(altered.mean() - changed),
        moved_share=float(taken),
        neighbour_overlap=_overlap(sampled),
        shift=_shift(sampled),
        sampled=len(sampled.common),
        changed=[(now.ids[here[sampled.common[row]]].as_py(), float(distance[row])) for row in worst],
        moved=[(now.ids[mine].as_py(), before.ids[other].as_py()) for mine, other in pairs[:_LISTED]],
    )


def _unaltered(before: Profile, now: Profile, here: Rows, there: Rows, counts: dict[str, Any]) -> Paired:
    sampled = int((_places(before)[there] >= 0)[_places(now)[here] >= 0].sum())
    overlap = 1.0 if sampled >= _LEAST_COMMON else float("nan")
    shares: dict[str, Any] = dict.fromkeys(_SHARES, 0.0) | {
        "neighbour_overlap": overlap,
        "shift": 0.0 if sampled else float("nan"),
    }
    return Paired(**counts, **shares, sampled=sampled, changed=[], moved=[])


_SHARES = ("changed_share", "noise_share", "moved_share", "neighbour_overlap", "shift")


def _sampled(before: Profile, now: Profile, here: Rows, there: Rows) -> _Sampled:
    old_place, new_place = _places(before), _places(now)
    common = np.flatnonzero((old_place[there] >= 0) & (new_place[here] >= 0))
    common = common[np.argsort(old_place[there[common]])]
    old, new = before.sample[old_place[there[common]]], now.sample[new_place[here[common]]]
    largest = max(float(np.abs(part).max(initial=0)) for part in (old, new)) or 1.0
    deviation = np.sqrt(before.variance) / largest
    deviation = np.where(varying(deviation, before.mean / largest), deviation, np.inf)
    return _Sampled(common, old / np.float32(largest), new / np.float32(largest), deviation.astype(np.float32))


def _places(profile: Profile) -> Rows:
    """For each row of the ids its place in the sample, or -1."""
    places = np.full(len(profile.ids), -1)
    places[profile.sample_rows] = np.arange(len(profile.sample_rows))
    return places


def within_noise(before: Floats, now: Floats) -> npt.NDArray[np.bool_]:
    """Which vectors ``[n, width]`` differ by no more than encoder noise from what they were ``[n, width]``."""
    # By each row's own scale: squares of small vectors must not vanish beside those of one monstrous vector.
    scale = np.maximum(np.abs(before).max(axis=1, initial=0), np.finfo(np.float32).tiny)[:, None]
    lengths = np.linalg.norm(before / scale, axis=1)
    with np.errstate(over="ignore"):
        gaps = np.linalg.norm((now - before) / scale, axis=1)
    close: npt.NDArray[np.bool_] = gaps <= ENCODER_NOISE * lengths
    return close


def _rms(differences: Floats, deviation: Floats) -> Floats:
    """Lengths in standard deviations; where nothing varied before, any difference is one in the vectors' own scale."""
    dimensions = np.isfinite(deviation)
    if not dimensions.any():
        dimensions, deviation = ~dimensions, np.ones_like(deviation)
    with np.errstate(over="ignore"):
        distance: Floats = np.sqrt(np.square(differences[:, dimensions] / deviation[dimensions]).mean(axis=1))
    return distance


def _exact_sources(
    before: Profile, now: Profile, here: Rows, altered: npt.NDArray[np.bool_], single: npt.NDArray[np.bool_]
) -> Rows:
    """For each common item the row of ``before`` whose bits it now has, if only one item had them; else -1."""
    sources = np.full(len(here), -1)
    if altered.any():
        owners = np.flatnonzero(single)
        wanted = pa.array(now.fingerprints[here[altered]])
        found = pc.index_in(wanted, value_set=pa.array(before.fingerprints[owners])).fill_null(-1)
        places = found.to_numpy().astype(np.int64)
        sources[altered] = np.where(places >= 0, owners[places], -1) if len(owners) else -1
    return sources


def _near_sources(sampled: _Sampled, searched: Rows, single: npt.NDArray[np.bool_]) -> Rows:
    """For each sampled item that is searched the sampled one whose single former vector it nearly has; else -1.

    Searched by random projections to 64 dimensions (Johnson & Lindenstrauss 1984), verified in all.
    """
    sources = np.full(len(sampled.common), -1)
    if not len(searched) or len(sources) < 2:
        return sources
    weights = np.random.default_rng(0).standard_normal((sampled.before.shape[1], _SKETCH), dtype=np.float32)
    centre = sampled.before.mean(axis=0)
    targets, queries = (sampled.before - centre) @ weights, (sampled.now[searched] - centre) @ weights
    distance = np.square(targets).sum(axis=1) - 2 * (queries @ targets.T)
    distance[:, ~single] = np.inf
    distance[np.arange(len(searched)), searched] = np.inf
    best = distance.argmin(axis=1)
    to_best = np.linalg.norm(sampled.now[searched] - sampled.before[best], axis=1)
    to_own = np.linalg.norm(sampled.now[searched] - sampled.before[searched], axis=1)
    near = single[best] & (to_best <= _MOVED_RATIO * to_own)
    sources[searched[near]] = best[near]
    return sources


def _shift(sampled: _Sampled) -> float:
    if not len(sampled.common):
        return float("nan")
    dimensions = np.isfinite(sampled.deviation)
    if not dimensions.any():
        return 0.0
    differences = (sampled.now - sampled.before)[:, dimensions] / sampled.deviation[dimensions]
    mean = differences.mean(axis=0, dtype=np.float64)
    chance = differences.var(axis=0, dtype=np.float64) / len(differences)
    return float(np.sqrt(max((mean**2 - chance).mean(), 0.0)))


def _overlap(sampled: _Sampled) -> float:
    """Neighbours now that were as near before as the tenth neighbour was: ties and duplicates cost nothing."""
    if len(sampled.common) < _LEAST_COMMON:
        return float("nan")
    old, new = sampled.before[:_TARGETS], sampled.now[:_TARGETS]
    queries = min(_QUERIES, len(old))
    gaps = [_squared_distances(vectors, queries) for vectors in (old, new)]
    nearest = np.argpartition(gaps[1], _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
    radius = np.partition(gaps[0], _NEIGHBOURS - 1, axis=1)[:, _NEIGHBOURS - 1]
    # Rounding leaves duplicates a little apart, by the vectors' own scale.
    slack = 1e-3 * np.abs(radius) + 1e-6 * np.square(old).sum(axis=1).mean()
    inside = np.take_along_axis(gaps[0], nearest, axis=1) <= (radius + slack)[:, None]
    return float(inside.mean())


def _squared_distances(vectors: Floats, queries: int) -> Floats:
    centred = vectors - vectors.mean(axis=0)
    squares = np.square(centred).sum(axis=1)
    distance: Floats = squares[:queries, None] + squares - 2 * (centred[:queries] @ centred.T)
    distance[np.arange(queries), np.arange(queries)] = np.inf
    return distance
