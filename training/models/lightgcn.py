"""LightGCN (He et al., SIGIR 2020): embeddings propagated over the user-item graph, trained by BPR."""

from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from training.batches import Samples, UserBatch
from training.config import LearnedConfig
from training.graph import normalised_adjacency, propagate
from training.learned import LearnedRecommender
from training.losses import bpr, squared_norm
from training.recommender import Catalogue, TwoTower

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["LightGcn", "LightGcnConfig"]


class LightGcnConfig(LearnedConfig):
    """Options of LightGCN; the defaults were chosen on the TikTok validation pairs."""

    learning_rate: float = Field(default=5e-3, gt=0)
    """Step size of Adam."""

    layers: int = Field(default=3, ge=1)
    """Steps of propagation K."""

    regularisation: float = Field(default=2e-2, ge=0)
    """Weight of half the squared norm of the batch's layer-0 embeddings, per triplet (eq. 15)."""

    initial_deviation: float = Field(default=0.1, gt=0)
    """Standard deviation of the normal that the layer-0 embeddings start from."""


class LightGcn(LearnedRecommender, TwoTower):
    """score(u, i) = e_u . e_i, where e is the mean of a node's embeddings at layers 0 to K (eqs. 3-5, D = d).

    e is zero for a node without an edge. The graph is needed to train only: the propagated tables are kept beside
    the layer-0 embeddings, and scoring reads them.
    """

    config: LightGcnConfig

    def __init__(self, config: LightGcnConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        nodes = catalogue.users + catalogue.items
        self.embeddings = nn.Parameter(torch.zeros(nodes, config.dimension))
        self.register_buffer("propagated", torch.zeros(nodes, config.dimension))
        self.propagated: Tensor
        self._graph: Tensor | None = None

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        shape, deviation = self.embeddings.shape, self.config.initial_deviation
        with torch.no_grad():
            self.embeddings.copy_(torch.empty(shape).normal_(0, deviation, generator=generator))
        self._graph = normalised_adjacency(frame.train, len(frame.users), len(frame.items)).to(self.device)

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        nodes = (samples.users, *(items + self.catalogue.users for items in (samples.positives, samples.negatives)))
        table = self._propagate()
        user, seen, unseen = (embedding(rows, table) for rows in nodes)
        norm = squared_norm(*(embedding(rows, self.embeddings) for rows in nodes), count=len(samples))
        return {
            "bpr": bpr((user * seen).sum(1), (user.unsqueeze(1) * unseen).sum(2)),
            "l2": self.config.regularisation * norm,
        }

    def refresh(self) -> None:
        with torch.no_grad():
            self.propagated.copy_(self._propagate())

    def user_vectors(self, batch: UserBatch) -> Tensor:
        return self.trained_users_of(self.propagated[: self.catalogue.users], batch)

    def item_vectors(self) -> Tensor:
        return self.trained_items_of(self.propagated[self.catalogue.users :])

    def _propagate(self) -> Tensor:
        assert self._graph is not None, "prepare() comes first"
        layer: Tensor = self.embeddings
        total = layer
        for _ in range(self.config.layers):
            layer = propagate(self._graph, layer)
            total = total + layer
        return total / (self.config.layers + 1)
