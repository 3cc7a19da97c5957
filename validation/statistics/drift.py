"""Do new items' vectors come from where the accepted ones come from? A two-sample test in linear time."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from validation.statistics.features import feature_maps
from validation.statistics.permutation import Contrast, block_means, block_size, contrast_blocks
from validation.statistics.profile import Profile
from validation.statistics.sampling import NEW_SAMPLE

__all__ = ["FLOORS", "LEAST_NEW", "LEAST_REFERENCE", "Drift", "drift"]

Floats = npt.NDArray[np.float32]

LEAST_NEW = 20
"""Fewer new rows cannot say anything at the p-values that are asked for."""
LEAST_REFERENCE = 60
"""Nor can fewer rows of the accepted snapshot."""
_ROWS = 4096
_ROWS = 4096
_ANCHORS = 768
_TABLE_FLOOR = 0.03

FLOORS: Mapping[str, float] = {
    "mean": 0.5,
    "spread": 0.15,
    "dimension": 0.8,
    "structure": 0.15,
    "distribution": 0.2,
    "norm": 0.5,
    "strangers": 0.3,
}
"""Effect among the new items, in standard deviations, from which on it matters however few they are."""


@dataclass(frozen=True)
class Drift:
    """How the vectors of new items differ from those of the accepted snapshot."""

    p_values: dict[str, float]
    """Test → p-value, corrected over the tests of this view, not over the views.

    ``mean`` and ``spread`` of all dimensions, ``dimension`` (the one whose mean or spread differs most), ``structure``
    (spread along principal components and random directions), ``distribution`` (MMD on random Fourier features),
    ``norm``, ``strangers`` (distance to the nearest of the reference, and energy outside of the principal components).
    """
    effects: dict[str, float]
    """Test → size in standard deviations of the feature that it compares, without what chance adds."""
    reference: int
    new: int
    """Rows that were compared."""
    share: float
    """Share of the table's items that are new."""
    items: list[tuple[str, float]]
    """Up to 20 new items farthest from all of the reference; distance over the reference's own median."""

    @property
    def p_value(self) -> float:
        """One for the whole view: of the tests whose effect matters the least, 1 where none does.

        The chance that it is at most p when nothing has changed is at most p.
        """
        severities = self.severities
        return min((p for name, p in self.p_values.items() if severities[name] >= 1), default=1.0)

    @property
    def severities(self) -> dict[str, float]:
        """Test → its effect over what matters: from 1 on it does.

        What matters is 0.03 standard deviations of the whole table, or ``FLOORS`` among the new items.
        """
        return {name: e / min(FLOORS[name], _TABLE_FLOOR / self.share) for name, e in self.effects.items()}


def drift(before: Profile, now: Profile, seed: int) -> Drift | None:
    """Compare the vectors of items that ``before`` did not know with those of ``before``.

    Both sides are at most 4,096 rows, of the sample of ``before`` and of what ``now`` has at hand, so time does not
    grow with the table.

    Returns:
        None where there are fewer than 20 new items at hand, or fewer than 60 before.

    Raises:
        BadInput: The vectors have different widths.
    """
    now.require_width_of(before)
    known = pc.is_in(now.ids, value_set=before.ids).to_numpy(zero_copy_only=False)
    at_hand, vectors = now.at_hand()
    rng = np.random.default_rng(seed)
    fresh = rng.permutation(np.flatnonzero(~known[at_hand]))[:NEW_SAMPLE]
    new = at_hand[fresh]
    old = rng.permutation(len(before.sample))
    if len(fresh) < LEAST_NEW or len(old) < LEAST_REFERENCE:
        return None
    anchors = min(_ANCHORS, len(old) // 4)
    chosen, anchor_rows = old[anchors : anchors + _ROWS], old[:anchors]
    size = block_size(len(fresh), len(chosen))
    # Beyond some 20 times the new rows, more of the reference makes the test slower and hardly sharper.
    chosen = chosen[: max(20 * len(fresh), 1024)]
    rows = np.concatenate([vectors[fresh], before.sample[chosen]])
    old_norms = before.norms[before.sample_rows]
    norms = np.concatenate([now.norms[new], old_norms[chosen]])
    features, distance = feature_maps(rows, norms, before.sample[anchor_rows], old_norms[anchor_rows], rng)
    blocks = {name: block_means(values, len(fresh), size) for name, values in features.items()}
    contrasts = contrast_blocks(blocks, {"dimension": ("mean", "spread")}, len(fresh) // size, rng)
    return _result(contrasts, distance, now, new, len(chosen), float(1 - known.mean()))


def _result(
    contrasts: Mapping[str, Contrast],
    distance: Floats,
    now: Profile,
    new: npt.NDArray[np.int64],
    reference: int,
    share: float,
) -> Drift:
    typical = float(np.median(distance[len(new) :])) or 1.0
    farthest = np.argsort(-distance[: len(new)], kind="stable")[:20]
    names = now.ids.take(pa.array(new[farthest])).to_pylist()
    return Drift(
        p_values={name: contrast.p_value for name, contrast in contrasts.items()},
        effects={name: contrast.effect for name, contrast in contrasts.items()},
        reference=reference,
        new=len(new),
        share=share,
        items=[(name, float(distance[row]) / typical) for name, row in zip(names, farthest, strict=True)],
    )
