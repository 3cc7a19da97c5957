"""LightGCN (He et al., SIGIR 2020): embeddings propagated over the user-item graph, trained by BPR."""

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from training.batches import Samples, UserBatch
from training.config import LearnedConfig
from training.graph import mean_of_layers, normalised_adjacency
from training.learned import LearnedRecommender
from training.losses import bpr, squared_norm
from training.recommender import Catalogue, TwoTower
from training.spaces import Floats, Ints

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["LightGcn", "LightGcnConfig"]


class LightGcnConfig(LearnedConfig):
    """Options of LightGCN; the defaults were chosen on the TikTok validation pairs."""

    learning_rate: float = Field(default=1e-2, gt=0)
    """Step size of Adam."""

    batch_size: int = Field(default=8192, ge=1)
    """Training pairs per step; each one propagates over the whole graph."""

    patience: int = Field(default=20, ge=1)
    """Epochs without a better validation Recall@20 after which training stops; such large batches learn in few steps
    an epoch."""

    layers: Annotated[int, Ints(1, 4)] = Field(default=3, ge=1)
    """Steps of propagation K."""

    regularisation: Annotated[float, Floats(1e-4, 1.0, log=True)] = Field(default=2e-2, ge=0)
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
        drawn = samples.negatives
        items = torch.cat([samples.positives, drawn.flatten()]) + self.catalogue.users
        # One look-up of all nodes: the gradient of each would be a table of its own.
        nodes = torch.cat([samples.users, items])
        user, seen, unseen = torch.split(embedding(nodes, self._propagate()), [len(drawn), len(drawn), drawn.numel()])
        unseen = unseen.view(*drawn.shape, -1)
        norm = squared_norm(embedding(nodes, self.embeddings), count=len(samples))
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
        return mean_of_layers(self._graph, self.embeddings, self.config.layers)
