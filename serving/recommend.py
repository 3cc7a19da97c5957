"""How one model version turns a user into a list: vector, candidates, exclusions, and popular videos to fill up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from contracts.messages import RecommendedItem
from serving.retrieval import ExactIndex
from training.packages import LoadedPackage
from training.recommender import TwoTower
from training.requests import scores_of, user_batch

__all__ = ["Query", "Ranker"]

_Step = Literal["ranked", "popular"]


@dataclass(frozen=True)
class Query:
    """What is asked of a version. The champion and the shadow get the very same object."""

    user_id: str
    history: Sequence[str]
    """Videos the user has watched, oldest first; empty where nothing is known."""
    exclude: Sequence[str]
    """Videos not to return, besides those in the history."""
    k: int


class Ranker:
    """One model version, loaded and, where it has item vectors, indexed.

    The chain has two steps, and every item says which supplied it. ``ranked``: the model's own order; its score is
    the inner product of user and item vector, or what a scorer says of the item. ``popular``: the most viewed videos,
    where the model knows nothing of the user (its ``can_score`` says no, as of an unknown user without a history it
    can read) or runs out of items; its score is the number of views.

    Args:
        version: The registered version.
        package: Its package.
    """

    def __init__(self, version: str, package: LoadedPackage) -> None:
        self.version = version
        self.model = package.manifest.model
        self.package = package
        self._device = package.recommender.device
        self._index = None if package.item_vectors is None else ExactIndex(package.item_vectors)
        self._by_views = np.argsort(-package.popularity, kind="stable")

    def rank(self, query: Query) -> list[RecommendedItem]:
        """The ``k`` best videos that the user has not watched and the request does not exclude, best first."""
        banned = self.package.items.rows([*query.history, *query.exclude])
        items = []
        if (best := self._best(query, banned)) is not None:
            rows, scores = best
            items = self._items(rows, scores, "ranked")
            banned = np.concatenate([banned, rows])
        if len(items) < query.k:
            items += self._popular(query.k - len(items), banned)
        return items

    def _best(
        self, query: Query, banned: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]] | None:
        """Item rows and scores, best first, each ``[<= k]``; None where the model has nothing to say about the user."""
        batch = user_batch(self.package, [query.user_id], [list(query.history)]).to(self._device)
        model = self.package.recommender
        with torch.inference_mode():
            if not model.can_score(batch)[0]:
                return None
            if isinstance(model, TwoTower) and self._index is not None:
                vector = model.user_vectors(batch)[0].float().cpu().numpy()
                return self._index.search(vector, query.k, banned)
        scores = scores_of(self.package, batch)[0]
        scores[banned[banned >= 0]] = -np.inf
        rows = np.argsort(-scores, kind="stable")[: query.k]
        rows = rows[np.isfinite(scores[rows])]
        return rows, scores[rows]

    def _popular(self, k: int, banned: npt.NDArray[np.int64]) -> list[RecommendedItem]:
        depth = k + len(banned)
        rows = self._by_views[:depth]
        rows = rows[np.isin(rows, banned, invert=True)][:k]
        return self._items(rows, self.package.popularity[rows], "popular")

    def _items(
        self, rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float32] | npt.NDArray[np.int64], step: _Step
    ) -> list[RecommendedItem]:
        ids = self.package.items.ids(rows)
        return [
            RecommendedItem.model_construct(video_id=video, score=score, step=step)
            for video, score in zip(ids, scores.astype(float).tolist(), strict=True)
        ]
