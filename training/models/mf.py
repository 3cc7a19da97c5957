"""MF: matrix factorisation with item biases, trained by BPR (Rendle et al., UAI 2009) or by logits."""

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from training.batches import Samples, UserBatch
from training.config import LearnedConfig
from training.learned import LearnedRecommender
from training.losses import bpr, logistic, squared_norm
from training.recommender import Catalogue, TwoTower
from training.spaces import Floats

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["MatrixFactorisation", "MfConfig", "MfLogitConfig"]


class MfConfig(LearnedConfig):
    """Options of MF; the defaults were chosen on the TikTok validation pairs."""

    learning_rate: float = Field(default=1e-2, gt=0)
    """Step size of Adam."""

    loss: Literal["bpr", "logistic"] = "bpr"
    """Positives against their negatives, or each score by itself."""

    regularisation: Annotated[float, Floats(1e-4, 1.0, log=True)] = Field(default=5e-2, ge=0)
    """Weight of half the squared norm of the vectors and biases in a batch, per triplet."""

    initial_deviation: float = Field(default=0.1, gt=0)
    """Standard deviation of the normal that the vectors start from; biases start at zero."""


class MfLogitConfig(MfConfig):
    """Options of MF whose scores are logits."""

    negatives: int = Field(default=4, ge=1)
    """Items drawn against each positive."""

    loss: Literal["bpr", "logistic"] = "logistic"
    """Positives against their negatives, or each score by itself."""


class MatrixFactorisation(LearnedRecommender, TwoTower):
    """score(u, i) = p_u . q_i + b_i, as two towers: [p_u, 1] and [q_i, b_i] (D = d + 1).

    q_i is zero for an item without a training pair, which leaves it the bias that negative draws have taught.
    """

    config: MfConfig

    def __init__(self, config: MfConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.users = nn.Parameter(torch.zeros(catalogue.users, config.dimension))
        self.items = nn.Parameter(torch.zeros(catalogue.items, config.dimension))
        self.bias = nn.Parameter(torch.zeros(catalogue.items, 1))

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        with torch.no_grad():
            for table in (self.users, self.items):
                table.copy_(torch.empty(table.shape).normal_(0, self.config.initial_deviation, generator=generator))
            self.bias.zero_()

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        user = embedding(samples.users, self.users)
        (seen, seen_bias), (unseen, unseen_bias) = (
            (embedding(items, self.items), embedding(items, self.bias))
            for items in (samples.positives, samples.negatives)
        )
        norm = squared_norm(user, seen, unseen, seen_bias, unseen_bias, count=len(samples))
        loss = bpr if self.config.loss == "bpr" else logistic
        return {
            self.config.loss: loss(_score(user, seen, seen_bias), _score(user.unsqueeze(1), unseen, unseen_bias)),
            "l2": self.config.regularisation * norm,
        }

    def user_vectors(self, batch: UserBatch) -> Tensor:
        known = self.can_score(batch).to(self.users.dtype).unsqueeze(1)
        return torch.cat([self.trained_users_of(self.users, batch), known], dim=1)

    def item_vectors(self) -> Tensor:
        return torch.cat([self.trained_items_of(self.items), self.bias], dim=1)


def _score(user: Tensor, item: Tensor, bias: Tensor) -> Tensor:
    return (user * item).sum(-1) + bias.squeeze(-1)
