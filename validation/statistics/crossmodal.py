"""Do two modalities of an item still belong together? Own against random pairing, by a map fitted on trusted pairs."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from validation.statistics.features import principal_directions
from validation.statistics.permutation import block_means, block_size, contrast_blocks
from validation.statistics.profile import Profile
from validation.statistics.scaling import bounded, typical_norm, varying

__all__ = ["LEAST_DROP", "LEAST_NEW_UNITS", "LEAST_PAIRS", "LEAST_UNITS", "Margin", "margin"]

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

LEAST_PAIRS = 200
"""Fewer pairs fit no map."""
LEAST_UNITS = 60
"""Nor do pairs with fewer right sides, such as pieces of music: pairs that share one are no independent evidence."""
LEAST_NEW_UNITS = 20
"""Fewer right sides of new pairs judge nothing."""
LEAST_DROP = 0.1
"""Part of the trusted margin that new pairs must lack before it matters."""
_AGREEING = 5.0
_COMPONENTS, _CANONICAL = 48, 16
_FITTED = 512
_CLIP = np.float32(30)


@dataclass(frozen=True)
class Margin:
    """How much better an item's two vectors go together than those of two items drawn at random."""

    value: float
    """Mean score of own pairs less that of random pairs, in standard deviations of random pairs; map fitted on one
    half of the pairs and judged on the other, both ways. 0: nothing says that the pairs belong together. Pairs that
    share their right side, such as videos with one piece of music, count as one, of their mean score."""
    error: float
    """Its standard error, from the spread between right sides."""
    pairs: int
    trusted_value: float | None
    """The margin of held-out pairs of the accepted snapshot; None where there is none, or its pairs do not agree."""
    new_value: float | None
    """The margin of pairs that the accepted snapshot did not have, under the same map; None as ``trusted_value``."""
    new_pairs: int
    p_value: float | None
    """That new pairs agree as trusted ones do; 1 where they agree better. The larger of a permutation's (of blocks of
    right sides) and of Welch's test, which allows for new right sides that have fewer pairs than trusted ones."""

    @property
    def drop(self) -> float:
        """Part of the trusted margin that new pairs lack; 0 where nothing was compared, 1 where nothing is left."""
        if self.trusted_value is None or self.new_value is None:
            return 0.0
        return 1 - self.new_value / self.trusted_value


class _Pairs(NamedTuple):
    """Places of vectors that belong together, among those at hand of either side ``[n]``."""

    left: Rows
    right: Rows

    def of(self, chosen: npt.NDArray[np.bool_]) -> "_Pairs":
        return _Pairs(self.left[chosen], self.right[chosen])

    @property
    def units(self) -> Rows:
        """Number of the right side of each pair, from 0 on."""
        return np.unique(self.right, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class _Map:
    """A standardised projection of each side to canonical directions (Hotelling 1936) and their correlations."""

    left: tuple[Floats, Floats]
    right: tuple[Floats, Floats]
    weights: Floats

    def scores(self, left: Floats, right: Floats, units: Rows) -> npt.NDArray[np.float64]:
        """Per pair: its agreement less the mean agreement of its left side with all right sides, which is that with
        their mean, over the deviation of random pairs."""
        a = _projected(left, *self.left) * self.weights
        b = _projected(right, *self.right)
        own = (a * b).sum(axis=1)
        random = (a * np.roll(b, len(b) // 2 + 1, axis=0)).sum(axis=1)
        spread = random.std() or np.float32(1)
        # Each right side once: the pairs of a favourite would otherwise be held against their own music.
        centre = b[np.unique(units, return_index=True)[1]].mean(axis=0)
        scores: npt.NDArray[np.float64] = np.clip((own - a @ centre) / spread, -_CLIP, _CLIP).astype(np.float64)
        return scores


def margin(
    left: Profile,
    right: Profile,
    before: tuple[Profile, Profile] | None,
    pairs: tuple[pa.Array, pa.Array] | None,
    seed: int,
) -> Margin | None:
    """Judge how two embedding tables go together, on the pairs whose vectors are at hand on both sides.

    The encoders' spaces are not aligned, so a map between them is fitted first: principal components of each side,
    canonical correlation between them. Pairs that the accepted snapshot did not have are compared with held-out pairs
    of it under a map that was fitted on others of its pairs, so that trusted pairs do not have the advantage of the
    fit. Pairs that share a right side vary together: halves are made of right sides, and means, errors and tests are
    taken over right sides.

    Args:
        left: One modality now.
        right: The other one now; of another entity where ``pairs`` say so.
        before: Both in the accepted snapshot.
        pairs: Ids of the left and of the right side that belong together, now and (as far as known) before, each left
            one once; None for two modalities of one entity.
        seed: Of the permutations.

    Returns:
        None for fewer than 200 pairs in the samples, or 60 right sides.
    """
    together = _paired(left, right, pairs)
    sampled = together.of((together.left < len(left.sample)) & (together.right < len(right.sample)))
    if _too_few(sampled):
        return None
    rng = np.random.default_rng(seed)
    units = sampled.units
    lefts = _vectors(left, sampled.left, typical_norm(left.norms))
    rights = _vectors(right, sampled.right, typical_norm(right.norms))
    first = _half(units, rng)
    scores = np.empty(len(units))
    for fit in (first, ~first):
        scores[~fit] = _fit(lefts[fit], rights[fit], units[fit], rng).scores(lefts[~fit], rights[~fit], units[~fit])
    means = _unit_means(scores, units)
    trusted, new, new_pairs, p_value = None, None, 0, None
    if before is not None:
        known = _known(left, together.left, before[0]) & _known(right, together.right, before[1])
        fresh = together.of(~known)
        new_pairs = len(fresh.left)
        compared = _compare(before, (left, right), pairs, fresh, rng)
        if compared is not None:
            trusted, new, p_value = compared
    return Margin(
        value=float(means.mean()),
        error=float(means.std() / np.sqrt(len(means))),
        pairs=len(scores),
        trusted_value=trusted,
        new_value=new,
        new_pairs=new_pairs,
        p_value=p_value,
    )


def _compare(
    before: tuple[Profile, Profile],
    now: tuple[Profile, Profile],
    pairs: tuple[pa.Array, pa.Array] | None,
    fresh: _Pairs,
    rng: np.random.Generator,
) -> tuple[float, float, float] | None:
    """Margins of held-out trusted pairs and of new ones, and the p-value that they are one."""
    old = _paired(*before, pairs)
    fresh_units = fresh.units
    if _too_few(old) or fresh_units.max(initial=-1) + 1 < LEAST_NEW_UNITS:
        return None
    if [profile.width for profile in before] != [profile.width for profile in now]:
        return None
    fit = _half(old.units, rng)
    trusted_pairs, held = old.of(fit), old.of(~fit)
    typical = [typical_norm(profile.norms) for profile in before]
    known = [_vectors(*side) for side in zip(before, trusted_pairs, typical, strict=True)]
    fitted = _fit(known[0], known[1], trusted_pairs.units, rng)
    lefts, rights = (
        np.concatenate([_vectors(new_side, new, scale), _vectors(old_side, trusted, scale)])
        for new_side, old_side, new, trusted, scale in zip(now, before, fresh, held, typical, strict=True)
    )
    # A right side that has trusted pairs and new ones is one of each group: what it adds to both cancels.
    units = np.concatenate([fresh_units, fresh_units.max() + 1 + held.units])
    means = _unit_means(fitted.scores(lefts, rights, units), units)
    rows = int(fresh_units.max()) + 1
    groups = rng.permutation(means[:rows]), rng.permutation(means[rows:])
    new, trusted = (float(group.mean()) for group in groups)
    if trusted < _AGREEING * groups[1].std() / np.sqrt(len(groups[1])):
        return None
    if new >= trusted:
        return trusted, new, 1.0
    size = block_size(rows, len(groups[1]))
    blocks = block_means(np.concatenate(groups)[:, None].astype(np.float32), rows, size)
    exchanged = contrast_blocks({"margin": blocks}, {}, rows // size, rng)["margin"].p_value
    return trusted, new, float(np.fmax(exchanged, stats.ttest_ind(*groups, equal_var=False).pvalue))


def _too_few(pairs: _Pairs) -> bool:
    return len(pairs.left) < LEAST_PAIRS or pairs.units.max() + 1 < LEAST_UNITS


def _half(units: Rows, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Which pairs are of a random half of the units ``[n]``."""
    half: npt.NDArray[np.bool_] = (rng.permutation(units.max() + 1) % 2 == 0)[units]
    return half


def _unit_means(scores: npt.NDArray[np.float64], units: Rows) -> npt.NDArray[np.float64]:
    means: npt.NDArray[np.float64] = np.bincount(units, weights=scores) / np.bincount(units)
    return means


def _paired(left: Profile, right: Profile, pairs: tuple[pa.Array, pa.Array] | None) -> _Pairs:
    at_hand = [profile.ids.take(pa.array(profile.at_hand()[0])) for profile in (left, right)]
    lefts, rights = (at_hand[0], at_hand[0]) if pairs is None else pairs
    places = [
        pc.index_in(ids, value_set=known).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        for ids, known in zip((lefts, rights), at_hand, strict=True)
    ]
    return _Pairs(*places).of((places[0] >= 0) & (places[1] >= 0))


def _vectors(profile: Profile, places: Rows, typical: float) -> Floats:
    """Vectors at hand in units of the typical norm ``[n, width]``; monstrous ones are shortened."""
    rows, vectors = profile.at_hand()
    return bounded(vectors[places], profile.norms[rows[places]], typical)


def _known(profile: Profile, places: Rows, before: Profile) -> npt.NDArray[np.bool_]:
    ids = profile.ids.take(pa.array(profile.at_hand()[0][places]))
    known: npt.NDArray[np.bool_] = pc.is_in(ids, value_set=before.ids).to_numpy(zero_copy_only=False)
    return known


def _fit(left: Floats, right: Floats, units: Rows, rng: np.random.Generator) -> _Map:
    number = max(2, min(_COMPONENTS, len(np.unique(units)) // 20))
    sides = [_whitening(values, number, rng) for values in (left, right)]
    a, b = (_projected(values, *side) for values, side in zip((left, right), sides, strict=True))
    u, correlations, v = np.linalg.svd(a.T @ b / np.float32(len(a)), full_matrices=False)
    kept = slice(0, _CANONICAL)
    (left_mean, left_map), (right_mean, right_map) = sides
    return _Map((left_mean, left_map @ u[:, kept]), (right_mean, right_map @ v[kept].T), correlations[kept])


def _whitening(values: Floats, number: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Mean, and a map to components of unit variance; components that hardly vary are left out."""
    # A sum of thousands in float32 is rounded by more than what counts as varying.
    mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = values.std(axis=0, dtype=np.float64).astype(np.float32)
    scale = np.where(varying(deviation, mean), deviation, np.float32(np.inf))
    scaled = (values - mean) / scale
    directions = principal_directions(scaled[rng.permutation(len(scaled))[:_FITTED]], number)
    projected = scaled @ directions
    eigenvalues, axes = np.linalg.eigh(projected.T @ projected / np.float32(len(projected)))
    kept = eigenvalues > 1e-5 * max(float(eigenvalues[-1]), 1e-30)
    rotated = (directions @ axes[:, kept]) / np.sqrt(eigenvalues[kept])
    return mean, rotated / scale[:, None]


def _projected(values: Floats, mean: Floats, projection: Floats) -> Floats:
    return np.clip((values - mean) @ projection, -_CLIP, _CLIP)
