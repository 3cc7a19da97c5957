"""Neighbourhood models: people who saw the same, things seen by the same people; cosine with shrinkage.

User-kNN as Herlocker et al. (SIGIR 1999), item-kNN as Deshpande and Karypis (TOIS 2004), on implicit feedback. Two
rows of the interaction matrix are as similar as the number of ones that they share over (sqrt(a) sqrt(b) + shrinkage),
where a and b are their numbers of ones: what rests on few interactions counts less.
"""

import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import embedding_bag

from training.batches import UserBatch
from training.config import RecommenderConfig
from training.evaluation import evaluate
from training.histories import Histories
from training.protocols import FULL_20, Protocol, validation_of
from training.recommender import Catalogue, EpochReport, FitReport, OnEpoch, Recommender

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["ItemKnn", "KnnConfig", "UserKnn"]

_CELLS = 1 << 24
"""Numbers held at once while scoring, 64 MiB."""

_ROWS = 1024
"""Items compared with all others at a time."""


class KnnConfig(RecommenderConfig):
    """Options of both neighbourhood models."""

    neighbours: int = Field(default=100, ge=1)
    """Most similar rows that count."""

    shrinkage: float = Field(default=10.0, ge=0)
    """Added to the denominator of the cosine."""


class _Knn(Recommender):
    """Nothing to learn, so nothing to choose an epoch of."""

    config: KnnConfig

    def __init__(self, config: KnnConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.histories = Histories(catalogue.users, catalogue.items)
        self.register_buffer("views", torch.zeros(catalogue.items, dtype=torch.int64))
        self.views: Tensor
        self._last: tuple[UserBatch, Tensor] | None = None

    def fit(
        self,
        frame: "TrainingFrame",
        *,
        seed: int,
        on_epoch: OnEpoch | None = None,
        protocol: Protocol = FULL_20,
        checkpoint: Path | None = None,
    ) -> FitReport:
        """Count; nothing is random, so the seed changes nothing."""
        started = time.perf_counter()
        self._last = None
        self.histories.take(frame.train)
        self.views.copy_(torch.from_numpy(np.bincount(frame.train[:, 1], minlength=self.catalogue.items)))
        self.compare(frame.train)
        validation = evaluate(self, frame, validation_of(frame), protocol)
        if on_epoch is not None:
            on_epoch(EpochReport(epoch=1, losses={}, validation=validation))
        return FitReport(
            epochs=0, best_epoch=0, validation=validation, losses={}, seconds=time.perf_counter() - started
        )

    def compare(self, pairs: npt.NDArray[np.int64]) -> None:
        """Work out what does not depend on the request."""

    def can_score(self, batch: UserBatch) -> Tensor:
        """Whether each user has seen something that somebody saw in training, bool ``[B]``."""
        row, item = self.histories.of(batch)
        return torch.bincount(row[self.views[item] > 0], minlength=len(batch)) > 0

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._last = None
        self.histories.make_room(state, "histories")
        super().load_state(state)

    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        # Whoever ranks all items asks for some at a time about the same users, and neighbours do for all items at once.
        if self._last is None or self._last[0] is not batch:
            size = max(1, _CELLS // self._cells())
            chunks = zip(torch.split(batch.rows, size), torch.split(batch.history, size), strict=True)
            self._last = batch, torch.cat([self._all(UserBatch(rows, history)) for rows, history in chunks])
        scores = self._last[1]
        if items is None:
            return scores
        return scores[:, items] if items.dim() == 1 else scores.gather(1, items)

    @abstractmethod
    def _all(self, batch: UserBatch) -> Tensor:
        """Scores of all items, ``[B, N]``."""

    @abstractmethod
    def _cells(self) -> int:
        """About how many numbers scoring one user takes."""


class UserKnn(_Knn):
    """score(u, i) = sum of the similarities of those among u's neighbours who have seen i.

    The neighbours are found when they are asked for, among all users known to training: whoever brings a history is
    answered, and by all of it.
    """

    def _all(self, batch: UserBatch) -> Tensor:
        row, item = self.histories.of(batch)
        users, items = self.catalogue.users, self.catalogue.items
        counts = self.histories.counts(torch.arange(users, device=row.device))
        own = torch.bincount(row, minlength=len(batch))
        indicator = torch.zeros(items, len(batch), device=row.device)
        indicator[item, row] = 1
        shared = embedding_bag(self.histories.items, indicator, self.histories.starts[:-1], mode="sum").T
        similarity = shared / _norm(own.unsqueeze(1), counts, self.config.shrinkage)
        known = batch.rows >= 0
        similarity[known.nonzero().squeeze(1), batch.rows[known]] = 0  # Nobody is their own neighbour.
        # A stable sort, so that among equals the same ones are taken on every machine.
        weight, neighbour = similarity.sort(dim=1, descending=True, stable=True)
        weight, neighbour = weight[:, : self.config.neighbours], neighbour[:, : self.config.neighbours]
        near = weight > 0
        place, item = self.histories.of(UserBatch(neighbour[near], neighbour.new_zeros(int(near.sum()), 0)))
        cells = near.nonzero()[:, 0][place] * items + item
        scores = torch.zeros(len(batch) * items, device=row.device)
        return scores.index_add_(0, cells, weight[near][place]).view(len(batch), items)

    def _cells(self) -> int:
        users, items = self.catalogue.users, self.catalogue.items
        average = len(self.histories.items) // max(1, users) + 1
        return 4 * users + 2 * items + 4 * min(self.config.neighbours, users) * average


class ItemKnn(_Knn):
    """score(u, i) = sum of the similarities to i of those items in u's history that have i among their neighbours."""

    def __init__(self, config: KnnConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        width = min(config.neighbours, catalogue.items)
        self.register_buffer("neighbours", torch.zeros(catalogue.items, width, dtype=torch.int64))
        self.register_buffer("similarities", torch.zeros(catalogue.items, width))
        self.neighbours: Tensor
        self.similarities: Tensor

    def compare(self, pairs: npt.NDArray[np.int64]) -> None:
        """The most similar items of each item; unused places have similarity 0."""
        shape = (self.catalogue.users, self.catalogue.items)
        seen = sp.csr_array((np.ones(len(pairs), dtype=np.float32), (pairs[:, 0], pairs[:, 1])), shape=shape)
        views, by_item = np.bincount(pairs[:, 1], minlength=shape[1]), seen.T.tocsr()
        self.neighbours.zero_()
        self.similarities.zero_()
        for start in range(0, shape[1], _ROWS):
            shared = (by_item[start : start + _ROWS] @ seen).tocoo()
            row, column = shared.row.astype(np.int64), shared.col.astype(np.int64)
            norm = np.sqrt(views[row + start]) * np.sqrt(views[column]) + self.config.shrinkage
            similarity = np.where(row + start == column, 0, shared.data / norm).astype(np.float32)
            order = np.lexsort((column, -similarity, row))
            first = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=_ROWS))])[:-1]
            rank = np.arange(len(order)) - first[row[order]]
            order, rank = order[rank < self.neighbours.shape[1]], rank[rank < self.neighbours.shape[1]]
            cell = (torch.from_numpy(row[order] + start), torch.from_numpy(rank))
            self.neighbours[cell] = torch.from_numpy(column[order]).to(self.device)
            self.similarities[cell] = torch.from_numpy(similarity[order]).to(self.device)

    def _all(self, batch: UserBatch) -> Tensor:
        row, item = self.histories.of(batch)
        items = self.catalogue.items
        cells = row.unsqueeze(1) * items + self.neighbours[item]
        scores = torch.zeros(len(batch) * items, device=row.device)
        return scores.index_add_(0, cells.flatten(), self.similarities[item].flatten()).view(len(batch), items)

    def _cells(self) -> int:
        average = len(self.histories.items) // max(1, self.catalogue.users) + 1
        return self.catalogue.items + 4 * average * self.neighbours.shape[1]


def _norm(a: Tensor, b: Tensor, shrinkage: float) -> Tensor:
    return a.clamp(min=1).sqrt() * b.clamp(min=1).sqrt() + shrinkage
