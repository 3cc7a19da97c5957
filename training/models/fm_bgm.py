"""FM-BGM: a factorisation machine (Rendle 2010) over user, music and the features of video and music.

A baseline of the paper on background music (Chen et al., online appendix, Tables D.2 to E.4), which names it without
equations. Its fields are the user's and the music's number, one-hot, and all features as real numbers.
"""

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import embedding

from training.background_music import MusicConfig, MusicRecommender, cross_entropy
from training.batches import Samples, UserBatch
from training.losses import squared_norm
from training.recommender import Catalogue, TwoTower
from training.spaces import Floats

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["FmBgm", "FmBgmConfig"]


class FmBgmConfig(MusicConfig):
    """Options of FM-BGM."""

    learning_rate: float = Field(default=5e-3, gt=0)
    """Step size of Adam."""

    regularisation: Annotated[float, Floats(1e-4, 1.0, log=True)] = Field(default=1e-2, ge=0)
    """Weight of half the squared norm of the users' and music's rows in a batch, per pair."""

    feature_regularisation: Annotated[float, Floats(1e-6, 1e-2, log=True)] = Field(default=1e-4, ge=0)
    """Weight of half the squared norm of the features' weights and vectors."""

    initial_deviation: float = Field(default=0.1, gt=0)
    """Standard deviation of the normal that all vectors start from; weights of single fields start at zero."""


class FmBgm(MusicRecommender, TwoTower):
    """logit = w_0 + sum of w_a x_a + sum over pairs of fields of (v_a . v_b) x_a x_b (Rendle 2010, eq. 1).

    The fields of a request are the user and the video's features, those of a candidate the music and its features. Let
    a side's vector be the sum of its x_a v_a, and its constant the terms within the side. As two towers: [vector of the
    request, 1, its constant and w_0] and [vector of the candidate, its constant, 1] (D = d + 2).
    """

    config: FmBgmConfig

    def __init__(self, config: FmBgmConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        # Last column: w_a.
        self.users = nn.Parameter(torch.zeros(catalogue.users, config.dimension + 1))
        self.items = nn.Parameter(torch.zeros(catalogue.items, config.dimension + 1))
        self.video_fields = nn.Parameter(torch.zeros(self.video_width, config.dimension + 1))
        self.music_fields = nn.Parameter(torch.zeros(self.content.shape[1], config.dimension + 1))
        self.constant = nn.Parameter(torch.zeros(1))

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        with torch.no_grad():
            for table in (self.users, self.items, self.video_fields, self.music_fields):
                table.copy_(torch.empty(table.shape).normal_(0, self.config.initial_deviation, generator=generator))
                table[:, -1] = 0
            self.constant.zero_()

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        users = embedding(samples.users, self.users)
        rows = torch.cat([samples.positives.unsqueeze(1), samples.negatives], dim=1)
        items = embedding(rows, self.items)
        requests = self._requests(users, self.video_content(samples.context, len(samples)))
        logits = (self._clips(items, self.content[rows]) @ requests.unsqueeze(2)).squeeze(2)
        config = self.config
        return {
            "cross_entropy": cross_entropy(logits),
            "l2": config.regularisation * squared_norm(users, items, count=len(samples)),
            "l2_features": config.feature_regularisation * squared_norm(self.video_fields, self.music_fields, count=1),
        }

    def user_vectors(self, batch: UserBatch) -> Tensor:
        video = self.video_content(batch.context, len(batch))
        return self._requests(self.users_of(self.users, batch), video) * self.can_score(batch).unsqueeze(1)

    def item_vectors(self) -> Tensor:
        return self._clips(self.trained_items_of(self.items), self.content)

    def _requests(self, users: Tensor, video: Tensor) -> Tensor:
        vector, constant = _side(users, self.video_fields, video)
        return torch.cat([vector, torch.ones_like(constant), constant + self.constant], dim=-1)

    def _clips(self, items: Tensor, content: Tensor) -> Tensor:
        vector, constant = _side(items, self.music_fields, content)
        return torch.cat([vector, constant, torch.ones_like(constant)], dim=-1)


def _side(own: Tensor, fields: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """The vector ``[..., d]`` and the constant ``[..., 1]`` of a side.

    Args:
        own: v_a and w_a of its one-hot field, ``[..., d + 1]``.
        fields: Those of its w features, ``[w, d + 1]``.
        features: Their values, ``[..., w]``.
    """
    summed = own + features @ fields
    vector, single = summed[..., :-1], summed[..., -1:]
    squares = own[..., :-1].square() + features.square() @ fields[:, :-1].square()
    # Sum over pairs in linear time (Rendle 2010, lemma 3.1).
    return vector, single + (vector.square() - squares).sum(-1, keepdim=True) / 2
