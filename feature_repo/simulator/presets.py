"""Sizes after the tables of the five systems' papers."""

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.errors import BadInput, unknown_name

__all__ = ["PRESETS", "Preset", "scaled"]


@dataclass(frozen=True)
class Preset:
    """One paper's statistics, and what its table leaves open."""

    source: str
    """Paper and table."""
    counts: Mapping[str, int]
    """Sizes that grow with the scale: at scale 1 those of the table where it has them."""
    fixed: Mapping[str, float]
    """Settings that do not: days, minima per user and shares."""
    scale: float = 1.0
    """Scale if none is asked for."""


PRESETS = {
    "amae": Preset(
        source="AMAE, Table I: users, music tracks, user-music interactions, tweets with texts, images, short videos",
        counts={
            "users": 163_329, "music": 34_140, "listens": 17_826_932, "posts": 45_276_160,
            "videos": 40_000, "events": 1_600_000, "follows": 1_600_000,
        },
        fixed={
            "days": 212, "least_listens": 10, "least_posts": 10, "post_text": 41_136_288 / 45_276_160,
            "post_images": 40_112_483 / 45_276_160, "post_video": 7_489_903 / 45_276_160,
        },
        scale=0.01,
    ),
    "bgm": Preset(
        source="DL-BGM, online appendix, Table E.1 at threshold 10: videos, music clips, users",
        counts={
            "users": 16_559, "music": 1_717, "videos": 323_843,
            "events": 330_000, "posts": 16_559, "listens": 50_000, "follows": 130_000,
        },
        fixed={"days": 90, "least_videos": 10},
        scale=0.2,
    ),
    "m3csr": Preset(
        source="M3CSR, Table 1, Tiktok: users, items, interactions",
        counts={
            "users": 9_319, "videos": 6_710, "events": 59_541,
            "music": 2_000, "posts": 9_319, "listens": 9_319, "follows": 70_000,
        },
        fixed={"days": 28, "least_events": 1},
    ),
    "mmm": Preset(
        source="MMM, section 4.1: users, micro-videos, interactions over a year, five records or more per user",
        counts={
            "users": 9_412, "videos": 19_058, "events": 109_433,
            "music": 2_000, "posts": 9_412, "listens": 9_412, "follows": 90_000,
        },
        fixed={"days": 365, "least_events": 5},
    ),
    "iris": Preset(
        source="Multimodal IRIS, Table 1, MovieLens: users, items, interactions; twenty or more per user",
        counts={
            "users": 6_040, "videos": 3_685, "events": 998_034,
            "music": 1_000, "posts": 6_040, "listens": 6_040, "follows": 50_000,
        },
        fixed={"days": 365, "least_events": 20},
    ),
    "small": Preset(
        source="no paper: for a first look and for tests",
        counts={
            "users": 200, "videos": 150, "events": 2_500, "music": 80, "posts": 1_000, "listens": 1_200, "follows": 900,
        },
        fixed={"days": 14},
    ),
}  # fmt: skip
"""Name → sizes. What a table does not state (views of a data set about music, say) is kept small. At a
small scale ``iris`` asks for more views than a quarter of the pairs and is refused: views per user stay, videos do
not."""


def scaled(name: str, scale: float | None = None) -> dict[str, float]:
    """The numbers of a preset, its counts times a scale: counts per user stay those of the paper.

    Args:
        name: One of ``PRESETS``.
        scale: Factor, above 0 and up to 1; the preset's own if None.

    Raises:
        NotFound: There is no preset of that name.
        BadInput: The scale is out of range.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS, next_step="use one of those names")
    preset = PRESETS[name]
    factor = preset.scale if scale is None else scale
    if not 0 < factor <= 1:
        raise BadInput("option --scale", found=factor, expected="above 0 and up to 1", next_step="choose another")
    return {key: round(factor * count) for key, count in preset.counts.items()} | dict(preset.fixed)
