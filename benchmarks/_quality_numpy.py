"""The statistics of the suites on one table of vectors, written by hand in NumPy: the rival of ``quality.py --speed``.

Vectorised, in blocks of rows, with nothing that is not asked for: no table of rows for expectations, no ids of
offenders, no standard errors but those that bands need, no care for ragged rows, overflow or an empty table.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["compare_pass", "numpy_pass"]

Floats = npt.NDArray[np.float32]

_BLOCK, _SAMPLE, _QUERIES, _NEIGHBOURS, _PERMUTATIONS = 16_384, 8_192, 2_048, 10, 200


def numpy_pass(
    matrix: Floats, ids: pd.Index, times: npt.NDArray[np.int64], owners: pd.Index, published: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """Measure a table.

    Args:
        matrix: ``[n, width]``.
        ids: ``[n]``, whose vectors they are, once each.
        times: ``[n]``, of the vectors, in microseconds.
        owners: ``[m]``, who should have one.
        published: ``[m]``, when the owners were.

    Returns:
        The statistics, the facts of every row and what a later comparison needs.
    """
    count, width = matrix.shape
    rng = np.random.default_rng(1)
    multipliers = rng.integers(0, 2**63, width, dtype=np.uint64) * 2 + 1
    axes = rng.standard_normal((width, 65)).astype(np.float32)
    sampled = np.sort(rng.permutation(count)[:_SAMPLE])
    sample = matrix[sampled]
    centre = sample.mean(axis=0)
    norm, finite = np.zeros(count), np.zeros(count, bool)
    constant, half_error = np.zeros(count, bool), np.zeros(count)
    bits, codes, order = np.zeros(count, np.uint64), np.zeros(count, np.uint64), np.zeros(count, np.float32)
    total, squares = np.zeros(width), np.zeros(width)
    low, high = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)
    for start in range(0, count, _BLOCK):
        part, rows = matrix[start : start + _BLOCK], slice(start, start + _BLOCK)
        norm[rows] = np.sqrt(np.einsum("ij,ij->i", part, part))
        finite[rows] = np.isfinite(norm[rows])
        low, high = np.minimum(low, part.min(axis=0)), np.maximum(high, part.max(axis=0))
        constant[rows] = (part[:, 0] == part[:, 1]) & (part == part[:, :1]).all(axis=1)
        lost = part.astype(np.float16).astype(np.float32) - part
        half_error[rows] = np.sqrt(np.einsum("ij,ij->i", lost, lost)) / np.maximum(norm[rows], 1e-30)
        bits[rows] = np.einsum("ij,j->i", part.view(np.uint32), multipliers)
        shifted = part - centre
        total += shifted.sum(axis=0)
        squares += np.einsum("ij,ij->j", shifted, shifted)
        projected = shifted @ axes
        codes[rows] = np.packbits(projected[:, :64] > 0, axis=1).view(np.uint64)[:, 0]
        order[rows] = projected[:, 64]
    step = total / count
    variance = squares / count - step**2
    clipped = np.zeros(count, np.int64)
    for start in range(0, count, _BLOCK):
        part = matrix[start : start + _BLOCK]
        clipped[start : start + _BLOCK] = ((part == low) | (part == high)).sum(axis=1)
    facts = {
        "repeated": pd.Series(bits).duplicated().to_numpy(),
        "near": _near(matrix, codes, order, np.sqrt(2 * variance.sum())),
        "zero": norm == 0,
        "relative_norm": norm / np.median(norm),
        "known": owners.get_indexer(ids) >= 0,
    }
    facts |= {"finite": finite, "constant": constant, "half_error": half_error, "clipped": clipped}
    assert ids.is_unique
    covered = ids.get_indexer(owners) >= 0
    statistics = {
        "coverage": float(covered.mean()),
        "recent_coverage": float(covered[published >= np.quantile(published, 0.95)].mean()),
        "lag_hours": float((published.max() - times.max()) / 3.6e9),
        "spread": float(np.sqrt(variance.sum() / np.square(norm).mean())),
        "dead": int((variance < 1e-6 * np.median(variance)).sum()),
        "norm_median": float(np.median(norm)),
        "norm_spread": float(np.subtract(*np.quantile(norm, [0.75, 0.25]))),
        **{name: float(facts[name].mean()) for name in ("repeated", "near", "zero", "constant")},
        **_spectrum(sample),
        **_hubs(sample),
    }
    return {
        "facts": facts,
        "statistics": statistics,
        "mean": centre + step,
        "variance": variance,
        "bits": bits,
        "ids": ids,
        "sampled": sampled,
        "sample": sample,
        "norm": norm,
    }


def compare_pass(before: dict[str, Any], now: dict[str, Any]) -> dict[str, float]:
    """Hold a measured table against the one before: items that both have, and items that only the new one has."""
    places = before["ids"].get_indexer(now["ids"])
    common = np.flatnonzero(places >= 0)
    changed = before["bits"][places[common]] != now["bits"][common]
    former = pd.Index(before["bits"])
    moved = former.get_indexer(now["bits"][common[changed]]) >= 0 if former.is_unique else changed[changed]
    here = pd.Index(now["sampled"])
    there = pd.Index(before["sampled"]).get_indexer(places[now["sampled"]])
    both = np.flatnonzero((places[now["sampled"]] >= 0) & (there >= 0))
    old, new = before["sample"][there[both]], now["sample"][both]
    deviation = np.sqrt(before["variance"])
    gaps = (new - old) / deviation
    overlap = _overlap(_neighbours(old), _neighbours(new))
    fresh = np.flatnonzero(places[here] < 0)
    return {
        "changed": float(changed.mean()),
        "moved": float(moved.sum() / max(len(common), 1)),
        "shift": float(np.sqrt(np.mean(gaps.mean(axis=0) ** 2))),
        "distance": float(np.sqrt(np.mean(gaps**2, axis=1)).max()),
        "overlap": overlap,
        "p_value": _drift(before["sample"][:4096], now["sample"][fresh[:4096]]),
    }


def _near(matrix: Floats, codes: npt.NDArray[np.uint64], order: Floats, typical: float) -> npt.NDArray[np.bool_]:
    places = np.lexsort((order, codes))
    follows = np.flatnonzero(codes[places[1:]] == codes[places[:-1]]) + 1
    near = np.zeros(len(codes), bool)
    for start in range(0, len(follows), _BLOCK):
        some = follows[start : start + _BLOCK]
        gap = matrix[places[some]] - matrix[places[some - 1]]
        near[places[some]] = np.sqrt(np.einsum("ij,ij->i", gap, gap)) < 0.01 * typical
    return near


def _spectrum(sample: Floats) -> dict[str, float]:
    values = np.maximum(np.linalg.eigvalsh(np.cov(sample.T)), 0)
    halves = [np.linalg.eigvalsh(np.cov(half.T)) for half in np.array_split(sample, 2)]
    ranks = [_rank(np.maximum(half, 0)) for half in halves]
    return {
        "effective_rank": _rank(values),
        "rank_error": float(abs(ranks[0] - ranks[1]) / 2),
        "top_share": float(values[-1] / values.sum()),
    }


def _rank(values: npt.NDArray[np.float64]) -> float:
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _hubs(sample: Floats) -> dict[str, float]:
    near = _neighbours(sample)
    counts = np.bincount(near.ravel(), minlength=len(sample))
    scaled = (counts - counts.mean()) / max(counts.std(), 1e-12)
    return {"hub_share": float(counts.max() / len(near)), "skewness": float((scaled**3).mean())}


def _overlap(before: npt.NDArray[np.int64], now: npt.NDArray[np.int64]) -> float:
    """Share of neighbours that are the same; those of each query are distinct."""
    both = np.sort(np.concatenate([before, now], axis=1), axis=1)
    return float((both[:, 1:] == both[:, :-1]).sum() / before.size)


def _neighbours(sample: Floats) -> npt.NDArray[np.int64]:
    queries = sample[:_QUERIES]
    distance = np.einsum("ij,ij->i", sample, sample) / 2 - queries @ sample.T
    np.fill_diagonal(distance, np.inf)
    return np.argpartition(distance, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]


def _drift(old: Floats, new: Floats) -> float:
    """A permutation test on means, variances and random Fourier features of blocks of rows."""
    if len(new) < 20:
        return 1.0
    rows = np.concatenate([new, old])
    rows = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-12)
    rng = np.random.default_rng(2)
    phases = rows @ rng.standard_normal((rows.shape[1], 128)).astype(np.float32) / np.sqrt(rows.shape[1])
    features = np.concatenate([rows, rows**2, np.cos(phases), np.sin(phases)], axis=1)
    size = max(1, len(rows) // 200)
    parts = [part[: len(part) // size * size].reshape(-1, size, features.shape[1]).mean(axis=1)
             for part in (features[: len(new)], features[len(new) :])]  # fmt: skip
    blocks = np.concatenate(parts)
    blocks -= blocks.mean(axis=0)
    labels = np.zeros((_PERMUTATIONS + 1, len(blocks)), np.float32)
    labels[0, : len(parts[0])] = 1
    for row in range(1, _PERMUTATIONS + 1):
        labels[row, rng.permutation(len(blocks))[: len(parts[0])]] = 1
    statistics = np.square(labels @ blocks).sum(axis=1)
    return float((statistics >= statistics[0]).mean())
