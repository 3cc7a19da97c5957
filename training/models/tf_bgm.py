"""TF-BGM (Chen et al., Background Music Recommendation on Short Video Sharing Platforms, online appendix B.1).

A Tucker factorisation of users, videos and music. Free factors of a video that is seen once learn nothing (Appendix
A), so that they are computed from its features. Music has free factors, hence none before its first adoption; a user
without training pairs has the average of all users' factors.
"""

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from training.background_music import VideoConfig, VideoRecommender, cross_entropy
from training.batches import Samples, UserBatch
from training.losses import squared_norm
from training.recommender import Catalogue, TwoTower
from training.spaces import Choice, Floats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_repo.frame import TrainingFrame

__all__ = ["TfBgm", "TfBgmConfig"]


class TfBgmConfig(VideoConfig):
    """Options of TF-BGM; ``dimension`` is d_u and d_m."""

    learning_rate: float = Field(default=5e-3, gt=0)
    """Step size of Adam."""

    video_dimension: Annotated[int, Choice((16, 32, 64))] = Field(default=32, ge=1)
    """d_v, width of a video's factors."""

    regularisation: Annotated[float, Floats(1e-4, 1.0, log=True)] = Field(default=1e-2, ge=0)
    """Weight of half the squared norm of the users' and music's factors in a batch, per pair."""

    initial_deviation: float = Field(default=0.3, gt=0)
    """Standard deviation of the normal that the factors start from."""


class TfBgm(VideoRecommender, TwoTower):
    """Eq. B.1: logit = W x f^u_i x f^v_j x f^m_k, as two towers: W x f^u_i x f^v_j, and f^m_k (D = d_m)."""

    config: TfBgmConfig

    def __init__(self, config: TfBgmConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d, wide = config.dimension, config.video_dimension
        self.users = nn.Parameter(torch.zeros(catalogue.users, d))
        self.items = nn.Parameter(torch.zeros(catalogue.items, d))
        self.core = nn.Parameter(torch.zeros(d, wide, d))
        self.weight = nn.Parameter(torch.zeros(self.video_width, wide))
        self.bias = nn.Parameter(torch.zeros(wide))

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        with torch.no_grad():
            for table in (self.users, self.items):
                table.copy_(torch.empty(table.shape).normal_(0, self.config.initial_deviation, generator=generator))
            spread = (self.config.dimension * self.config.video_dimension) ** -0.5
            self.core.copy_(torch.empty(self.core.shape).normal_(0, spread, generator=generator))
            self.weight.copy_(nn.init.xavier_uniform_(torch.empty(self.weight.shape), generator=generator))
            self.bias.zero_()

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        users = embedding(samples.users, self.users)
        rows = torch.cat([samples.positives.unsqueeze(1), samples.negatives], dim=1)
        items = embedding(rows, self.items)
        requests = self._requests(users, self.video_factors(samples.context, len(samples)))
        return {
            "cross_entropy": cross_entropy((items @ requests.unsqueeze(2)).squeeze(2)),
            "l2": self.config.regularisation * squared_norm(users, items, count=len(samples)),
        }

    def user_vectors(self, batch: UserBatch) -> Tensor:
        requests = self._requests(self.users_of(self.users, batch), self.video_factors(batch.context, len(batch)))
        return requests * self.can_score(batch).unsqueeze(1)

    def item_vectors(self) -> Tensor:
        return self.trained_items_of(self.items)

    def video_factors(self, context: "Mapping[str, Tensor]", count: int) -> Tensor:
        """Eq. B.2: f^v of the videos of ``count`` requests, ``[B, d_v]``."""
        return torch.tanh(self.video_content(context, count) @ self.weight + self.bias)

    def _requests(self, users: Tensor, videos: Tensor) -> Tensor:
        """The core contracted with users ``[B, d_u]`` and videos ``[B, d_v]``, ``[B, d_m]``."""
        outer = users.unsqueeze(2) * videos.unsqueeze(1)
        return outer.flatten(1) @ self.core.flatten(0, 1)
