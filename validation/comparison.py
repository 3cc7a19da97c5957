"""Holding tables of vectors against the accepted ones, and modalities against each other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from contracts.tables import EMBEDDING_PREFIX
from validation.material import MARGIN, Material
from validation.statistics.crossmodal import LEAST_DROP, Margin, margin
from validation.statistics.drift import Drift, drift
from validation.statistics.paired import Paired, compare
from validation.statistics.permutation import holm
from validation.statistics.profile import Profile

__all__ = ["ALPHA", "DRIFT", "Comparison", "compare_tables"]

ALPHA = 2e-3
"""Family-wise error rate of all tests of a run together."""
DRIFT = "drift"
_SEED = 0
_SAME_ITEM = (("visual", "acoustic"), ("visual", "textual"), ("acoustic", "textual"), ("post_visual", "post_textual"))
_WITH_MUSIC = (("visual", "music_acoustic"), ("acoustic", "music_acoustic"), ("textual", "music_acoustic"))
"""Pairs of names: two modalities of one item, and those of a video with its own music."""


@dataclass(frozen=True)
class Comparison:
    """One table of vectors, compared."""

    paired: Paired | None = None
    """The items that both have; None without an accepted table of the spec."""
    drift: Drift | None = None
    """The items that only this one has; None where they are too few to say."""
    margins: Mapping[str, Margin] = field(default_factory=dict)
    """Name of another modality → how the two go together."""
    p_values: Mapping[str, float] = field(default_factory=dict)
    """``DRIFT``, and the name of another modality for new items' pairs, → p-value, corrected over all tests of the run;
    1 where the difference is too small to matter."""

    @property
    def statistics(self) -> dict[str, float]:
        """What is kept of it, for later snapshots to learn from; only what was measured."""
        found: dict[str, float] = {}
        if self.paired is not None:
            names = ("changed_share", "moved_share", "neighbour_overlap", "shift")
            found |= {name: getattr(self.paired, name) for name in names} | {"common": float(self.paired.common)}
        found |= {MARGIN + name: margin.value for name, margin in self.margins.items()}
        return {name: value for name, value in found.items() if value == value}


class _Test(NamedTuple):
    table: str
    what: str


def compare_tables(material: Material, profiles: Mapping[str, Profile]) -> dict[str, Comparison]:
    """Compare every table of vectors with the accepted one of its spec, and with those of other modalities.

    Args:
        material: What is judged.
        profiles: Table → what was measured of it.

    Returns:
        One for each table; p-values are corrected over all of them.
    """
    before = {} if material.baseline is None else material.baseline.profiles
    known = {table: before.get(material.spec(table).digest) for table in profiles}
    drifts = {t: drift(old, profiles[t], _SEED) for t, old in known.items() if old is not None}
    margins: dict[str, dict[str, Margin]] = {table: {} for table in profiles}
    for left, right, pairs in _pairings(material, profiles):
        olds = known[left], known[right]
        both = (olds[0], olds[1]) if olds[0] is not None and olds[1] is not None else None
        found = margin(profiles[left], profiles[right], both, pairs, _SEED)
        if found is not None:
            margins[left][right.removeprefix(EMBEDDING_PREFIX)] = found
    corrected = _corrected(drifts, margins)
    return {
        table: Comparison(
            paired=compare(old, profiles[table]) if old is not None else None,
            drift=drifts.get(table),
            margins=margins[table],
            p_values={test.what: p for test, p in corrected.items() if test.table == table},
        )
        for table, old in known.items()
    }


def _pairings(
    material: Material, profiles: Mapping[str, Profile]
) -> Iterator[tuple[str, str, tuple[pa.Array, pa.Array] | None]]:
    for left, right in _SAME_ITEM:
        if {EMBEDDING_PREFIX + left, EMBEDDING_PREFIX + right} <= set(profiles):
            yield EMBEDDING_PREFIX + left, EMBEDDING_PREFIX + right, None
    for left, right in _WITH_MUSIC:
        if {EMBEDDING_PREFIX + left, EMBEDDING_PREFIX + right} <= set(profiles):
            videos = material.rows("videos")
            with_music = videos.filter(videos["music_id"].is_valid())
            pairs = with_music["video_id"].combine_chunks(), with_music["music_id"].combine_chunks()
            yield EMBEDDING_PREFIX + left, EMBEDDING_PREFIX + right, pairs


def _corrected(drifts: Mapping[str, Drift | None], margins: Mapping[str, Mapping[str, Margin]]) -> dict[_Test, float]:
    """One p-value per view and pair, corrected for their number; tests within a view are corrected for by the view."""
    tests = {_Test(table, DRIFT): found.p_value for table, found in drifts.items() if found is not None}
    for table, with_others in margins.items():
        for name, found in with_others.items():
            if found.p_value is not None:
                tests[_Test(table, name)] = found.p_value if found.drop >= LEAST_DROP else 1.0
    return holm(tests)
