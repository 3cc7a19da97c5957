"""DL-BGM (Chen et al., Background Music Recommendation on Short Video Sharing Platforms).

The section of the model itself is not in the online appendix. Its parts are fixed by the names of the ablations (Table
C.1): U2M matches user and music, with attention over the features of the user's adopted music; V2M matches video and
music, with attention over the features of the video's related music, that of its most similar videos. This is a plain
reading of them:

- Music k has features x_k and an identity vector q_k. In each module a layer makes g_k = tanh([x_k, q_k] W + b).
- The candidate asks: clip h gets the weight softmax_h(x_h K . x_k Q / sqrt(a)) among a request's clips.
- U2M = (p_i + sum over adopted h of weight_h x_h V) . g_k with the user's embedding p_i (400 numbers).
- V2M = (tanh(x_j W_v + b_v) + sum over related h of weight_h x_h V) . g_k (2000 numbers), the layer as in eq. B.2.
- The logit is mu + b_k + U2M + V2M, the loss that of eqs. B.3 and B.9.

As K and V are linear and what is attended to are features, a candidate's q = x_k Q K^T and v = g_k V^T are computed
once, and a clip is met by its features alone: memory is requests x clips x candidates whatever the dimensions.

As in MF-BGM, a training video is not similar to itself; the music chosen for it is left out of the user's adopted music
once, as other videos may have it too. Music that nobody adopted has neither identity vector nor bias. A user without
training pairs has the mean embedding.
"""

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import embedding

from training.background_music import AdoptingRecommender, MusicConfig, cross_entropy
from training.batches import PADDING, Samples, UserBatch
from training.losses import squared_norm
from training.recommender import Catalogue
from training.spaces import Choice, Floats

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["DlBgm", "DlBgmConfig"]

Module = Literal["full", "/A", "/R", "off"]

_CELLS = 1 << 24
"""Requests x clips x candidates that are scored at a time: 64 MiB a tensor."""

_ITEMS = 4096
"""Candidates whose layers are computed at a time when all are scored."""


class DlBgmConfig(MusicConfig):
    """Options of DL-BGM; ``dimension`` is that of the user embedding."""

    dimension: Annotated[int, Choice((100, 200, 400))] = Field(default=400, ge=1)
    """Width of a user's embedding and of U2M (Table F.2)."""

    video_dimension: Annotated[int, Choice((500, 1000, 2000))] = Field(default=2000, ge=1)
    """Width of a video's embedding and of V2M (Table F.3)."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Step size of Adam."""

    user_match: Module = "full"
    """U2M: ``/A`` takes the mean instead of attention, ``/R`` drops the adopted music, ``off`` drops all of U2M."""

    video_match: Module = "full"
    """V2M: ``/A`` takes the mean instead of attention, ``/R`` drops the related music, ``off`` drops all of V2M."""

    similar_videos: Annotated[int, Choice((25, 50, 100, 200))] = Field(default=100, ge=1)
    """l, videos whose music is a video's related music (Table F.1)."""

    attention_dimension: int = Field(default=64, ge=1)
    """a, width of keys and queries."""

    identity_dimension: int = Field(default=64, ge=0)
    """Width of q_k; with 0, music is known by its features alone."""

    regularisation: Annotated[float, Floats(1e-4, 1.0, log=True)] = Field(default=1e-2, ge=0)
    """Weight of half the squared norm of the user embeddings, identity vectors and biases in a batch, per pair."""

    initial_deviation: float = Field(default=0.1, gt=0)
    """Standard deviation of the normal that embeddings start from."""

    @model_validator(mode="after")
    def _something_is_left(self) -> Self:
        if self.user_match == self.video_match == "off":
            raise ValueError("user_match and video_match cannot both be off")
        return self


class _Candidates(NamedTuple):
    """Pieces of music as one module sees them; ``...`` is ``[C]``, or ``[B, C]`` where each request has its own."""

    layer: Tensor
    """g, ``[..., D]``."""
    query: Tensor
    """q, ``[..., width]``: what a clip's features are multiplied with for its attention logit."""
    value: Tensor
    """v, ``[..., width]``: likewise for what it adds to the match."""


class _Match(nn.Module):
    """U2M or V2M.

    Args:
        features: Width of the music's features.
        identity: Width of the identity vectors.
        out: Width D of the module.
        inner: Width of keys and queries.
        kind: Which of the variants; not ``off``.
    """

    def __init__(self, *, features: int, identity: int, out: int, inner: int, kind: Module) -> None:
        super().__init__()
        self._kind = kind
        self.weight = nn.Parameter(torch.zeros(features + identity, out))
        self.bias = nn.Parameter(torch.zeros(out))
        if kind != "/R":
            self.value = nn.Parameter(torch.zeros(features, out))
        if kind == "full":
            self.key = nn.Parameter(torch.zeros(features, inner))
            self.query = nn.Parameter(torch.zeros(features, inner))

    def candidates(self, features: Tensor, identities: Tensor) -> _Candidates:
        """What scoring needs of music with features ``[..., width]`` and identity vectors ``[..., identity]``."""
        layer = torch.tanh(torch.cat([features, identities], dim=-1) @ self.weight + self.bias)
        nothing = features.new_zeros(*features.shape[:-1], 0)
        if self._kind == "/R":
            return _Candidates(layer, nothing, nothing)
        value = layer @ self.value.T
        if self._kind == "/A":
            return _Candidates(layer, nothing, value)
        return _Candidates(layer, features @ self.query @ self.key.T * self.key.shape[1] ** -0.5, value)

    def forward(self, requests: Tensor, clips: Tensor, visible: Tensor, candidates: _Candidates) -> Tensor:
        """The match of B requests with their candidates.

        Args:
            requests: The user's or video's own embedding, ``[B, D]``.
            clips: Features of the music that it brings along, ``[B, n, width]``.
            visible: Which of those count, bool ``[B, n]``.
            candidates: C of them, common or of each request.

        Returns:
            ``[B, C]``.
        """
        own = (requests.unsqueeze(1) @ candidates.layer.mT).squeeze(1)
        if self._kind == "/R":
            return own
        brought = clips @ candidates.value.mT
        if self._kind == "/A":
            weights = visible.unsqueeze(2) / visible.sum(1).clamp(min=1)[:, None, None]
        else:
            logits = (clips @ candidates.query.mT).masked_fill(~visible.unsqueeze(2), -torch.inf)
            # A request that brings nothing has no weights: softmax over nothing is not a number.
            weights = torch.softmax(logits, dim=1).masked_fill(~visible.unsqueeze(2), 0)
        return own + (weights * brought).sum(1)


class DlBgm(AdoptingRecommender):
    """A scorer: with attention, what a request is depends on the candidate."""

    config: DlBgmConfig

    def __init__(self, config: DlBgmConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        width, identity, wide = self.content.shape[1], config.identity_dimension, config.video_dimension
        sizes = {"features": width, "identity": identity, "inner": config.attention_dimension}
        self.identities = nn.Parameter(torch.zeros(catalogue.items, identity))
        self.music_bias = nn.Parameter(torch.zeros(catalogue.items, 1))
        self.mu = nn.Parameter(torch.zeros(1))
        if config.user_match != "off":
            self.users = nn.Parameter(torch.zeros(catalogue.users, config.dimension))
            self.u2m = _Match(**sizes, out=config.dimension, kind=config.user_match)
        if config.video_match != "off":
            self.video_weight = nn.Parameter(torch.zeros(self.video_width, wide))
            self.video_bias = nn.Parameter(torch.zeros(wide))
            self.v2m = _Match(**sizes, out=wide, kind=config.video_match)
        self._history: Tensor | None = None
        self._related: Tensor | None = None

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name in ("users", "identities"):
                    spread = self.config.initial_deviation
                    parameter.copy_(torch.empty(parameter.shape).normal_(0, spread, generator=generator))
                elif parameter.dim() == 2 and name != "music_bias":
                    parameter.copy_(nn.init.xavier_uniform_(torch.empty(parameter.shape), generator=generator))
                else:
                    parameter.zero_()
        self._history = torch.from_numpy(frame.history).to(self.device)
        if self.config.video_match in ("full", "/A"):
            places = torch.arange(len(self.adoptions), device=self.device)
            content = self.adoptions.content
            self._related = torch.cat(
                [self._related_music(content[p].float(), p).int() for p in torch.split(places, 1024)]
            )

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        assert self._history is not None, "prepare() comes first"
        rows = torch.cat([samples.positives.unsqueeze(1), samples.negatives], dim=1)
        identities, bias = embedding(rows, self.identities), embedding(rows, self.music_bias)
        logits, used = self.mu + bias.squeeze(2), [identities, bias]
        if self.config.user_match != "off":
            users = embedding(samples.users, self.users)
            adopted = self._history[samples.users]
            chosen = adopted == samples.positives.unsqueeze(1)
            adopted = torch.where(chosen & (chosen.cumsum(1) == 1), PADDING, adopted)
            logits = logits + self._match(self.u2m, users, adopted, self.content[rows], identities)
            used.append(users)
        if self.config.video_match != "off":
            places = self.places_of(samples.context, len(samples))
            related = self._related[places].long() if self._related is not None else places.unsqueeze(1)[:, :0]
            videos = self._videos(self.adoptions.content[places].float())
            logits = logits + self._match(self.v2m, videos, related, self.content[rows], identities)
        return {
            "cross_entropy": cross_entropy(logits),
            "l2": self.config.regularisation * squared_norm(*used, count=len(samples)),
        }

    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        video = self.video_content(batch.context, len(batch))
        related = batch.history[:, :0]
        if self.config.video_match in ("full", "/A"):
            related = self._related_music(video, self.places_of(batch.context, len(batch)))
        everything = torch.arange(self.catalogue.items, device=self.device) if items is None else items
        if everything.dim() == 2:
            return self._scored(batch, video, related, everything)
        parts = torch.split(everything, _ITEMS)
        return torch.cat([self._scored(batch, video, related, part) for part in parts], dim=1)

    def _scored(self, batch: UserBatch, video: Tensor, related: Tensor, rows: Tensor) -> Tensor:
        """Logits of candidates ``[C]`` or ``[B, C]``."""
        trained = self.item_trained[rows].unsqueeze(-1)
        identities = self.identities[rows] * trained
        logits = (self.mu + self.music_bias[rows] * trained).squeeze(-1).expand(len(batch), -1)
        features = self.content[rows]
        if self.config.user_match != "off":
            users = self.users_of(self.users, batch)
            logits = logits + self._match(self.u2m, users, batch.history, features, identities)
        if self.config.video_match != "off":
            logits = logits + self._match(self.v2m, self._videos(video), related, features, identities)
        return logits

    def _match(self, module: _Match, requests: Tensor, music: Tensor, features: Tensor, identities: Tensor) -> Tensor:
        """A module's match, some requests at a time.

        Args:
            module: U2M or V2M.
            requests: Own embeddings, ``[B, D]``.
            music: Item rows that each brings along, padded with -1, ``[B, n]``.
            features: Of the candidates, ``[C, width]`` or ``[B, C, width]``.
            identities: Likewise.
        """
        each = features.dim() == 3
        common = None if each else module.candidates(features, identities)
        cells = features.shape[-2] * max(music.shape[1], requests.shape[1] if each else 1, 1)
        parts = [requests.new_zeros(0, features.shape[-2])]
        for some in torch.split(torch.arange(len(requests), device=requests.device), max(1, _CELLS // max(cells, 1))):
            asked = common or module.candidates(features[some], identities[some])
            parts.append(module(requests[some], self.content[music[some]], music[some] != PADDING, asked))
        return torch.cat(parts)

    def _videos(self, content: Tensor) -> Tensor:
        return torch.tanh(content @ self.video_weight + self.video_bias)

    def _related_music(self, video: Tensor, places: Tensor) -> Tensor:
        return self.adoptions.music_of_similar(video, places, self.config.similar_videos)
