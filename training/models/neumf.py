"""NeuMF (He et al., Neural Collaborative Filtering, WWW 2017): matrix factorisation beside a multi-layer perceptron.

Equation numbers are the paper's.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import embedding

from training.batches import Samples, UserBatch
from training.config import LearnedConfig
from training.learned import LearnedRecommender
from training.losses import bpr, logistic, squared_norm
from training.models.fism import FismConfig, fitted_fism
from training.recommender import Catalogue
from training.spaces import Floats, Ints

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["Neumf", "NeumfBprConfig", "NeumfConfig"]

_CELLS = 1 << 24
"""Components of the widest layer held at once while scoring: 64 MiB."""


class NeumfConfig(LearnedConfig):
    """Options of NeuMF."""

    dimension: int = Field(default=32, ge=2)
    """Width d of each of the four embeddings: user and item, of either part."""

    negatives: int = Field(default=4, ge=1)
    """Items drawn against each positive."""

    loss: Literal["logistic", "bpr"] = "logistic"
    """Each score by itself (eq. 7), or positives against their negatives."""

    parts: Literal["both", "gmf", "mlp"] = "both"
    """NeuMF, or one of its two parts alone: generalised matrix factorisation or the perceptron."""

    layers: Annotated[int, Ints(1, 4)] = Field(default=3, ge=1)
    """Hidden layers of the perceptron; each is half as wide as what it reads, the first reads 2d."""

    pretraining_epochs: int = Field(default=0, ge=0)
    """Epochs, at most, for which each part is trained alone before; 0: both start from chance."""

    regularisation: Annotated[float, Floats(1e-6, 1e-1, log=True)] = Field(default=1e-3, ge=0)
    """Weight of half the squared norm of the embeddings in a batch, per positive."""

    initialisation: Literal["normal", "fism"] = "normal"
    """``normal``: embeddings start from a normal. ``fism``: those of the factorisation start from the two towers that
    FISM learns, its bias as one of d columns, and the perceptron without a say; the first scores are FISM's. That is
    not in the paper, which starts from its own two parts (``pretraining_epochs``)."""

    initial_deviation: float = Field(default=0.1, gt=0)
    """Standard deviation of the normal that the embeddings start from."""

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.initialisation == "fism" and (self.pretraining_epochs or self.parts == "mlp"):
            raise ValueError("`initialisation=fism` starts the factorisation: no `pretraining_epochs`, no `parts=mlp`")
        return self

    @model_validator(mode="after")
    def _layers_have_width(self) -> Self:
        if 2 * self.dimension % 2**self.layers:
            raise ValueError(f"2^layers ({2**self.layers}) must divide twice the dimension ({2 * self.dimension})")
        return self


class NeumfBprConfig(NeumfConfig):
    """Options of NeuMF trained by BPR."""

    loss: Literal["logistic", "bpr"] = "bpr"
    """Each score by itself (eq. 7), or positives against their negatives."""


class Neumf(LearnedRecommender):
    """score(u, i) = h . [p_u * q_i, MLP([p'_u, q'_i])] (eq. 12), where the MLP has ReLU layers (eq. 10)."""

    config: NeumfConfig

    def __init__(self, config: NeumfConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d = config.dimension
        self._gmf, self._mlp = config.parts != "mlp", config.parts != "gmf"
        widths = [2 * d // 2**layer for layer in range(config.layers + 1)] if self._mlp else [0]
        # The columns of either part, side by side: one gather for both.
        columns = d * (self._gmf + self._mlp)
        self.users = nn.Parameter(torch.zeros(catalogue.users, columns))
        self.items = nn.Parameter(torch.zeros(catalogue.items, columns))
        pairs = list(pairwise(widths))
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(wide, narrow)) for wide, narrow in pairs])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(narrow)) for _, narrow in pairs])
        self.output = nn.Parameter(torch.zeros(d * self._gmf + widths[-1], 1))

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        with torch.no_grad():
            for table in (self.users, self.items):
                table.copy_(torch.empty(table.shape).normal_(0, self.config.initial_deviation, generator=generator))
            for weight in (*self.weights, self.output):
                weight.copy_(nn.init.xavier_uniform_(torch.empty(weight.shape), generator=generator))
            for bias in self.biases:
                bias.zero_()
        if self.config.pretraining_epochs and self.config.parts == "both":
            seeds = torch.randint(2**31, (2,), generator=generator).tolist()
            self.take_over(*(self._part(part, frame, seed) for part, seed in zip(("gmf", "mlp"), seeds, strict=True)))
        if self.config.initialisation == "fism":
            self._start_from_fism(frame, generator)

    def _start_from_fism(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        d = self.config.dimension
        fism = fitted_fism(self, frame, FismConfig(dimension=d - 1), generator)
        everyone = torch.arange(self.catalogue.users, device=self.device)
        with torch.no_grad():
            self.users[:, :d] = fism.user_vectors(UserBatch(everyone, everyone.new_empty(len(everyone), 0)))
            self.items[:, :d] = fism.item_vectors()
            self.output[:d], self.output[d:] = 1, 0

    def _part(self, part: str, frame: "TrainingFrame", seed: int) -> "Neumf":
        config = self.config.model_copy(
            update={"parts": part, "pretraining_epochs": 0, "max_epochs": self.config.pretraining_epochs}
        )
        model = Neumf(config, self.catalogue).to(self.device)
        with torch.enable_grad():
            model.fit(frame, seed=seed)
        return model

    def take_over(self, gmf: "Neumf", mlp: "Neumf") -> None:
        """Start from both parts, each trained alone, with equal say: eq. 13 with alpha = 1/2."""
        with torch.no_grad():
            self.users.copy_(torch.cat([gmf.users, mlp.users], dim=1))
            self.items.copy_(torch.cat([gmf.items, mlp.items], dim=1))
            for own, given in zip((*self.weights, *self.biases), (*mlp.weights, *mlp.biases), strict=True):
                own.copy_(given)
            self.output.copy_(torch.cat([gmf.output, mlp.output]) / 2)

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        asked = torch.cat([samples.positives.unsqueeze(1), samples.negatives], dim=1)
        users, items = embedding(samples.users, self.users), embedding(asked, self.items)
        scores = self._judged(users, items)
        loss = bpr if self.config.loss == "bpr" else logistic
        norm = squared_norm(users, items, count=len(samples))
        return {
            self.config.loss: loss(scores[:, 0], scores[:, 1:]),
            "l2": self.config.regularisation * norm,
        }

    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        users, table = self.trained_users_of(self.users, batch), self.trained_items_of(self.items)
        if items is None:
            items = torch.arange(self.catalogue.items, device=self.device)
        if items.dim() == 1:
            items = items.expand(len(batch), -1)
        rows = max(1, _CELLS // max(1, items.shape[1] * 2 * self.config.dimension))
        chunks = zip(torch.split(users, rows), torch.split(items, rows), strict=True)
        return torch.cat([self._judged(some, table[asked]) for some, asked in chunks])

    def _judged(self, users: Tensor, items: Tensor) -> Tensor:
        """Eq. 12 for users ``[B, c]`` and items ``[B, C, c]``, ``[B, C]``."""
        d = self.config.dimension
        parts = []
        if self._gmf:
            parts.append(users[:, :d].unsqueeze(1) * items[..., :d])
        if self._mlp:
            # The first layer reads users and items apart, so that a user is multiplied once for all items.
            by_user, by_item = self.weights[0].tensor_split(2)
            layer = (users[:, -d:] @ by_user + self.biases[0]).unsqueeze(1) + items[..., -d:] @ by_item
            for weight, bias in zip(list(self.weights)[1:], list(self.biases)[1:], strict=True):
                layer = torch.relu(layer) @ weight + bias
            parts.append(torch.relu(layer))
        return (torch.cat(parts, dim=2) @ self.output).squeeze(2)
