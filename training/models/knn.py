"""Neighbourhood models: people who saw the same, things seen by the same people.

User-kNN as Herlocker et al. (SIGIR 1999), item-kNN as Deshpande and Karypis (TOIS 2004), on implicit feedback. Two rows
of the interaction matrix are as similar as the ones that they share, over a^p b^q + shrinkage, where a and b are their
numbers of ones: the cosine for p = q = 1/2, one-sided as in Aiolli (RecSys 2013) else. Few interactions say little of
anybody's neighbours, so that popularity decides what they leave open.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import embedding_bag

from training.batches import UserBatch
from training.config import RecommenderConfig
from training.counting import CountingRecommender
from training.histories import Histories
from training.recommender import Catalogue
from training.spaces import Floats, Ints

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["ItemKnn", "ItemKnnConfig", "KnnConfig", "UserKnn", "UserKnnConfig"]

_CELLS = 1 << 24
"""Numbers held at once while scoring, 64 MiB."""

_ROWS = 1024
"""Items compared with all others at a time."""


class KnnConfig(RecommenderConfig):
    """Options of both neighbourhood models."""

    neighbours: Annotated[int, Ints(10, 2000, log=True)] = Field(default=100, ge=1)
    """Most similar rows that count."""

    shrinkage: Annotated[float, Floats(0.0, 100.0)] = Field(default=10.0, ge=0)
    """Added to the denominator of the similarity."""

    own_exponent: Annotated[float, Floats(0.0, 1.0)] = Field(default=0.5, ge=0)
    """Power in the denominator of the number of ones of the row whose neighbours are looked for."""

    neighbour_exponent: Annotated[float, Floats(0.0, 1.0)] = Field(default=0.5, ge=0)
    """The same of the neighbour."""

    popularity: Annotated[float, Floats(0.0, 1.0)] = Field(default=0.0, ge=0)
    """Added to the score of the most popular item, of others in proportion to their views, in units of the greatest
    similarity. A small one orders what no neighbour has."""


class UserKnnConfig(KnnConfig):
    """Options of user-kNN; the defaults were chosen on the TikTok validation pairs."""

    neighbours: Annotated[int, Ints(10, 2000, log=True)] = Field(default=1000, ge=1)
    """Most similar rows that count."""

    shrinkage: Annotated[float, Floats(0.0, 100.0)] = Field(default=0.0, ge=0)
    """Added to the denominator of the similarity."""

    neighbour_exponent: Annotated[float, Floats(0.0, 1.0)] = Field(default=1.0, ge=0)
    """Power in the denominator of the number of ones of the neighbour."""

    popularity: Annotated[float, Floats(0.0, 1.0)] = Field(default=0.1, ge=0)
    """Added to the score of the most popular item, of others in proportion to their views, in units of the greatest
    similarity. A small one orders what no neighbour has."""


class ItemKnnConfig(KnnConfig):
    """Options of item-kNN; the defaults were chosen on the TikTok validation pairs, where most users have seen one to
    three items and a few have seen hundreds, which make any two items similar."""

    shrinkage: Annotated[float, Floats(0.0, 100.0)] = Field(default=0.0, ge=0)
    """Added to the denominator of the similarity."""

    neighbour_exponent: Annotated[float, Floats(0.0, 1.0)] = Field(default=0.0, ge=0)
    """Power in the denominator of the number of ones of the neighbour."""

    activity_exponent: Annotated[float, Floats(0.0, 2.0)] = Field(default=1.0, ge=0)
    """A user who has seen n items counts n to minus this power where items are compared (Deshpande and Karypis,
    section 4.1: rows of length one)."""

    popularity: Annotated[float, Floats(0.0, 1.0)] = Field(default=0.1, ge=0)
    """Added to the score of the most popular item, of others in proportion to their views, in units of the greatest
    similarity. A small one orders what no neighbour has."""


class _Knn(CountingRecommender):
    """Nothing to learn, so nothing to choose an epoch of."""

    config: KnnConfig

    def __init__(self, config: KnnConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.histories = Histories(catalogue.users, catalogue.items)
        self.register_buffer("views", torch.zeros(catalogue.items, dtype=torch.int64))
        self.views: Tensor
        self._last: tuple[UserBatch, Tensor] | None = None

    def count(self, frame: "TrainingFrame") -> None:
        self._last = None
        self.histories.take(frame.train)
        self.views.copy_(torch.from_numpy(np.bincount(frame.train[:, 1], minlength=self.catalogue.items)))
        self.compare(frame.train)

    def compare(self, pairs: npt.NDArray[np.int64]) -> None:
        """Work out what does not depend on the request."""

    def can_score(self, batch: UserBatch) -> Tensor:
        """Whether each user has seen something that somebody saw in training, bool ``[B]``."""
        row, item = self.histories.of(batch)
        return torch.bincount(row[self.views[item] > 0], minlength=len(batch)) > 0

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._last = None
        super().load_state(state)

    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        if len(batch) == 0:  # Some builds of embedding_bag refuse tables of no columns.
            return torch.zeros(0, self.catalogue.items if items is None else items.shape[-1], device=self.device)
        # Whoever ranks all items asks for some at a time about the same users, and neighbours do for all items at once.
        if self._last is None or self._last[0] is not batch:
            size = max(1, _CELLS // self._cells())
            chunks = zip(torch.split(batch.rows, size), torch.split(batch.history, size), strict=True)
            near = torch.cat([self._all(UserBatch(rows, history)) for rows, history in chunks])
            self._last = batch, near.addcmul_(self.can_score(batch).unsqueeze(1), self._popularity())
        scores = self._last[1]
        if items is None:
            return scores
        return scores[:, items] if items.dim() == 1 else scores.gather(1, items)

    def _popularity(self) -> Tensor:
        """What each item's views add to its score, ``[N]``."""
        share = self.views / self.views.max().clamp(min=1)
        return share * (self.config.popularity * self._greatest())

    @abstractmethod
    def _greatest(self) -> float | Tensor:
        """Similarity."""

    @abstractmethod
    def _all(self, batch: UserBatch) -> Tensor:
        """Sums over the neighbours for all items, ``[B, N]``."""

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
        config = self.config
        norm = own.clamp(min=1).unsqueeze(1) ** config.own_exponent * counts.clamp(min=1) ** config.neighbour_exponent
        similarity = shared / (norm + config.shrinkage)
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

    def _greatest(self) -> float:
        return 1.0  # The bound of the cosine; of other exponents the unit.

    def _cells(self) -> int:
        users, items = self.catalogue.users, self.catalogue.items
        average = len(self.histories.items) // max(1, users) + 1
        return 4 * users + 2 * items + 4 * min(self.config.neighbours, users) * average


class ItemKnn(_Knn):
    """score(u, i) = sum of the similarities to i of those items in u's history that have i among their neighbours.

    A user counts for less in them, the more the user has seen; see :attr:`ItemKnnConfig.activity_exponent`.
    """

    config: ItemKnnConfig

    def __init__(self, config: ItemKnnConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        width = min(config.neighbours, catalogue.items)
        self.register_buffer("neighbours", torch.zeros(catalogue.items, width, dtype=torch.int64))
        self.register_buffer("similarities", torch.zeros(catalogue.items, width))
        self.neighbours: Tensor
        self.similarities: Tensor

    def compare(self, pairs: npt.NDArray[np.int64]) -> None:
        """The most similar items of each item; unused places have similarity 0."""
        shape = (self.catalogue.users, self.catalogue.items)
        config, (user, item) = self.config, pairs.T
        seen = sp.csr_array((np.ones(len(pairs), dtype=np.float32), (user, item)), shape=shape)
        weight = (np.bincount(user, minlength=shape[0])[user] ** -config.activity_exponent).astype(np.float32)
        by_item = sp.csr_array((weight, (item, user)), shape=shape[::-1])
        views = np.bincount(item, minlength=shape[1])
        self.neighbours.zero_()
        self.similarities.zero_()
        for start in range(0, shape[1], _ROWS):
            shared = (by_item[start : start + _ROWS] @ seen).tocoo()
            row, column = shared.row.astype(np.int64), shared.col.astype(np.int64)
            norm = views[row + start] ** config.own_exponent * views[column] ** config.neighbour_exponent
            similarity = np.where(row + start == column, 0, shared.data / (norm + config.shrinkage)).astype(np.float32)
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

    def _greatest(self) -> Tensor:
        return self.similarities.max()

    def _cells(self) -> int:
        average = len(self.histories.items) // max(1, self.catalogue.users) + 1
        return self.catalogue.items + 4 * average * self.neighbours.shape[1]
