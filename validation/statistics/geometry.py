"""Shape of a cloud of vectors, from a sample: its spectrum and its hubs."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from validation.statistics.blocks import Floats

__all__ = ["NEIGHBOURS", "Hubs", "Spectrum", "hubs", "spectrum"]

NEIGHBOURS = 10
_QUERIES = 4
"""One sampled vector in so many has its neighbours sought, in the whole sample: a skewness of counts depends on their
mean, which thus is the same for samples of every size from ``_QUERIES * _LEAST_QUERIES`` on."""
_LEAST_QUERIES = 500
_QUERIES_AT_ONCE = 256
_LEAST_HUBS = 50
"""Below this many vectors everybody is a neighbour."""

Wide = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """Of a sample's covariance."""

    eigenvalues: Wide
    """Descending ``[width]``."""
    effective_rank: float
    """exp of the entropy of the normalised eigenvalues (Roy and Vetterli, EUSIPCO 2007), corrected for the size of the
    sample."""
    effective_rank_error: float
    top_share: float
    """Share of the variance along the first axis: taken on each half of the sample along the axis of the other, as a
    sample's own largest eigenvalue is the larger the smaller the sample is."""
    top_share_error: float


def spectrum(sample: Floats) -> Spectrum | None:
    """Eigenvalues of the covariance, and how evenly they share the variance.

    Standard errors are those of the infinitesimal jackknife (Efron, 1982): the spread of every vector's influence on
    the statistic, ``influence(x) = sum_k g_k ((v_k · x)**2 - λ_k)`` with ``g`` its gradient. A sample's entropy is
    too small by about ``width / 2n``; what is added is the expectation of its second-order perturbation under
    normality (Anderson, 1963), at most half of the width.

    Args:
        sample: ``[m, width]``.

    Returns:
        None where there are fewer than two vectors, or they do not vary.
    """
    if len(sample) < 2:
        return None
    centred = _centred(sample)
    scale = float(np.abs(centred).max())
    if not 0 < scale < np.inf:
        return None
    centred /= np.float32(scale)
    count, width = centred.shape
    halves = [(half.T @ half).astype(np.float64) for half in (centred[::2], centred[1::2])]
    values, axes = np.linalg.eigh((halves[0] + halves[1]) / count)
    values = np.maximum(values[::-1], 0.0)
    axes = axes[:, ::-1]
    total = float(values.sum())
    shares = values / total
    positive = shares > 1e-12
    logs = np.log(shares, where=positive, out=np.zeros(width))
    entropy = -float(shares @ logs)
    bias = _entropy_bias(shares[positive]) / count
    rank = float(min(np.exp(entropy + bias), width))
    # d entropy / d λ_k = -(log p_k + entropy) / total; d p_1 / d λ_k = ([k = 1] - p_1) / total.
    gradient = np.where(positive, -(logs + entropy), 0.0) / total
    top = -np.full(width, shares[0]) / total
    top[0] += 1 / total
    projected = (centred @ axes.astype(np.float32)).astype(np.float32)
    np.square(projected, out=projected)
    spread = (projected @ np.column_stack([gradient, top]).astype(np.float32)).std(axis=0, dtype=np.float64)
    errors = spread / np.sqrt(count)
    return Spectrum(
        eigenvalues=values * scale**2,
        effective_rank=rank,
        effective_rank_error=float(rank * np.hypot(errors[0], bias / 4)),
        top_share=_crossed_top_share(halves),
        top_share_error=float(errors[1]),
    )


def _centred(sample: Floats) -> Floats:
    with np.errstate(over="ignore"):
        centred: Floats = sample - sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    return centred


def _crossed_top_share(halves: list[Wide]) -> float:
    last = len(halves[0]) - 1
    axes = [linalg.eigh(half, subset_by_index=(last, last))[1][:, 0] for half in halves]
    along = sum(float(axis @ other @ axis) for axis, other in zip(axes, reversed(halves), strict=True))
    return along / float(np.trace(halves[0]) + np.trace(halves[1]))


def _entropy_bias(shares: Wide) -> float:
    """``n`` times what the entropy of a sample's shares lacks; shares are positive, descending."""
    left, right = shares[:, None], shares[None, :]
    gap = left - right
    close = np.abs(gap) <= 1e-9 * left
    slope = np.divide(np.log(left / right), gap, where=~close, out=np.broadcast_to(1 / left, gap.shape).copy())
    pairs = left * right * slope
    return float((pairs.sum() - np.trace(pairs)) / 2 + shares.sum())


@dataclass(frozen=True)
class Hubs:
    """Who is whose neighbour in a sample."""

    share: float
    """Share of the queries that have the most frequent neighbour among their ten nearest."""
    share_error: float
    concentration: float
    """Share of all places among the ten nearest that the most frequent hundredth of the sample holds."""
    concentration_error: float
    skewness: float
    """Of the number of queries whose neighbour a vector is (Radovanović et al., JMLR 2010)."""
    skewness_error: float


def hubs(sample: Floats) -> Hubs | None:
    """Hubness of a sample under Euclidean distance.

    Args:
        sample: ``[m, width]`` in order of the hash: the first of it are the queries.

    Returns:
        None where there are too few vectors.
    """
    count = len(sample)
    if count < _LEAST_HUBS:
        return None
    queries = max(count // _QUERIES, min(count, _LEAST_QUERIES))
    centred = _centred(sample)
    squares = np.einsum("ij,ij->i", centred, centred) / 2
    counts = np.zeros(count, np.int64)
    for start in range(0, queries, _QUERIES_AT_ONCE):
        some = np.arange(start, min(start + _QUERIES_AT_ONCE, queries))
        distance = squares - centred[some] @ centred.T
        distance[np.arange(len(some)), some] = np.inf
        near = np.argpartition(distance, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        counts += np.bincount(near.ravel(), minlength=count)
    share = float(counts.max()) / queries
    skewness, error = _skewness(counts)
    ordered = np.sort(counts)[::-1]
    top = ordered[:5] / queries
    places = ordered[: max(count // 100, 1)] / (queries * NEIGHBOURS)
    # Largest values of samples differ about as much as the largest few of one sample.
    share_error = float(np.hypot((top[0] - top[-1]) / 3, np.sqrt(share * (1 - share) / queries)))
    return Hubs(share, share_error, float(places.sum()), float(np.sqrt((places**2).sum())), skewness, error)


def _skewness(counts: npt.NDArray[np.int64]) -> tuple[float, float]:
    gaps = counts - counts.mean()
    deviation = float(gaps.std())
    if deviation == 0:
        return 0.0, 0.0
    scaled = gaps / deviation
    skewness = float((scaled**3).mean())
    influence = scaled**3 - 3 * scaled - skewness * 1.5 * (scaled**2 - 1)
    # One rare hub weighs much in a third moment, and a sample without it does not show that.
    return skewness, float(np.hypot(influence.std() / np.sqrt(len(counts)), skewness / 6))
