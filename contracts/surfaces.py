"""Registered models, lifecycle aliases and the MLflow tags that carry our facts.

Training writes these tags, the registry reads them; neither imports the other.
"""

from types import MappingProxyType
from typing import Final, Literal

__all__ = [
    "ALIASES",
    "BACKGROUND_MUSIC",
    "DATA_SURFACE",
    "EXPERIMENT",
    "MUSIC",
    "OTHER_STUDY",
    "OWN_STUDY",
    "PACKAGE_ARTIFACT",
    "PRIMARY_METRICS",
    "SURFACES",
    "VIDEO_FEED",
    "Surface",
    "Tag",
]

Surface = Literal["video-feed", "background-music", "music"]
"""Name of a surface."""

VIDEO_FEED: Final = "video-feed"
BACKGROUND_MUSIC: Final = "background-music"
MUSIC: Final = "music"

SURFACES: Final = MappingProxyType(
    {
        VIDEO_FEED: "which videos for this user?",
        BACKGROUND_MUSIC: "which music for this video by this user?",
        MUSIC: "which music for this user, now, given what they posted?",
    }
)
"""Surface name → the question it answers. A surface is one registered model in MLflow."""

DATA_SURFACE: Final = "data"
"""What the audit log has as the surface of decisions about data; their version is the id of a snapshot."""

ALIASES: Final = ("champion", "challenger", "shadow")

EXPERIMENT: Final = "backbeat"
"""MLflow experiment that holds training runs."""

PACKAGE_ARTIFACT: Final = "package"
"""Artifact path of the model package inside its run."""

PRIMARY_METRICS: Final = MappingProxyType(
    {
        VIDEO_FEED: "validation_recall_at_20",
        BACKGROUND_MUSIC: "validation_hr_at_10",
        MUSIC: "validation_hr_at_10",
    }
)
"""Surface → what its versions are selected and gated on. Never a test metric."""


OWN_STUDY: Final = "own"
"""Value of :attr:`Tag.STUDY`: judged as the surface's versions are, on the snapshot's own split."""
OTHER_STUDY: Final = "other"
"""Likewise: on another cut of the events or by another protocol, as a paper's table asks; no rival of the former."""


class Tag:
    """Keys of the tags on runs and model versions."""

    MODEL: Final = "backbeat.model"
    VARIANT: Final = "backbeat.variant"
    SURFACE: Final = "backbeat.surface"
    SNAPSHOT: Final = "backbeat.snapshot"
    FEATURE_SERVICE: Final = "backbeat.feature_service"
    VALIDATION_REPORT: Final = "backbeat.validation_report"
    PROTOCOL: Final = "backbeat.protocol"
    CODE_REVISION: Final = "backbeat.code_revision"
    TRAINING_KEY: Final = "backbeat.training_key"
    PACKAGE_SHA256: Final = "backbeat.package_sha256"
    STATE: Final = "backbeat.state"
    SEED: Final = "backbeat.seed"
    STUDY: Final = "backbeat.study"
    AUTHOR: Final = "backbeat.author"
