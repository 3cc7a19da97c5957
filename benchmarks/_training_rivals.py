"""Models and loops as published code writes them in plain PyTorch, with the equations and options of ours, but for
:data:`PLAIN_OPTIONS`.

The loop: a :class:`torch.utils.data.Dataset` whose ``__getitem__`` draws a negative by rejection, a ``DataLoader`` in
this process, Adam as it comes, ``zero_grad``, ``backward``, ``step``. What is kind to it: pairs lie in Python lists,
positives in sets, histories are looked up for the whole batch, and only what a batch needs is computed, where the
equations allow that.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from feature_repo.frame import TrainingFrame
from training.batches import Samples
from training.content import concatenated_content, content_clusters
from training.learned import LearnedRecommender
from training.models.lightgcn import LightGcnConfig
from training.models.m3csr_config import M3csrConfig
from training.models.vbpr import VbprConfig

__all__ = ["PLAIN_MODELS", "PLAIN_OPTIONS", "PlainModel", "plain_loop", "same_model_losses"]

Batch = tuple[Tensor, Tensor, Tensor]
"""Rows of users, positives and negatives, ``[B]`` each."""


class Pairs(Dataset[tuple[int, int, int]]):
    """Training pairs, each with an item that its user has not seen."""

    def __init__(self, frame: TrainingFrame) -> None:
        self.pairs, self.items = frame.train.tolist(), len(frame.items)
        self.seen: dict[int, set[int]] = {}
        for user, item in self.pairs:
            self.seen.setdefault(user, set()).add(item)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, row: int) -> tuple[int, int, int]:
        user, positive = self.pairs[row]
        negative = np.random.randint(self.items)
        while negative in self.seen[user]:
            negative = np.random.randint(self.items)
        return user, positive, negative


def plain_loop(
    model: nn.Module, losses: Callable[[Batch], Tensor], frame: TrainingFrame, rate: float, size: int, epochs: int
) -> Iterator[float]:
    """Train; gives the seconds of each epoch."""
    loader = DataLoader(Pairs(frame), batch_size=size, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(epochs):
        began = time.perf_counter()
        model.train()
        for batch in loader:
            optimizer.zero_grad()
            loss = losses(batch)
            torch.autograd.backward(loss)
            optimizer.step()
        model.eval()
        yield time.perf_counter() - began


def same_model_losses(model: LearnedRecommender) -> Callable[[Batch], Tensor]:
    """Our own model's loss of such a batch."""

    def losses(batch: Batch) -> Tensor:
        users, positives, negatives = batch
        samples = Samples(users, positives, negatives.unsqueeze(1), torch.zeros(len(users), 1))
        return torch.stack(list(model.loss_terms(samples).values())).sum()

    return losses


class PlainModel(nn.Module, ABC):
    """What is asked of each."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """To minimise."""

    @abstractmethod
    def towers(self) -> tuple[Tensor, Tensor]:
        """Vectors of all users and of all items."""


def ranking_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Bayesian personalised ranking."""
    return -functional.logsigmoid(positive - negative).mean()


def table(rows: int, width: int, deviation: float) -> nn.Embedding:
    """Embeddings drawn from a normal."""
    made = nn.Embedding(rows, width)
    nn.init.normal_(made.weight, std=deviation)
    return made


class PlainLightGcn(PlainModel):
    """As its authors' PyTorch code: ``torch.sparse.mm`` of a coalesced COO graph for each layer of each batch, layers
    stacked, mean."""

    def __init__(self, frame: TrainingFrame, config: LightGcnConfig) -> None:
        super().__init__()
        self.config, self.count = config, (len(frame.users), len(frame.items))
        self.users = table(len(frame.users), config.dimension, config.initial_deviation)
        self.items = table(len(frame.items), config.dimension, config.initial_deviation)
        user, item = torch.from_numpy(frame.train).T
        index = torch.stack([torch.cat([user, item + len(frame.users)]), torch.cat([item + len(frame.users), user])])
        degree = torch.bincount(index[0], minlength=sum(self.count)).float()
        values = (degree[index[0]] * degree[index[1]]).rsqrt()
        self.graph = torch.sparse_coo_tensor(index, values, (sum(self.count),) * 2, check_invariants=True).coalesce()

    def towers(self) -> tuple[Tensor, Tensor]:
        layer = torch.cat([self.users.weight, self.items.weight])
        layers = [layer]
        for _ in range(self.config.layers):
            layer = torch.sparse.mm(self.graph, layer)
            layers.append(layer)
        users, items = torch.split(torch.stack(layers, dim=1).mean(dim=1), self.count)
        return users, items

    def loss(self, batch: Batch) -> Tensor:
        user, positive, negative = batch
        users, items = self.towers()
        of_user = users[user]
        ranking = ranking_loss((of_user * items[positive]).sum(1), (of_user * items[negative]).sum(1))
        used = self.users(user), self.items(positive), self.items(negative)
        norm = sum(each.pow(2).sum() for each in used) / (2 * len(user))
        return ranking + self.config.regularisation * norm


class PlainVbpr(PlainModel):
    """Equation 4 of the paper for the users and items of a batch."""

    def __init__(self, frame: TrainingFrame, config: VbprConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("content", concatenated_content(frame, config.content_scaling))
        self.content: Tensor
        self.users = table(len(frame.users), config.dimension, config.initial_deviation)
        self.tastes = table(len(frame.users), config.content_dimension, config.initial_deviation)
        self.items = table(len(frame.items), config.dimension, config.initial_deviation)
        self.bias = table(len(frame.items), 1, 0.0)
        self.projection = nn.Linear(self.content.shape[1], config.content_dimension, bias=False)
        self.content_bias = nn.Linear(self.content.shape[1], 1, bias=False)
        nn.init.normal_(self.projection.weight, std=config.initial_deviation)
        nn.init.zeros_(self.content_bias.weight)

    def loss(self, batch: Batch) -> Tensor:
        user, positive, negative = batch
        own, taste = self.users(user), self.tastes(user)
        scores, squares = [], own.pow(2).sum() + taste.pow(2).sum()
        for item in (positive, negative):
            ids, bias, content = self.items(item), self.bias(item), self.content[item]
            visual = (taste * self.projection(content)).sum(1)
            scores.append((own * ids).sum(1) + visual + (bias + self.content_bias(content)).squeeze(1))
            squares = squares + ids.pow(2).sum() + bias.pow(2).sum()
        shared = (self.projection.weight.pow(2).sum() + self.content_bias.weight.pow(2).sum()) / 2
        penalty = self.config.regularisation * squares / (2 * len(user))
        return ranking_loss(*scores) + penalty + self.config.projection_regularisation * shared

    def towers(self) -> tuple[Tensor, Tensor]:
        bias = self.bias.weight + self.content_bias(self.content)
        items = torch.cat([self.items.weight, self.projection(self.content), bias], dim=1)
        ones = torch.ones(len(self.users.weight), 1)
        return torch.cat([self.users.weight, self.tastes.weight, ones], dim=1), items


class Attention(nn.Module):
    """Multi-head attention of one query over a padded sequence, by torch's own kernel."""

    def __init__(self, query: int, item: int, out: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(query, query, bias=False), nn.Linear(item, query, bias=False)
        self.value, self.out = nn.Linear(item, query, bias=False), nn.Linear(query, out, bias=False)

    def forward(self, query: Tensor, items: Tensor, visible: Tensor) -> Tensor:
        parts = self.query(query).unsqueeze(1), self.key(items), self.value(items)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        heard = visible.any(1)
        mask = visible | ~heard.unsqueeze(1)  # Who sees nothing would get NaN.
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        return self.out(mixed.flatten(1) * heard.unsqueeze(1))


class PlainM3csr(PlainModel):
    """Equations 1 to 13 over padded histories ``[B, 50]``, as sequence recommenders are written; the target is masked
    in its own history. Every item has every modality here."""

    def __init__(self, frame: TrainingFrame, config: M3csrConfig) -> None:
        super().__init__()
        self.config = config
        d, e = config.dimension, 2 * config.dimension
        content = concatenated_content(frame, config.content_scaling)
        widths = [frame.modalities[name].shape[1] for name in sorted(frame.modalities)]
        self.contents = torch.split(content, widths, dim=1)
        self.cluster = content_clusters(content, config.clusters, seed=0)
        views = torch.from_numpy(frame.popularity).double()
        self.bin = torch.log2(views + 1).long().clamp(max=config.popularity_bins - 1)
        self.history = torch.from_numpy(frame.history)
        self.users, self.items = nn.Embedding(len(frame.users), d), nn.Embedding(len(frame.items), d)
        self.maps = nn.ModuleList([nn.Linear(width, d) for width in widths])
        self.clusters = nn.ModuleList([nn.Embedding(config.clusters, d) for _ in widths])
        self.behaviour = Attention(d, d, d, config.heads)
        self.tastes = nn.ModuleList([Attention(d, e, e, config.heads) for _ in widths])
        self.intensity = nn.Linear(d + e, 1, bias=False)
        self.popularity, self.gate = nn.Embedding(config.popularity_bins, d), nn.Linear(d, 1)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def encoded(self, items: Tensor) -> list[Tensor]:
        """Eqs. 1-2."""
        parts = zip(self.contents, self.maps, self.clusters, strict=True)
        return [torch.cat([map_(content[items]), of(self.cluster[items])], dim=-1) for content, map_, of in parts]

    def of_users(self, users: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Eqs. 3-9: vectors of users, and their interests ``[B, M, e]``."""
        history, own = self.history[users], self.users(users)
        visible = history >= 0 if target is None else (history >= 0) & (history != target.unsqueeze(1))
        items = history.clamp(min=0)
        behaviour = self.behaviour(own, self.items(items), visible)
        pairs = zip(self.tastes, self.encoded(items), strict=True)
        modal = torch.stack([taste(own.detach(), encoding, visible) for taste, encoding in pairs], dim=1)
        asked = torch.cat([behaviour.detach().unsqueeze(1).expand(-1, modal.shape[1], -1), modal], dim=2)
        weights = torch.softmax(self.intensity(asked) / self.config.temperature, dim=1)
        modal = weights * modal
        return torch.cat([behaviour, modal.flatten(1)], dim=1), modal

    def of_items(self, items: Tensor) -> Tensor:
        """Eqs. 10-11."""
        delta = torch.sigmoid(self.gate(self.popularity(self.bin[items])))
        return torch.cat([(1 - delta) * self.items(items), *(delta * each for each in self.encoded(items))], dim=1)

    def loss(self, batch: Batch) -> Tensor:
        """Eqs. 8, 12 and 13."""
        user, positive, negative = batch
        own, modal = self.of_users(user, positive)
        ranking = ranking_loss((own * self.of_items(positive)).sum(1), (own * self.of_items(negative)).sum(1))
        dots = (modal @ modal.transpose(1, 2)).triu(diagonal=1).pow(2).sum((1, 2)).mean()
        squares = torch.stack([parameter.pow(2).sum() for parameter in self.parameters()]).sum()
        return ranking + self.config.orthogonality * dots + self.config.regularisation * squares

    def towers(self) -> tuple[Tensor, Tensor]:
        users = [self.of_users(part)[0] for part in torch.arange(len(self.history)).split(1024)]
        return torch.cat(users), self.of_items(torch.arange(len(self.bin)))


PLAIN_MODELS: dict[str, Callable[..., PlainModel]] = {
    "lightgcn": PlainLightGcn,
    "vbpr": PlainVbpr,
    "m3csr": PlainM3csr,
}

PLAIN_OPTIONS: dict[str, dict[str, float]] = {
    "lightgcn": {"batch_size": 2048, "learning_rate": 5e-3},
    "vbpr": {"batch_size": 2048, "learning_rate": 1e-2},
}
"""Where they differ from ours: batches of 2048, as published code has them, at the rates that were chosen for them on
TikTok's validation pairs."""
