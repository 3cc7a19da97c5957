"""What a drift test compares: feature maps of rows that see means, spreads, structure, tails and strangers."""

import numpy as np
import numpy.typing as npt

from validation.statistics.scaling import bounded, typical_norm, varying

__all__ = ["feature_maps", "principal_directions"]

Floats = npt.NDArray[np.float32]

_PROJECTIONS = 128
_COMPONENTS = 32
_CLIP = np.float32(8)


def feature_maps(
    rows: Floats, norms: Floats, anchors: Floats, anchor_norms: Floats, rng: np.random.Generator
) -> tuple[dict[str, Floats], Floats]:
    """Feature maps ``[rows, n]`` for every test, and each row's distance to the nearest anchor.

    Everything that is fitted (scales, components, bandwidth) is fitted on the pooled rows, or on a random part of
    them, so that an exchange of labels leaves the features as they are. Anchors are reference rows that are not
    compared themselves.
    """
    typical = typical_norm(norms)
    logarithms = np.log(np.maximum(norms / typical, 1e-30)).astype(np.float32)
    # A few monstrous rows are shortened, or nothing else would be seen beside them.
    rows, anchors = bounded(rows, norms, typical), bounded(anchors, anchor_norms, typical)
    mean = rows.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(np.maximum(np.square(rows - mean.astype(np.float32)).mean(axis=0, dtype=np.float64), 0))
    moving = varying(deviation, mean)
    floor = 1e-4 * np.median(deviation[moving]) if moving.any() else 1.0
    scale = np.where(moving, np.maximum(deviation, floor), np.inf)
    mean32, scale32 = mean.astype(np.float32), scale.astype(np.float32)
    rows, anchors = (np.clip((part - mean32) / scale32, -_CLIP, _CLIP) for part in (rows, anchors))

    weights = rng.standard_normal((rows.shape[1], _PROJECTIONS), dtype=np.float32)
    projected, anchors = rows @ weights, anchors @ weights
    components = rows @ principal_directions(rows[rng.permutation(len(rows))[:384]], _COMPONENTS)
    distance = _nearest(projected, anchors)
    energy = np.square(rows).sum(axis=1)
    outside = 1 - np.square(components).sum(axis=1) / np.maximum(energy, np.float32(1e-6))
    phases = projected / np.float32(_median_distance(projected, rng) / np.sqrt(_PROJECTIONS))
    far = [strange > np.quantile(strange, level) for strange in (distance, outside) for level in (0.95, 0.99)]
    return {
        "mean": rows,
        # Mean absolute deviations instead of variances: one dimension with heavy tails must not drown the others.
        "spread": _standard(np.abs(rows)),
        "structure": _standard(np.abs(_standard(np.concatenate([components, projected], axis=1)))),
        "distribution": np.concatenate([f(phases * np.float32(k)) for f in (np.cos, np.sin) for k in (1, 3)], axis=1),
        "norm": _with_square(logarithms),
        "strangers": _standard(np.stack([distance, outside, *far], axis=1).astype(np.float32)),
    }, distance


def principal_directions(rows: Floats, number: int) -> Floats:
    """Directions ``[width, <= number]`` of most variance, the greatest last; few rows do for a few of them."""
    rows = rows - rows.mean(axis=0)
    if rows.shape[1] <= len(rows):
        axes: Floats = np.linalg.eigh(rows.T @ rows)[1][:, -number:]
        return axes
    vectors: Floats = rows.T @ np.linalg.eigh(rows @ rows.T)[1][:, -number:]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=0), np.float32(1e-12))
    return vectors


def _nearest(rows: Floats, anchors: Floats) -> Floats:
    squares = np.square(anchors).sum(axis=1)
    nearest: Floats = (squares - 2 * (rows @ anchors.T)).min(axis=1)
    distance: Floats = np.sqrt(np.maximum(nearest + np.square(rows).sum(axis=1), 0))
    return distance


def _median_distance(rows: Floats, rng: np.random.Generator) -> float:
    some = rng.permutation(len(rows))[:512]
    half = len(some) // 2
    return float(np.median(np.linalg.norm(rows[some[:half]] - rows[some[half : 2 * half]], axis=1))) or 1.0


def _standard(values: Floats) -> Floats:
    deviation = values.std(axis=0)
    scaled: Floats = (values - values.mean(axis=0)) / np.where(deviation > 1e-6, deviation, np.float32(np.inf))
    return np.clip(scaled, -_CLIP, _CLIP)


def _with_square(logarithms: Floats) -> Floats:
    """Standardised with its square; differences below a thousandth are rounding in unit vectors, not drift."""
    deviation = np.maximum(logarithms.std(), np.float32(1e-3))
    scaled = np.clip((logarithms - logarithms.mean()) / deviation, -_CLIP, _CLIP)
    return np.stack([scaled, np.square(scaled)], axis=1)
