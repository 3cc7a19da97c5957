"""What a request brings beside the user: the video that is to get its music, or what the user has posted."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from contracts.manifest import ModelManifest
from contracts.vocabulary import UNKNOWN, Vocabulary
from feature_repo.frames.contexts import context_views
from feature_repo.services import ranking_of

__all__ = ["Brings", "Context", "RequestContexts", "views_of_manifest"]

Context = Mapping[str, tuple[float, ...]]
"""Feature view → the vector that it had for the request; no entry where it had none."""

_NUMBER = "video"
"""The context that is no vector of a view: where a video stands among those of the version's data."""


class _Vectors(Protocol):
    def matrices(
        self, views: Collection[str], ids: Sequence[str], moment: datetime | None = None
    ) -> dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]: ...


class RequestContexts:
    """Reads it from the online store, for all versions of a surface at once.

    Args:
        features: The online store.
        views: Gives the views that the versions want; they grow as versions come.
    """

    def __init__(self, features: _Vectors, views: Callable[[], Collection[str]]) -> None:
        self._features = features
        self._views = views

    @property
    def wanted(self) -> bool:
        """Whether a version wants any."""
        return bool(self._views())

    def read(self, ids: Sequence[str], moment: datetime | None = None) -> list[Context]:
        """What the views have now for users, or for the videos that requests name, all of one snapshot.

        A view that the store does not have, as it is of another encoder than is served now, has nothing.

        Args:
            ids: One of each request; they may repeat.
            moment: Where windows end; now if None.

        Raises:
            ServiceUnavailable: The online store does not answer.
        """
        contexts: list[dict[str, tuple[float, ...]]] = [{} for _ in ids]
        for view, (matrix, present) in sorted(self._features.matrices(self._views(), ids, moment).items()):
            for row in np.flatnonzero(present).tolist():
                contexts[row][view] = tuple(matrix[row].tolist())
        return list(contexts)


class Brings:
    """Turns what requests bring into the contexts that a version was fitted with.

    Args:
        widths: Context → number of its components.
        views: Context → the view that it comes from.
        videos: Numbers of the videos of the version's data; all are strangers if None.
    """

    def __init__(self, widths: Mapping[str, int], views: Mapping[str, str], videos: Vocabulary | None = None) -> None:
        self._views = dict(views)
        self._nothing = {view: (0.0,) * widths[name] for name, view in views.items()}
        self._numbers = _NUMBER in widths
        self._videos = videos

    @classmethod
    def of_manifest(cls, manifest: ModelManifest, videos: Vocabulary | None = None) -> "Brings":
        """What a package says that it was fitted with."""
        return cls(manifest.contexts, views_of_manifest(manifest), videos)

    def of(self, contexts: Sequence[Context], video_ids: Sequence[str | None]) -> list[dict[str, Sequence[float]]]:
        """Contexts of B requests; zeros, as in training, where a view had nothing."""
        if not self._views and not self._numbers:
            return [{} for _ in contexts]
        made: list[dict[str, Sequence[float]]] = [
            {name: given.get(view, self._nothing[view]) for name, view in self._views.items()} for given in contexts
        ]
        if self._numbers:
            for row, number in zip(made, self._numbers_of(video_ids), strict=True):
                row[_NUMBER] = (number,)
        return made

    def _numbers_of(self, video_ids: Sequence[str | None]) -> list[int]:
        if self._videos is None:
            return [UNKNOWN] * len(video_ids)
        numbers: list[int] = self._videos.rows([video or "" for video in video_ids]).tolist()
        return numbers


def views_of_manifest(manifest: ModelManifest) -> dict[str, str]:
    """Context → the view that it comes from, of the contexts that a version was fitted with."""
    views = context_views(ranking_of(manifest.feature_service).context, manifest.embedding_specs.values())
    return {name: views[name] for name in manifest.contexts if name in views}
