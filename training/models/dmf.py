"""DMF (Xue et al., IJCAI 2017): two networks over the rows and the columns of the interaction matrix.

Equation numbers are the paper's. What it leaves open and what is done here, as AMAE's paper uses it:

- Interactions are implicit, so the normalised cross-entropy of eq. 13 has a largest rating of 1.
- A row enters over its number of interactions to a power, 0.5 unless told otherwise; 0 is the paper's plain row.
  Rows of some hundred ones saturate the first layer otherwise.
- The pair to be predicted may be left out of its own row and column while training: the paper leaves it in, and then
  the networks can read the answer off their input.
"""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding, embedding_bag, normalize

from training.autoencoders import draw_layers
from training.batches import Samples, UserBatch
from training.config import LearnedConfig
from training.learned import LearnedRecommender
from training.losses import logistic, squared_norm
from training.recommender import Catalogue, TwoTower
from training.spaces import Choice, Floats

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["Dmf", "DmfConfig", "InteractionTowers", "cosine_cross_entropy"]

_LEAST = 1e-6
"""mu of eq. 12."""

_CHUNK = 4096
"""Rows whose vectors are computed at once after an epoch."""


class DmfConfig(LearnedConfig):
    """Options of DMF; width, negatives and batch size are those of AMAE's paper."""

    dimension: int = Field(default=16, ge=1)
    """Width d of both networks' last layers."""

    batch_size: int = Field(default=512, ge=1)
    """Positive pairs per step."""

    negatives: int = Field(default=3, ge=1)
    """Items drawn against each positive one."""

    inner: Annotated[int, Choice((32, 64, 128))] = Field(default=64, ge=1)
    """Width of both networks' first layers."""

    similarity: Literal["cosine", "inner"] = "cosine"
    """``cosine``: eq. 10, which is the prediction itself. ``inner``: the inner product is the logit of the prediction,
    as in AMAE's eqs. 1 and 14."""

    row_exponent: Annotated[float, Floats(0.0, 1.0)] = Field(default=0.5, ge=0, le=1)
    """Power of the number of interactions that a row is divided by."""

    leave_target_out: bool = True
    """Whether the pair to be predicted is missing from its row and column while training."""

    regularisation: Annotated[float, Choice((0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2))] = Field(default=0.0, ge=0)
    """Weight of half the squared norm of the vectors in a batch, per positive pair."""


class InteractionTowers(nn.Module):
    """The two networks (eqs. 8-9): a linear layer over a sparse row, rectified, and a second layer.

    A user's row holds the items of the training pairs, an item's column the users. They are needed to train only:
    :meth:`refresh` keeps the vectors of all rows, and scoring reads those.

    Args:
        users: Number of users.
        items: Number of items.
        inner: Width of the first layers.
        user_width: Width of a user's vector.
        item_width: Width of an item's vector.
        exponent: A row is divided by its number of interactions to this power.
        leaves_out: Whether a pair that is trained on is missing from its row and column.
        rectified: Whether the second layer is rectified too.
    """

    def __init__(
        self,
        users: int,
        items: int,
        *,
        inner: int,
        user_width: int,
        item_width: int,
        exponent: float,
        leaves_out: bool,
        rectified: bool,
    ) -> None:
        super().__init__()
        self._exponent, self._leaves_out, self._rectified = exponent, leaves_out, rectified
        self.user_network = _Network(items, inner, user_width)
        self.item_network = _Network(users, inner, item_width)
        self.register_buffer("users", torch.zeros(users, user_width))
        self.register_buffer("items", torch.zeros(items, item_width))
        self.users: Tensor
        self.items: Tensor
        self._rows: _Lists | None = None
        self._columns: _Lists | None = None

    def begin(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        """Draw the weights, and take rows and columns from the training pairs."""
        draw_layers(self, generator)
        pairs = np.unique(frame.train, axis=0)
        self._rows = _Lists(pairs, len(frame.users), self.users.device)
        self._columns = _Lists(pairs[:, ::-1], len(frame.items), self.users.device)

    def user_vectors(self, rows: Tensor, partners: Tensor | None = None) -> Tensor:
        """Vectors of users ``[B]``, trained on with items ``partners`` ``[B]`` of theirs if given."""
        assert self._rows is not None, "begin() comes first"
        return self._vectors(self.user_network, self._rows, rows, partners)

    def item_vectors(self, rows: Tensor, partners: Tensor | None = None) -> Tensor:
        """Vectors of items ``[B]``, trained on with users ``partners`` ``[B]`` of theirs if given."""
        assert self._columns is not None, "begin() comes first"
        return self._vectors(self.item_network, self._columns, rows, partners)

    def refresh(self) -> None:
        """Keep the vectors of all users and items as the weights now give them."""
        with torch.no_grad():
            for table, vectors in ((self.users, self.user_vectors), (self.items, self.item_vectors)):
                for rows in torch.split(torch.arange(len(table), device=table.device), _CHUNK):
                    table[rows] = vectors(rows)

    def _vectors(self, network: "_Network", lists: "_Lists", rows: Tensor, partners: Tensor | None) -> Tensor:
        distinct, place = torch.unique(rows, return_inverse=True)
        sums, counts = embedding(place, lists.sums(distinct, network.first)), lists.count[rows]
        if partners is not None and self._leaves_out:
            sums, counts = sums - embedding(partners, network.first), counts - 1
        scaled = sums * counts.clamp(min=1).to(sums.dtype).pow(-self._exponent).unsqueeze(1)
        output = torch.relu(scaled + network.first_bias) @ network.second + network.second_bias
        return torch.relu(output) if self._rectified else output


class Dmf(LearnedRecommender, TwoTower):
    """score(u, i) = cosine of the two networks' vectors, or their inner product (D = d).

    Both vectors are zero where training saw nothing of the user or the item.
    """

    config: DmfConfig

    def __init__(self, config: DmfConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.towers = InteractionTowers(
            catalogue.users,
            catalogue.items,
            inner=config.inner,
            user_width=config.dimension,
            item_width=config.dimension,
            exponent=config.row_exponent,
            leaves_out=config.leave_target_out,
            rectified=config.similarity == "cosine",
        )

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        self.towers.begin(frame, generator)

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        users = self.towers.user_vectors(samples.users, samples.positives)
        seen = self.towers.item_vectors(samples.positives, samples.users)
        unseen = self.towers.item_vectors(samples.negatives.flatten()).view(*samples.negatives.shape, -1)
        norm = squared_norm(users, seen, unseen, count=len(users))
        if self.config.similarity == "cosine":
            users, seen, unseen = (normalize(vectors, dim=-1) for vectors in (users, seen, unseen))
        positive, negative = (users * seen).sum(1), (users.unsqueeze(1) * unseen).sum(2)
        loss = cosine_cross_entropy if self.config.similarity == "cosine" else logistic
        return {"cross_entropy": loss(positive, negative), "l2": self.config.regularisation * norm}

    def refresh(self) -> None:
        self.towers.refresh()

    def user_vectors(self, batch: UserBatch) -> Tensor:
        return self.trained_users_of(self._compared(self.towers.users), batch)

    def item_vectors(self) -> Tensor:
        return self.trained_items_of(self._compared(self.towers.items))

    def _compared(self, vectors: Tensor) -> Tensor:
        return normalize(vectors, dim=1) if self.config.similarity == "cosine" else vectors


def cosine_cross_entropy(positive: Tensor, negative: Tensor) -> Tensor:
    """Cross-entropy of predictions that are cosines, those below 1e-6 counting as 1e-6 (eqs. 12-13).

    Args:
        positive: Cosines of pairs that were seen, ``[B]``.
        negative: Cosines of pairs drawn against them, ``[B, K]``.

    Returns:
        Mean over all B x (1 + K) pairs; a negative pair's cosine counts as 1 - 1e-6 at most.
    """
    likely = torch.cat([positive.unsqueeze(1), 1 - negative], dim=1).clamp(_LEAST, 1 - _LEAST)
    return -likely.log().mean()


class _Network(nn.Module):
    def __init__(self, width: int, inner: int, out: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(width, inner))
        self.first_bias = nn.Parameter(torch.zeros(inner))
        self.second = nn.Parameter(torch.zeros(inner, out))
        self.second_bias = nn.Parameter(torch.zeros(out))


class _Lists:
    """The rows of a sparse matrix of ones."""

    def __init__(self, pairs: npt.NDArray[np.int64], rows: int, device: torch.device) -> None:
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        count = np.bincount(pairs[:, 0], minlength=rows)
        self.count = torch.from_numpy(count).to(device)
        self._start = torch.from_numpy(np.cumsum(count) - count).to(device)
        self._columns = torch.from_numpy(pairs[order, 1].copy()).to(device)

    def sums(self, rows: Tensor, table: Tensor) -> Tensor:
        """Rows of the matrix times a table, ``[B, width]``."""
        counts = self.count[rows]
        offsets = counts.cumsum(0) - counts
        within = torch.arange(int(counts.sum()), device=rows.device)
        places = within + torch.repeat_interleave(self._start[rows] - offsets, counts)
        return embedding_bag(self._columns[places], table, offsets, mode="sum")
