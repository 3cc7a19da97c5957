"""What requests bring: a video that is to get its music, or what a user had posted before listening."""

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from contracts.embeddings import EmbeddingSpec
from feature_repo.frames.content import content_of, matrix_of
from feature_repo.frames.events import Occasions
from feature_repo.frames.lookup import Lookup
from feature_repo.views.catalogue import spec_suffix

__all__ = ["GLOBAL", "RECENT", "Contexts", "context_views", "contexts_of_posts", "contexts_of_videos"]

Contexts = dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]]

GLOBAL = "_global"
RECENT = "_recent"
"""What the names of contexts from posts end in, after the modality."""


def contexts_of_videos(lookup: Lookup, occasions: Occasions, specs: Mapping[str, EmbeddingSpec]) -> Contexts:
    """``video``, the row number, int64 ``[E, 1]``; and each modality of the videos, float32 ``[E, width]``.

    What a video is like stands as of the end of the data (ADR 2); zeros where it has no vector.

    Args:
        lookup: Of the snapshot.
        occasions: The videos.
        specs: Modality → what made its vectors.
    """
    contexts: Contexts = {"video": np.arange(len(occasions.ids))[:, None]}
    found = content_of(lookup, occasions.ids, specs)
    return contexts | {modality: content.values for modality, content in found.items()}


def contexts_of_posts(lookup: Lookup, occasions: Occasions, specs: Mapping[str, EmbeddingSpec]) -> Contexts:
    """``<modality>_global`` and ``<modality>_recent``, float32 ``[E, width]`` (AMAE, section III-D).

    The mean of all that a user had posted, and of what the user had posted in the 24 hours before, by what was known
    one microsecond before the event. The first stands in for the second where nothing was posted in that time; zeros
    where nothing was posted at all.

    Args:
        lookup: Of the snapshot.
        occasions: The users and the instants of their events.
        specs: Modality → what made the vectors of posts.
    """
    contexts: Contexts = {}
    for spec in specs.values():  # one by one: answers are as long as there are events
        views = context_views("posts", [spec])
        asked = [f"{view}:vector" for view in views.values()]
        found = lookup.at("user_id", occasions.ids, occasions.times - 1, asked)
        for name, view in views.items():
            contexts[name] = matrix_of(found[f"{view}__vector"], spec.width).values
    return contexts


def context_views(brought: Literal["video", "posts"] | None, specs: Iterable[EmbeddingSpec]) -> dict[str, str]:
    """Context → the feature view whose vectors it is made of, offline and online; none where nothing is brought.

    Args:
        brought: What a request brings, as :class:`feature_repo.services.Ranking` says.
        specs: What made the vectors; those of other entities are passed over.
    """
    views: dict[str, str] = {}
    for spec in specs:
        if brought == "video" and spec.entity == "video":
            views[spec.modality] = spec.view
        elif brought == "posts" and spec.entity == "post":
            views[spec.modality + GLOBAL] = f"user_social_{spec_suffix(spec)}"
            views[spec.modality + RECENT] = f"user_context_{spec_suffix(spec)}"
    return views
