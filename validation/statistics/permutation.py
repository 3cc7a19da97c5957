"""Permutation tests of two groups of rows: blocks of rows are exchanged, sequentially, over many statistics at once."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["PERMUTATIONS", "Contrast", "block_means", "block_size", "contrast_blocks", "holm"]

Floats = npt.NDArray[np.float32]
Key = TypeVar("Key", bound=Hashable)

PERMUTATIONS = 19_999
"""At most so many exchanges of labels: the least p-value is 1 over one more, 5e-5."""
_EXCEEDANCES = 10
_CALIBRATION = 200
_BLOCKS = 192
_LEAST_BLOCKS = 20


@dataclass(frozen=True)
class Contrast:
    """How two groups of blocks differ in one set of features."""

    p_value: float
    """Corrected for all the statistics that were tested together (Westfall & Young 1993, single step)."""
    effect: float
    """Root mean square (or, of a peak, the largest) difference of the features' means, less what chance makes of it."""


def block_size(new: int, reference: int) -> int:
    """Rows in a block: some 200 blocks in all, and no fewer than 20 of the smaller group."""
    return max(1, min((new + reference) // _BLOCKS, min(new, reference) // _LEAST_BLOCKS))


def block_means(features: Floats, new: int, size: int) -> Floats:
    """Means over blocks of ``size`` rows; rows that fill no block are left out.

    Args:
        features: ``[rows, n]``, the ``new`` rows first, each group in random order.

    Returns:
        ``[new // size + (rows - new) // size, n]``, blocks of new rows first.
    """
    groups = (features[:new], features[new:])
    parts = [part[: len(part) // size * size].reshape(-1, size, features.shape[1]).mean(axis=1) for part in groups]
    return np.concatenate(parts)


def contrast_blocks(
    blocks: Mapping[str, Floats], peaks: Mapping[str, tuple[str, ...]], new: int, rng: np.random.Generator
) -> dict[str, Contrast]:
    """Test whether the first ``new`` blocks come from where the others come from.

    Under the null hypothesis rows are exchangeable between the groups. Blocks hold equally many rows, drawn into them
    at random within each group, so an exchange of blocks is an exchange of rows and block means are exchangeable too:
    every labelling of the blocks is equally likely given their values, and the test is exact at any number of rows,
    for any distribution and any statistic, as long as the features are a symmetric function of the pooled rows (or do
    not depend on them). A statistic is the sum of squared differences of the means (of random Fourier features: the
    MMD of Gretton et al. 2012) or their largest square. Their cube roots, near normal by Wilson & Hilferty, are scaled
    by labellings drawn for that alone, which are exchangeable with those that are compared; what is compared is the
    largest of all statistics. Sampling stops at the tenth labelling that is as extreme as what was observed, which
    keeps the p-values exact (Besag & Clifford 1991): a clean comparison takes a few dozen labellings.

    Args:
        blocks: Name of a statistic → features ``[blocks, n]``, all with the same blocks.
        peaks: Name of a further statistic → names of the features whose largest difference it is.
        new: Blocks of the new group, which come first.

    Returns:
        A contrast for each name.
    """
    tests = _Statistics(blocks, peaks, new)
    chance = np.cbrt(tests.of(tests.labels(_CALIBRATION, rng)))
    centre, scale = chance.mean(axis=0), chance.std(axis=0)
    usable = scale > 1e-6 * np.maximum(centre, 1e-12)
    scale[~usable] = np.inf
    raw = tests.of(tests.observed())[0]
    found = (np.cbrt(raw) - centre) / scale

    maxima = np.empty(0)
    batch = 128
    while len(maxima) < PERMUTATIONS and (maxima >= found.max() - 1e-5).sum() < _EXCEEDANCES:
        labels = tests.labels(min(batch, PERMUTATIONS - len(maxima)), rng)
        maxima = np.append(maxima, ((np.cbrt(tests.of(labels)) - centre) / scale).max(axis=1))
        batch = min(2 * batch, 2048)
    effects = np.sqrt(np.maximum(raw - (chance**3).mean(axis=0), 0) / tests.divisors)
    return {
        name: Contrast(_sequential_p(maxima >= z - 1e-5) if ok else 1.0, float(effect))
        for name, z, ok, effect in zip(tests.names, found, usable, effects, strict=True)
    }


class _Statistics:
    """Squared differences of means under any labelling, by one matrix product per set of features."""

    def __init__(self, blocks: Mapping[str, Floats], peaks: Mapping[str, tuple[str, ...]], new: int) -> None:
        self.names = [*blocks, *peaks]
        self.divisors = np.array([values.shape[1] for values in blocks.values()] + [1] * len(peaks))
        self._peaks = peaks
        self._peaking = {name for members in peaks.values() for name in members}
        self._values = {
            name: values if name in self._peaking else _compressed(values)
            for name, values in ((name, values - values.mean(axis=0)) for name, values in blocks.items())
        }
        self._total, self._new = len(next(iter(blocks.values()))), new

    def observed(self) -> Floats:
        return (np.arange(self._total) < self._new).astype(np.float32)[None]

    def labels(self, number: int, rng: np.random.Generator) -> Floats:
        chosen = np.argpartition(rng.random((number, self._total), dtype=np.float32), self._new - 1, axis=1)
        labels = np.zeros((number, self._total), dtype=np.float32)
        np.put_along_axis(labels, chosen[:, : self._new], np.float32(1), axis=1)
        return labels

    def of(self, labels: Floats) -> npt.NDArray[np.float64]:
        """Statistics ``[labellings, names]``. Values are centred, so one group's sum tells the difference of means."""
        scale = np.float32(1 / self._new + 1 / (self._total - self._new))
        sums, largest = [], {}
        for name, values in self._values.items():
            gaps = labels @ (values * scale)
            sums.append(np.einsum("ij,ij->i", gaps, gaps))
            if name in self._peaking:
                largest[name] = np.square(np.maximum(gaps.max(axis=1), -gaps.min(axis=1)))
        tops = [np.max([largest[name] for name in members], axis=0) for members in self._peaks.values()]
        return np.stack([*sums, *tops], axis=1).astype(np.float64)


def _compressed(values: Floats) -> Floats:
    """The same inner products between blocks in no more columns than there are blocks."""
    if values.shape[1] <= len(values):
        return values
    eigenvalues, vectors = np.linalg.eigh(values @ values.T)
    columns: Floats = vectors * np.sqrt(np.maximum(eigenvalues, 0))
    return columns


def _sequential_p(exceeding: npt.NDArray[np.bool_]) -> float:
    """The p-value of Besag & Clifford: exceedances over labellings drawn until there are ten of them."""
    hits = np.flatnonzero(exceeding)
    if len(hits) >= _EXCEEDANCES:
        return float(_EXCEEDANCES / (hits[_EXCEEDANCES - 1] + 1))
    return float((len(hits) + 1) / (len(exceeding) + 1))


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """P-values corrected for their number (Holm 1979): below alpha, the family-wise error rate is alpha."""
    adjusted: dict[Key, float] = {}
    worst = 0.0
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[key]))
        adjusted[key] = worst
    return adjusted
