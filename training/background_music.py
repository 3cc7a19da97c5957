"""What the recommenders of background music have in common: a request is a user and the video to be accompanied.

The letters of feature groups are those of the online appendix (Chen et al., Background Music Recommendation on Short
Video Sharing Platforms, Table C.2). It says nothing of how features are scaled; here each group of several numbers
is brought to length 1, and single numbers, such as the tempo, stay as the training frame has them: with mean 0 and
deviation 1.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn.functional import normalize, softplus

from training.adoptions import Adoptions
from training.batches import UserBatch
from training.config import LearnedConfig
from training.content import ContentScaling, ItemContent
from training.content_recommender import ContentRecommender
from training.learned import LearnedRecommender
from training.recommender import Catalogue

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = [
    "MUSIC_GROUPS",
    "VIDEO_GROUPS",
    "AdoptingRecommender",
    "MusicConfig",
    "MusicRecommender",
    "VideoConfig",
    "VideoRecommender",
    "cross_entropy",
]

VIDEO_GROUPS = {"C": "visual", "T": "textual"}
"""Letter → context of a request: what a CNN sees of the video, and its text."""

MUSIC_GROUPS = {"G": "genre", "L": "language", "M": "mood", "P": "pitch", "T": "tempo", "A": "acoustic"}
"""Letter → modality of the music. The paper has no A: it is for data that have a vector of the sound as well."""


class VideoConfig(LearnedConfig):
    """What every model of background music can be told."""

    batch_size: int = Field(default=256, ge=1)
    """Training pairs per step."""

    negatives: int = Field(default=4, ge=1)
    """Pieces of music drawn against each that was chosen; the appendix does not say how many."""

    video_features: str = Field(default="CT", min_length=1)
    """Groups of the video's features: C (CNN) and T (text)."""

    @field_validator("video_features")
    @classmethod
    def _of_video(cls, letters: str) -> str:
        return _letters(letters, VIDEO_GROUPS)


class MusicConfig(VideoConfig):
    """What those that read the music's features can be told."""

    music_features: str = Field(default="GLMPT", min_length=1)
    """Groups of the music's features: G (genre), L (language), M (mood), P (pitch), T (tempo); A (acoustic)."""

    @field_validator("music_features")
    @classmethod
    def _of_music(cls, letters: str) -> str:
        return _letters(letters, MUSIC_GROUPS)


def cross_entropy(logits: Tensor) -> Tensor:
    """Binary cross-entropy, positives and negatives averaged apart (eqs. B.3 and B.9).

    Args:
        logits: Of B pairs and the K drawn against each, the positive first, ``[B, 1 + K]``.
    """
    return softplus(-logits[:, 0]).mean() + softplus(logits[:, 1:]).mean()


class VideoRecommender(LearnedRecommender):
    """A recommender that reads the video of the request: ``context`` has its vectors, and its number as ``video``.

    A context that a batch lacks counts as zeros, as it does for a video without such a vector. A user without training
    pairs asks as the average of those who have some.
    """

    config: VideoConfig

    def __init__(self, config: VideoConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self._video_widths = _chosen(config.video_features, VIDEO_GROUPS, catalogue.contexts)
        self.video_width = sum(self._video_widths.values())

    def begin(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        wanted = [name for letter, name in VIDEO_GROUPS.items() if letter in self.config.video_features]
        frame.require(type(self).__name__, contexts=wanted)
        super().begin(frame, generator)

    def video_content(self, context: Mapping[str, Tensor], count: int) -> Tensor:
        """Features of the videos of ``count`` requests, of length 1 or zeros, ``[B, video_width]``."""
        parts = [
            normalize(context[name].float(), dim=1)
            if name in context
            else torch.zeros(count, width, device=self.device)
            for name, width in self._video_widths.items()
        ]
        return normalize(torch.cat(parts, dim=1), dim=1)

    def can_score(self, batch: UserBatch) -> Tensor:
        """Whether the user has a training pair or the video has content, bool ``[B]``."""
        return self.is_trained(batch) | self.video_content(batch.context, len(batch)).any(1)

    def users_of(self, table: Tensor, batch: UserBatch) -> Tensor:
        """Rows of a user table ``[U, D]`` for a batch, the mean of the trained ones for other users, ``[B, D]``."""
        known = self.is_trained(batch)
        own = table[batch.rows.clamp(min=0)]
        if known.all():
            return own
        return torch.where(known.unsqueeze(1), own, table[self.user_trained].sum(0) / self.user_trained.sum().clamp(1))


class MusicRecommender(VideoRecommender, ContentRecommender):
    """A recommender that reads the features of video and music; new music is scored by its features alone."""

    config: MusicConfig

    def __init__(self, config: MusicConfig, catalogue: Catalogue) -> None:
        chosen = _chosen(config.music_features, MUSIC_GROUPS, catalogue.widths)
        super().__init__(config, replace(catalogue, widths=dict(sorted(chosen.items()))))

    @property
    def scaling(self) -> ContentScaling:
        return "unit"

    def begin(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        wanted = [name for letter, name in MUSIC_GROUPS.items() if letter in self.config.music_features]
        frame.require(type(self).__name__, modalities=wanted)
        self.content.copy_(self.scaled(frame))
        super().begin(frame, generator)

    def scaled(self, content: ItemContent) -> Tensor:
        vectors = {name: torch.from_numpy(content.modalities[name]).float() for name in self.catalogue.widths}
        parts = [table if table.shape[1] == 1 else normalize(table, dim=1) for table in vectors.values()]
        return torch.cat(parts, dim=1)


class AdoptingRecommender(MusicRecommender):
    """A recommender that also reads which training video took which music."""

    def __init__(self, config: MusicConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.adoptions = Adoptions(self.video_width)

    def begin(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        frame.require(type(self).__name__, contexts=["video"])
        contexts, rows = frame.contexts, frame.train_context
        assert rows is not None, "who has contexts knows those of the training pairs"
        tables = {name: torch.from_numpy(contexts[name][rows]) for name in ("video", *self._video_widths)}
        content = self.video_content({name: table.to(self.device) for name, table in tables.items()}, len(rows))
        self.adoptions.hold(tables["video"].view(-1), content.cpu(), torch.from_numpy(frame.train[:, 1]))
        super().begin(frame, generator)

    def places_of(self, context: Mapping[str, Tensor], count: int) -> Tensor:
        """Where the requested videos are among the training videos, -1 where they are not, int64 ``[B]``."""
        if "video" not in context:
            return torch.full((count,), -1, device=self.device)
        return self.adoptions.places(context["video"].view(-1))


def _letters(letters: str, groups: Mapping[str, str]) -> str:
    if strangers := sorted(set(letters) - groups.keys()):
        known = ", ".join(f"{letter} ({name})" for letter, name in groups.items())
        raise ValueError(f"letters of {known}, not {''.join(strangers)}")
    if len(set(letters)) < len(letters):
        raise ValueError("each letter once")
    return letters


def _chosen(letters: str, groups: Mapping[str, str], widths: Mapping[str, int]) -> dict[str, int]:
    """Name → width of the chosen groups, as far as the data have them, in the order of the groups."""
    return {name: widths[name] for letter, name in groups.items() if letter in letters and name in widths}
