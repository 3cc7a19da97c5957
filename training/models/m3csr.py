"""M3CSR (Chen et al. 2024): multi-modal modelling for cold-start short-video recommendation.

Equation numbers are the paper's. What it leaves open and what is done here:

- Eq. 2 gives an item 2d components per modality and eq. 4 gives the user's interest d, yet eq. 12 multiplies the
  two: the attention of eq. 4 ends in 2d components here.
- A user's own target video is left out of the history while training. With it, a user of one interaction would
  learn to match a video with itself.
- The prose speaks of high-order connectivity, no equation has it: the options from ``connectivity`` on are not in the
  paper. ``PLAIN`` of the options switches them off and is reported beside the defaults.
- Nor has the paper ``similarities``, a FISM beside the towers: two models of unlike kinds err on unlike users.
- A user unknown to training asks with the mean user embedding, so that a history alone gets recommendations.
- The ID part of an item without a training interaction is zero when scoring; its content remains.
- An item without a vector of some modality has no part of that modality, in neither tower, and users who saw only
  such items have no interest there.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from training.attention import HistoryAttention, Places, Readings
from training.batches import PADDING, Samples, UserBatch
from training.cold_items import ColdItems
from training.connectivity import Connectivity
from training.content import (
    ContentScaling,
    ItemContent,
    ItemVectors,
    chosen_modalities,
    content_clusters,
    nearest_clusters,
)
from training.internals import Internals
from training.losses import bpr, pairwise_squared_dot, sampled_softmax, squared_norm
from training.models.fism import Fism, FismConfig
from training.models.m3csr_config import M3csrConfig
from training.recommender import Catalogue, TwoTower
from training.visits import some_of_each_user

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["M3csr"]


_FEW = 512
"""Places up to which each is encoded by itself: the shapes of a service's products must not hang on whose histories
have an item in common (:mod:`training.steady`)."""


class _Items(NamedTuple):
    ids: Tensor
    """ID embeddings, ``[n, d]``."""
    encodings: list[Tensor]
    """Per modality ``[n, e]``, e = 2d or, without cluster embeddings, d; zeros where the item has no vector."""
    present: Tensor
    """Which items have a vector, bool ``[n, M]``."""


class _Interests(NamedTuple):
    behaviour: Tensor
    """h_u, ``[B, d]``."""
    intensity: Tensor
    """Of each modality, adding up to 1, ``[B, M]``."""
    modal: Tensor
    """Weighted by intensity, ``[B, M, e]``."""


class M3csr(ColdItems, TwoTower):
    """Two towers whose vectors have D = d + eM components for M modalities; behind them those of ``similarities``.

    Raises:
        BadInput: An option names a modality that the catalogue lacks.
    """

    config: M3csrConfig

    def __init__(self, config: M3csrConfig, catalogue: Catalogue) -> None:
        widths = dict(sorted(catalogue.widths.items()))
        if config.modalities is not None:
            widths = chosen_modalities(widths, config.modalities)
        super().__init__(config, replace(catalogue, widths=widths))
        d = config.dimension
        e = 2 * d if config.cluster_ids else d
        self.users = nn.Parameter(torch.zeros(catalogue.users, d))
        self.items = nn.Parameter(torch.zeros(catalogue.items, d))
        self.maps = nn.ParameterList([nn.Parameter(torch.zeros(width, d)) for width in widths.values()])
        self.map_biases = nn.ParameterList([nn.Parameter(torch.zeros(d)) for _ in widths])
        tables = len(widths) if config.cluster_ids else 0
        self.cluster_tables = nn.ParameterList([nn.Parameter(torch.zeros(config.clusters, d)) for _ in range(tables)])
        self.behaviour = HistoryAttention(query=d, item=d, inner=d, out=d, heads=config.heads)
        self.tastes = nn.ModuleList(
            [HistoryAttention(query=d, item=e, inner=d, out=e, heads=config.heads) for _ in widths]
        )
        if config.interest_intensity:
            self.intensity = nn.Parameter(torch.zeros(d + e, 1))
        if config.popularity_gate:
            self.popularity = nn.Parameter(torch.zeros(config.popularity_bins, d))
            self.gate = nn.Parameter(torch.zeros(d, 1))
            self.gate_bias = nn.Parameter(torch.zeros(1))
        if config.popularity_bias:
            self.bias = nn.Parameter(torch.zeros(catalogue.items))
        if config.connectivity:
            self.register_buffer("connected_users", torch.zeros(catalogue.users, d))
            self.register_buffer("connected_items", torch.zeros(catalogue.items, d))
        if config.similarities is not None:
            self.similarities = Fism(FismConfig(), catalogue).requires_grad_(False)
        self.register_buffer("cluster", torch.zeros(catalogue.items, dtype=torch.int64))
        self.register_buffer("bin", torch.zeros(catalogue.items, dtype=torch.int64))
        self.register_buffer("present", torch.zeros(catalogue.items, len(widths), dtype=torch.bool))
        self.connected_users: Tensor
        self.connected_items: Tensor
        self.cluster: Tensor
        self.bin: Tensor
        self.present: Tensor
        self._widths = list(widths.values())
        self._history: Tensor | None = None
        self._connectivity: Connectivity | None = None

    @property
    def scaling(self) -> ContentScaling:
        return self.config.content_scaling

    def scaled(self, content: ItemContent) -> Tensor:
        known = {name: content.modalities[name] for name in self.catalogue.widths if name in content.modalities}
        return super().scaled(ItemVectors(known, content.missing))

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        config = self.config
        with torch.no_grad():
            for parameter in self._learnt().values():
                if parameter.dim() == 2:
                    parameter.copy_(nn.init.xavier_uniform_(torch.empty(parameter.shape), generator=generator))
                else:
                    parameter.zero_()
            if (deviation := config.id_deviation) is not None:
                for table in (self.users, self.items):
                    table.copy_(torch.empty(table.shape).normal_(0, deviation, generator=generator))
        content = self.scaled(frame)
        seed = int(torch.randint(2**31, (), generator=generator))
        self.content.copy_(content)
        self.present.copy_(self._present(content))
        self.cluster.copy_(content_clusters(content, config.clusters, seed))
        views = torch.from_numpy(frame.popularity).double()
        self.bin.copy_(torch.log2(views + 1).long().clamp(max=config.popularity_bins - 1))
        if config.popularity_bias:
            user, item = torch.from_numpy(frame.train).T
            shares = (config.pairs_per_user or len(item)) / torch.bincount(user)[user]
            visited = torch.bincount(item, weights=shares.clamp(max=1), minlength=len(frame.items))
            with torch.no_grad():
                self.bias.copy_(torch.log1p(visited))
        self._history = torch.from_numpy(frame.history).to(self.device)
        if config.connectivity:
            self._connectivity = Connectivity(
                frame.train, len(frame.users), len(frame.items), config.connectivity, self.device
            )
        if config.similarities is not None:
            self.similarities.requires_grad_(True)
            self.similarities.fit(frame, seed=int(torch.randint(2**31, (), generator=generator)))
            self.similarities.requires_grad_(False).zero_grad()

    def content_state(self, scaled: Tensor) -> dict[str, Tensor]:
        """Items whose content is another go to the nearest of the clusters whose embeddings were trained."""
        held, clusters = self.content.cpu(), self.cluster.cpu()
        other = torch.ones(len(scaled), dtype=torch.bool)
        other[: len(held)] = (scaled[: len(held)] != held).any(1)
        found = torch.zeros(len(scaled), dtype=torch.int64)
        found[: len(held)] = clusters
        found[other] = nearest_clusters(scaled[other], held, clusters)
        return {"content": scaled, "cluster": found, "present": self._present(scaled)}

    def visits(self, pairs: Tensor, generator: torch.Generator) -> Tensor:
        most = self.config.pairs_per_user
        order = super().visits(pairs, generator)
        return order if most is None else order[some_of_each_user(pairs[order, 0], most)]

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        assert self._history is not None, "prepare() comes first"
        config, positives, negatives = self.config, samples.positives, samples.negatives
        users, ids = self._connected(without=(samples.users, positives))
        user, row = torch.unique(samples.users, return_inverse=True)
        history = self._history[user]
        visible = history != PADDING
        places = torch.full_like(history, -1)
        places[visible] = torch.arange(int(visible.sum()), device=places.device)
        # A history holds an item once. Rows that read the same are computed once: a heavy user's target is seldom
        # among the newest 50.
        target = torch.where(history[row] == positives.unsqueeze(1), places[row], -1).amax(1)
        distinct, reading = torch.unique(row * (places.numel() + 1) + target + 1, return_inverse=True)
        readings = Readings(distinct // (places.numel() + 1), distinct % (places.numel() + 1) - 1)
        shown = [history[visible], positives, negatives.flatten()]
        rows, position = torch.unique(torch.cat(shown), return_inverse=True)
        seen, liked, drawn = position.split([len(part) for part in shown])
        items = self._encode(rows, ids)
        where = Places(visible.nonzero()[:, 0], seen)
        interests = self._interests(embedding(user, users), items, where, readings)
        tower, vectors = embedding(reading, self._final(interests)), self._item_tower(rows, items)
        positive = (tower * embedding(liked, vectors)).sum(1)
        negative = (embedding(drawn, vectors).view(*negatives.shape, -1) * tower.unsqueeze(1)).sum(2)
        modal = embedding(reading, interests.modal.flatten(1)).view(len(reading), *interests.modal.shape[1:])
        if config.objective == "bpr":
            loss = bpr(positive, negative)
        else:
            loss = sampled_softmax(positive, negative, torch.full_like(negative, -math.log(negative.shape[1])))
        return {
            config.objective: loss,
            "orthogonality": config.orthogonality * pairwise_squared_dot(modal),
            "l2": self._penalty(samples),
        }

    def _penalty(self, samples: Samples) -> Tensor:
        """The last term of eq. 13, and what options make of it."""
        config = self.config
        if config.id_regularisation is None:
            return config.regularisation * 2 * squared_norm(*self._learnt().values(), count=1)
        apart = {"users", "items", "bias"}
        others = [parameter for name, parameter in self._learnt().items() if name not in apart]
        draws = samples.negatives.shape[1]
        norms = (
            embedding(samples.users, self.users.square().sum(1, keepdim=True)).sum()
            + embedding(samples.positives, self.items.square().sum(1, keepdim=True)).sum()
            + embedding(samples.negatives, self.items.square().sum(1, keepdim=True)).sum() / draws
        )
        ids = config.id_regularisation * norms / (2 * len(samples))
        return ids + config.regularisation * 2 * squared_norm(*others, count=1)

    def _learnt(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def refresh(self) -> None:
        if self.config.connectivity:
            with torch.no_grad():
                users, items = self._connected()
                self.connected_users.copy_(users)
                self.connected_items.copy_(items)

    def user_vectors(self, batch: UserBatch) -> Tensor:
        towers = self._final(self._interests_of(batch)) * self.can_score(batch).unsqueeze(1)
        if (weight := self.config.similarities) is None:
            return towers
        return torch.cat([towers, weight * self.similarities.user_vectors(batch)], dim=1)

    def item_vectors(self) -> Tensor:
        rows = torch.arange(self.catalogue.items, device=self.device)
        vectors = self._item_tower(rows, self._encode(rows, self._tables()[1]))
        known = torch.ones(vectors.shape[1], dtype=torch.bool, device=self.device)
        known[: self.config.dimension] = False
        known[known.shape[0] - self.config.popularity_bias :] = False
        towers = torch.where(known, vectors, self.trained_items_of(vectors))
        if self.config.similarities is None:
            return towers
        return torch.cat([towers, self.similarities.item_vectors()], dim=1)

    def can_score(self, batch: UserBatch) -> Tensor:
        return (batch.history != PADDING).any(1)

    @torch.no_grad()
    def intensities(self, batch: UserBatch) -> Tensor:
        """How much each modality counts for B users (eq. 6, Fig. 6): rows add up to 1, ``[B, M]`` in order of name."""
        return self._interests_of(batch).intensity

    @torch.no_grad()
    def content_shares(self) -> Tensor:
        """delta of eq. 10 for each bin of popularity, coldest first: the weight of content against ID, ``[bins]``.

        Bin b holds items with 2^b - 1 to 2^(b+1) - 2 views, the last one all above. :attr:`bin` has each item's.
        """
        return self._content_share(torch.arange(self.config.popularity_bins, device=self.device)).squeeze(1)

    @torch.no_grad()
    def item_embeddings(self) -> dict[str, Tensor]:
        """What Fig. 1 sets side by side, of all items: ``id`` ``[N, d]``, and each modality's encoding (eq. 2)
        ``[N, e]``; see :attr:`present` and :attr:`item_trained` for the rows that mean something."""
        ids, encodings, _ = self._encode(torch.arange(self.catalogue.items, device=self.device), self._tables()[1])
        return {"id": ids, **dict(zip(self.catalogue.widths, encodings, strict=True))}

    @torch.no_grad()
    def internals(self) -> Internals:
        embeddings = self.item_embeddings()
        return Internals(
            content_weight=self.content_shares()[self.bin] if self.config.popularity_gate else None,
            intensities=self.intensities if self.config.interest_intensity else None,
            modalities=tuple(self.catalogue.widths),
            ids=embeddings.pop("id"),
            contents=torch.cat(list(embeddings.values()), dim=1),
            both=self.item_trained & self.present.any(1),
        )

    def _present(self, scaled: Tensor) -> Tensor:
        """Which items have a vector of each modality, ``[N, M]``: a missing one is all zeros."""
        return torch.stack([part.any(1) for part in torch.split(scaled, self._widths, dim=1)], dim=1)

    def _connected(self, without: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """ID embeddings of users and items as sequences and towers take them in; for training."""
        if not self.config.connectivity:
            return self.users, self.items
        assert self._connectivity is not None, "prepare() comes first"
        return self._connectivity.means(self.users, self.items, without)

    def _tables(self) -> tuple[Tensor, Tensor]:
        """The same when scoring, without the graph."""
        return (self.connected_users, self.connected_items) if self.config.connectivity else (self.users, self.items)

    def _encode(self, rows: Tensor, ids: Tensor) -> _Items:
        """Eqs. 1-2: content mapped to the behaviour space, beside the cluster's embedding.

        Args:
            rows: Of the items, ``[n]``.
            ids: ID embeddings of all items, ``[N, d]``.
        """
        present, clusters = self.present[rows], self.cluster[rows]
        contents = torch.split(embedding(rows, self.content), self._widths, dim=1)
        encodings = [
            content @ matrix + bias for content, matrix, bias in zip(contents, self.maps, self.map_biases, strict=True)
        ]
        for m, table in enumerate(self.cluster_tables):
            encodings[m] = torch.cat([encodings[m], embedding(clusters, table)], dim=1)
        if not present.all():
            encodings = [encoding * present[:, m : m + 1] for m, encoding in enumerate(encodings)]
        return _Items(embedding(rows, ids), encodings, present)

    def _interests_of(self, batch: UserBatch) -> _Interests:
        users, ids = self._tables()
        known = self.is_trained(batch).unsqueeze(1)
        queries = torch.where(known, users[batch.rows.clamp(min=0)], users.mean(0))
        queries = queries * self.can_score(batch).unsqueeze(1)  # Without a history there is nothing to say.
        visible = batch.history != PADDING
        if visible.numel() <= _FEW:
            rows, position = batch.history.clamp(min=0).flatten(), visible.flatten().nonzero()[:, 0]
        else:
            rows, position = torch.unique(batch.history[visible], return_inverse=True)
        return self._interests(queries, self._encode(rows, ids), Places(visible.nonzero()[:, 0], position))

    def _interests(
        self, queries: Tensor, items: _Items, places: Places, readings: Readings | None = None
    ) -> _Interests:
        """Eqs. 3-7.

        Args:
            queries: ID embeddings of the users, ``[B, d]``.
            items: Those in their histories, and perhaps others.
            places: Where.
            readings: What is read of the histories; each once and whole if None.
        """
        behaviour = self.behaviour(queries, items.ids, places, readings)  # eq. 3
        tastes = zip(self.tastes, items.encodings, items.present.T, strict=True)
        modal = torch.stack(
            [taste(queries.detach(), encoding, places, readings, there) for taste, encoding, there in tastes], dim=1
        )  # eq. 4
        if self.config.own_embedding:
            behaviour = behaviour + (queries if readings is None else embedding(readings.row, queries))
        if not self.config.interest_intensity:
            intensity = modal.new_full(modal.shape[:2], 1 / modal.shape[1])
        else:
            own = behaviour.detach().unsqueeze(1).expand(-1, modal.shape[1], -1)
            factors = (torch.cat([own, modal], dim=2) @ self.intensity).squeeze(2)  # eq. 5
            heard = modal.detach().any(2)
            factors = factors.masked_fill(~heard & heard.any(1, keepdim=True), -torch.inf)
            intensity = torch.softmax(factors / self.config.temperature, dim=1)  # eq. 6
        return _Interests(behaviour, intensity, intensity.unsqueeze(2) * modal)  # eq. 7

    def _final(self, interests: _Interests) -> Tensor:
        """Eq. 9; at its end 1 for the bias of items, where they have one."""
        parts = [interests.behaviour, interests.modal.flatten(1)]
        if self.config.popularity_bias:
            parts.append(interests.behaviour.new_ones(len(interests.behaviour), 1))
        return torch.cat(parts, dim=1)

    def _item_tower(self, rows: Tensor, items: _Items) -> Tensor:
        """Eqs. 10-11: the colder the item, the more its content counts."""
        ids, bins = items.ids, self.bin[rows]
        bias = self.bias[rows].unsqueeze(1) if self.config.popularity_bias else None
        if (cold := self.taken_for_cold(len(rows))) is not None:
            known = ~cold.unsqueeze(1)
            ids, bins, bias = ids * known, bins * ~cold, None if bias is None else bias * known
        delta = self._content_share(bins)
        parts = [(1 - delta) * ids, *(delta * encoding for encoding in items.encodings)]
        return torch.cat(parts if bias is None else [*parts, bias], dim=1)

    def _content_share(self, bins: Tensor) -> Tensor:
        """Eq. 10, ``[n, 1]``."""
        if not self.config.popularity_gate:
            return torch.full((len(bins), 1), 0.5, device=bins.device)
        return torch.sigmoid(embedding(bins, self.popularity) @ self.gate + self.gate_bias)
