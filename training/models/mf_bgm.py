"""MF-BGM (Chen et al., Background Music Recommendation on Short Video Sharing Platforms, online appendix B.2).

What the appendix leaves open and what is done here:

- A training video is left out of the average over those that chose its music, and is not similar to itself: a new
  video, for which the model is made, has adopted nothing yet either.
- Music that nobody adopted has neither latent factors nor a bias nor videos; what remains is its match by features.
- A user without training pairs has the average of all users' factors.
"""

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding, normalize

from training.background_music import AdoptingRecommender, MusicConfig, cross_entropy
from training.batches import PADDING, Samples, UserBatch
from training.losses import squared_norm
from training.recommender import Catalogue, TwoTower
from training.spaces import Choice, Floats

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["MfBgm", "MfBgmConfig"]


class MfBgmConfig(MusicConfig):
    """Options of MF-BGM."""

    learning_rate: float = Field(default=5e-3, gt=0)
    """Step size of Adam."""

    similar_videos: Annotated[int, Choice((25, 50, 100, 200))] = Field(default=100, ge=1)
    """l_v, videos whose music is a video's related music."""

    regularisation: Annotated[float, Floats(1e-4, 1.0, log=True)] = Field(default=1e-2, ge=0)
    """Weight of half the squared norm of the factors and biases in a batch, per pair."""

    initial_deviation: float = Field(default=0.1, gt=0)
    """Standard deviation of the normal that the factors start from; biases start at zero, both betas at one."""


class MfBgm(AdoptingRecommender, TwoTower):
    """Eq. B.8: logit = mu + b_i + b_k + p_i . q_k + beta_v r^v_jk + beta_m r^m_jk.

    As two towers: [p_i, 1, beta_v x^v_j, beta_m mean x^m_j, mu + b_i] and [q_k, b_k, mean x^v_k, x^m_k, 1], where
    features and means of features have length 1.
    """

    config: MfBgmConfig

    def __init__(self, config: MfBgmConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.users = nn.Parameter(torch.zeros(catalogue.users, config.dimension + 1))
        self.items = nn.Parameter(torch.zeros(catalogue.items, config.dimension + 1))
        self.mu = nn.Parameter(torch.zeros(1))
        self.beta_video = nn.Parameter(torch.ones(1))
        self.beta_music = nn.Parameter(torch.ones(1))
        self._related: Tensor | None = None
        self._adopters: tuple[Tensor, Tensor] | None = None

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        with torch.no_grad():
            for table in (self.users, self.items):
                table.copy_(torch.empty(table.shape).normal_(0, self.config.initial_deviation, generator=generator))
                table[:, -1] = 0
            self.mu.zero_()
            self.beta_video.fill_(1)
            self.beta_music.fill_(1)
        self._adopters = self.adoptions.sums(self.catalogue.items)
        places = torch.arange(len(self.adoptions), device=self.device)
        self._related = torch.cat(
            [self._related_features(self.adoptions.content[some].float(), some) for some in torch.split(places, 1024)]
        )

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        assert self._related is not None, "prepare() comes first"
        assert self._adopters is not None
        places = self.places_of(samples.context, len(samples))
        video = self.adoptions.content[places].float()
        users = embedding(samples.users, self.users)
        rows = torch.cat([samples.positives.unsqueeze(1), samples.negatives], dim=1)
        items = embedding(rows, self.items)
        totals, counts = self._adopters[0][rows], self._adopters[1][rows]
        own = torch.zeros_like(totals)
        own[:, 0] = video
        counts[:, 0] -= 1
        adopters = normalize((totals - own) * (counts > 0).unsqueeze(2), dim=2)
        requests = self._requests(users, video, self._related[places])
        logits = (self._clips(items, adopters, self.content[rows]) @ requests.unsqueeze(2)).squeeze(2)
        return {
            "cross_entropy": cross_entropy(logits),
            "l2": self.config.regularisation * squared_norm(users, items, count=len(samples)),
        }

    def user_vectors(self, batch: UserBatch) -> Tensor:
        video = self.video_content(batch.context, len(batch))
        related = self._related_features(video, self.places_of(batch.context, len(batch)))
        requests = self._requests(self.users_of(self.users, batch), video, related)
        return requests * self.can_score(batch).unsqueeze(1)

    def item_vectors(self) -> Tensor:
        adopters, _ = self.adoptions.sums(self.catalogue.items)
        return self._clips(self.trained_items_of(self.items), normalize(adopters, dim=1), self.content)

    def _related_features(self, video: Tensor, places: Tensor) -> Tensor:
        """Average features of the related music, of length 1, ``[B, width]``."""
        music = self.adoptions.music_of_similar(video, places, self.config.similar_videos)
        return normalize((self.content[music] * (music != PADDING).unsqueeze(2)).sum(1), dim=1)

    def _requests(self, users: Tensor, video: Tensor, related: Tensor) -> Tensor:
        factors, bias = users.tensor_split([self.config.dimension], dim=1)
        one = torch.ones_like(bias)
        return torch.cat([factors, one, self.beta_video * video, self.beta_music * related, self.mu + bias], dim=1)

    def _clips(self, items: Tensor, adopters: Tensor, content: Tensor) -> Tensor:
        """Vectors ``[..., D]`` of items with factors and bias ``[..., d + 1]``, features and means of features."""
        return torch.cat([items, adopters, normalize(content, dim=-1), torch.ones_like(items[..., :1])], dim=-1)
