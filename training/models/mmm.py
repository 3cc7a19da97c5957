"""MMM: multi-source, multi-net micro-video recommendation (Ma et al., Data Science and Engineering 4, 2019).

Equation numbers are the paper's; our copy of it lacks 15 and all that follow. They are derived here from the joint
probability that sections 3.2-3.5 state: of vectors u of users, v of items, g of categories and u^k of users within
network k, given interactions R, contents c^m and networks with weights T,

    P ~ prod_ij N(R_ij | u_i . (v_j + g_c(j)), s^2)  prod_i N(u_i | 0, s_u^2)  prod_j N(v_j | 0, s_v^2)           (11)
        prod_c N(g_c | mu_c, s_c^2) N(g_c | 0, s_t^2)  prod_jm sigmoid(v_j . W_m c_j^m)                        (10, 7)
        prod_i N(u_i | sum_k S(a)_ik u_i^k, s_1^2)  prod_ik N(u_i^k | sum_n T_in u_n^k, s_2^2) N(u_i^k | 0, s_3^2)  (14)

whose negative logarithm times s^2, without constants and with l_x = s^2 / s_x^2, is

    L = 1/2 sum_ij (R_ij - u_i . (v_j + g_c(j)))^2 + l_u/2 sum_i |u_i|^2 + l_v/2 sum_j |v_j|^2
        + l_c/2 sum_c |g_c - mu_c|^2 + l_t/2 sum_c |g_c|^2 - l_m sum_jm log sigmoid(v_j . W_m c_j^m)
        + l_1/2 sum_i |u_i - sum_k S(a)_ik u_i^k|^2 + l_2/2 sum_ik |u_i^k - sum_n T_in u_n^k|^2 + l_3/2 sum_ik |u_i^k|^2

(the last line is eq. 15, the whole the loss of section 3.6). With e_ij = u_i . (v_j + g_c(j)) - R_ij, the updates of
section 3.7 follow these derivatives, which automatic differentiation gives and a test compares:

    dL/du_i   = sum_j e_ij (v_j + g_c(j)) + l_u u_i + l_1 (u_i - sum_k S(a)_ik u_i^k)
    dL/dv_j   = sum_i e_ij u_i + l_v v_j - l_m sum_m (1 - sigmoid(v_j . W_m c_j^m)) W_m c_j^m
    dL/dg_c   = sum_{j: c(j) = c} sum_i e_ij u_i + l_c (g_c - mu_c) + l_t g_c
    dL/du_i^k = - l_1 S(a)_ik (u_i - sum_l S(a)_il u_i^l) + l_2 (u_i^k - sum_n T_in u_n^k)
                - l_2 sum_{w: i among its ties} T_wi (u_w^k - sum_n T_wn u_n^k) + l_3 u_i^k
    dL/da_ik  = - l_1 S(a)_ik (u_i - sum_l S(a)_il u_i^l) . (u_i^k - sum_l S(a)_il u_i^l)

What the paper leaves open, what differs, and what goes beyond it:

- R is 1 for a training pair and 0 for items drawn against it. A step sees a batch and estimates L over the number of
  training pairs: squared errors, priors of u and v and eq. 7 of the batch, where those often seen count more often; the
  sums over categories and networks whole. Adam without decay of the step; word vectors start by chance, not from GloVe.
- The centres mu go on by one round of eq. 9 before each epoch, from a K-means before the first.
- The paper ties users who liked the same item as a network of its own; here to the most similar of them.
- Eq. 7 only rewards likeness, and vectors all along one direction please it: ``content_contrasts`` also tells an item
  from the content of others. ``item_bias`` and ``spectral_start`` are not in the paper. ``PLAIN`` is without all three.
- An item without a training pair has, in the place of v, the direction that eq. 7 and its prior make most likely, in
  the mean length of trained ones, and the category of that; with neither text nor vectors it has none. A user without
  one who has a tie to a user with one has what eqs. 12 and 13 say. Both are worked out after each epoch, so that scores
  need neither contents nor networks.
- Users without ties in a network are left out of its terms, and the softmax of eq. 13 is over the others.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, logsigmoid, normalize

from contracts.errors import NotFound
from training.batches import Samples, UserBatch
from training.categories import HiddenCategories
from training.histories import HistorySum
from training.learned import LearnedRecommender
from training.losses import squared_norm
from training.models.mmm_config import MmmConfig
from training.networks import UserNetworks, shared_interests
from training.recommender import Catalogue, TwoTower
from training.spectral import spectral_start
from training.words import TextCnn, words_of

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["Mmm"]

_FILTER_SIZES = (2, 3, 4)
"""Words that a filter over titles reads (section 4.2)."""

_SHARED = "shared interests"
"""The network that interactions make; no snapshot's network has a space in its name."""

_SHRINKAGE = 10.0
"""Of the similarities in it: what rests on few items counts less."""

_ROWS = 4096
"""Items whose content is worked out at a time."""

_STEPS = 50
"""Steps up the likelihood of an item's vector given its content."""


class Mmm(LearnedRecommender, TwoTower):
    """score(u, i) = u . (v_i + g_c(i)) + b_i, as two towers: [u, u, 1] and [v, v' + g, b] (D = 2d + 1).

    v' is what content says of items without a training pair, whose v is zero.
    """

    config: MmmConfig

    def __init__(self, config: MmmConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d = config.dimension
        self.users = nn.Parameter(torch.zeros(catalogue.users, d))
        self.items = nn.Parameter(torch.zeros(catalogue.items, d))
        if config.item_bias:
            self.bias = nn.Parameter(torch.zeros(catalogue.items, 1))
        if config.content:
            widths = catalogue.widths.values()
            self.text = TextCnn(config.word_dimension, _FILTER_SIZES, config.filters, d)
            self.layers = nn.ParameterList([nn.Parameter(torch.zeros(width, d)) for width in widths])
            self.layer_biases = nn.ParameterList([nn.Parameter(torch.zeros(d)) for _ in widths])
            # W of eq. 7: of each modality in order of name, of the text last.
            self.maps = nn.ParameterList([nn.Parameter(torch.zeros(d, d)) for _ in range(len(widths) + 1)])
        if config.categories:
            self.categories = HiddenCategories(config.categories, catalogue.items, d)
        if config.networks:
            self.networks = UserNetworks(catalogue.users, d)
        self.register_buffer("expected_users", torch.zeros(catalogue.users if config.networks else 0, d))
        self.register_buffer("expected_items", torch.zeros(catalogue.items if config.content else 0, d))
        self.register_buffer("reached", torch.zeros(catalogue.users, dtype=torch.bool))
        self.expected_users: Tensor
        self.expected_items: Tensor
        self.reached: Tensor
        self._words: Tensor | None = None
        self._vectors: list[Tensor] = []
        self._pairs = 1

    def prepare(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        """As in the base class.

        Raises:
            NotFound: The data have nothing of the only source that the options leave the model.
        """
        config = self.config
        self._require_a_source(frame)
        self._pairs = len(frame.train)
        with torch.no_grad():
            for table in (self.users, self.items):
                table.copy_(torch.empty(table.shape).normal_(0, config.initial_deviation, generator=generator))
            if config.spectral_start:
                self._start_from_factors(frame, int(torch.randint(2**31, (), generator=generator)))
            if config.item_bias:
                self.bias.zero_()
        if config.content:
            self._take_content(frame, generator)
        if config.networks:
            networks = dict(frame.networks)
            if config.shared_interests:
                shape = (len(frame.users), len(frame.items))
                networks[_SHARED] = shared_interests(frame.train, shape, config.shared_interests, _SHRINKAGE)
            self.networks.start(networks, self.users.detach() * self.user_trained.unsqueeze(1))
            near = self.networks.neighbours(self.user_trained.float().unsqueeze(1)).sum((0, 2)) > 0
            self.reached.copy_(near & ~self.user_trained)

    def _require_a_source(self, frame: "TrainingFrame") -> None:
        """With several sources the model does without those that the data lack."""
        config = self.config
        if config.categories:
            return
        networks = config.networks and (config.shared_interests or any(m.nnz for m in frame.networks.values()))
        content = config.content and (frame.modalities or any(frame.texts or ()))
        if (config.networks or config.content) and not networks and not content:
            sources = {"networks of users": config.networks, "titles or vectors of the items": config.content}
            raise NotFound(
                f"model mmm ({config.variant}) without categories",
                found=f"snapshot {frame.snapshot.id} as {frame.feature_service} without "
                + " and without ".join(name for name, wanted in sources.items() if wanted),
                expected="data of at least one source that the options name",
                next_step="train with `--service mmm_v1` or `mmm_music_v1` on data that have them, or choose other "
                "sources with `--set content=…`, `categories=…` and `networks=…`",
            )

    def _start_from_factors(self, frame: "TrainingFrame", seed: int) -> None:
        """The low-rank part of the normalised interactions, so large that its squared errors are least."""
        shape, config = (len(frame.users), len(frame.items)), self.config
        start = spectral_start(
            frame.train, shape, config.dimension, beta=0.5, spread=1.0, generator=np.random.default_rng(seed)
        )
        rows, columns = torch.from_numpy(frame.train).T
        counts = torch.bincount(rows, minlength=shape[0]).clamp(min=1)
        users = (HistorySum.of(frame.train, *shape).forward @ start.witnesses) * counts.pow(-0.5).unsqueeze(1)
        items = start.targets
        scores = (users[rows] * items[columns]).sum(1).double()
        # An item drawn against a pair is any item: its expected square is that of all scores.
        drawn = ((users.T @ users) * (items.T @ items)).double().sum() * len(rows) * config.negatives
        size = float(scores.sum() / (scores.square().sum() + config.unknown_weight * drawn / (shape[0] * shape[1])))
        balance = float(items.square().mean().sqrt() / users.square().mean().sqrt())
        self.users.copy_(users * (size * balance) ** 0.5)
        self.items.copy_(items * (size / balance) ** 0.5)

    def _take_content(self, frame: "TrainingFrame", generator: torch.Generator) -> None:
        config = self.config
        with torch.no_grad():
            for weight in (*self.layers, *self.maps):
                weight.copy_(nn.init.xavier_uniform_(torch.empty(weight.shape), generator=generator))
            for bias in self.layer_biases:
                bias.zero_()
        words, rows = words_of(
            frame.texts or (None,) * len(frame.items), rare=config.rare_word, longest=config.longest_title
        )
        self.text.start(words, generator)
        self._words = rows.to(self.device) if words else None
        # Of variance 1 instead of length 1, which makes activations of a like size whatever the width.
        self._vectors = [
            normalize(torch.from_numpy(vectors), dim=1).to(self.device) * vectors.shape[1] ** 0.5
            for _, vectors in sorted(frame.modalities.items())
        ]

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        if not self.config.categories:
            return
        items = self._known_items()
        if epoch == 1:
            self.categories.start(*items, seed=int(torch.randint(2**31, (), generator=generator, device=self.device)))
        else:
            self.categories.estimate(*items)

    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        config, count = self.config, len(samples)
        rows = torch.cat([samples.positives.unsqueeze(1), samples.negatives], dim=1)
        users, items = embedding(samples.users, self.users), embedding(rows, self.items)
        judged = items + self.categories.of(rows) if config.categories else items
        scores = (judged @ users.unsqueeze(2)).squeeze(2)
        if config.item_bias:
            scores = scores + embedding(rows, self.bias).squeeze(2)
        errors = (1 - scores[:, 0]).square().sum() + config.unknown_weight * scores[:, 1:].square().sum()
        terms = {
            "squared": errors / (2 * count),
            "l2": config.regularisation * squared_norm(users, items, count=count),
        }
        if config.content and (self._vectors or self._words is not None):
            terms["content"] = config.content_weight * self._unlikeness(samples.positives)
        if config.categories:
            near, small = self.categories.penalties()
            sums = config.centre_regularisation * near + config.category_regularisation * small
            terms["categories"] = sums / self._pairs
        if config.networks:
            apart, alone, small = self.networks.penalties(self.users)
            sums = config.network_regularisation * apart + config.neighbour_regularisation * alone
            terms["networks"] = (sums + config.network_prior * small) / self._pairs
        return terms

    def _unlikeness(self, items: Tensor) -> Tensor:
        """Negative logarithm of eq. 7, summed over what each of B items has, mean over the items.

        With contrasts, less the logarithm of 1 - P for the content of other items of the batch, as many as asked for,
        their mean.
        """
        vectors, contrasts = embedding(items, self.items), min(self.config.content_contrasts, len(items) - 1)
        distinct, place = torch.unique(items, return_inverse=True)
        total = vectors.new_zeros(())
        for mapped, there in self._mapped(distinct):
            mapped, there = embedding(place, mapped), there[place]
            total = total - (logsigmoid((vectors * mapped).sum(1)) * there).sum()
            for shift in range(1, contrasts + 1):
                other = mapped.roll(shift, 0)
                counts = there & there.roll(shift) & (items != items.roll(shift))
                total = total - (logsigmoid(-(vectors * other).sum(1)) * counts).sum() / contrasts
        return total / len(items)

    def _mapped(self, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
        """W_m c^m of n items for each kind of content (eqs. 1-6), ``[n, d]``, and who has it, bool ``[n]``."""
        found = [
            (torch.relu(vectors[rows] @ weight + bias) @ mapping, vectors[rows].any(1))  # eq. 6
            for vectors, weight, bias, mapping in zip(
                self._vectors, self.layers, self.layer_biases, self.maps, strict=False
            )
        ]
        if self._words is not None:
            words = self._words[rows]
            found.append((self.text(words) @ self.maps[-1], words.any(1)))
        return found

    @torch.no_grad()
    def refresh(self) -> None:
        if self.config.content:
            self.expected_items.zero_()
            for rows in torch.split((~self.item_trained).nonzero().squeeze(1), _ROWS):
                self.expected_items[rows] = self._most_likely(rows)
        if self.config.networks:
            self.expected_users.copy_(self.networks.mixed(self.networks.neighbours()))
        if self.config.categories:
            self.categories.assign(*self._known_items())

    def _most_likely(self, rows: Tensor) -> Tensor:
        """The direction of v at which eq. 7 times its prior is greatest, of n items ``[n, d]``; zeros without content.

        Its length says nothing of how long trained vectors are, which squared errors decide: it has their mean length.
        """
        rate, decay = self.config.content_weight, self.config.regularisation
        found = self.items.new_zeros(len(rows), 1, self.config.dimension)
        contents = self._mapped(rows)
        if not contents:
            return found.squeeze(1)
        mapped = torch.stack([mapped * there.unsqueeze(1) for mapped, there in contents], dim=1)
        # The logarithm is concave, and its slope changes by no more than this.
        bend = decay + rate / 4 * mapped.square().sum((1, 2), keepdim=True)
        for _ in range(_STEPS):
            doubt = torch.sigmoid(-(found * mapped).sum(2, keepdim=True))
            found = found + (rate * (doubt * mapped).sum(1, keepdim=True) - decay * found) / bend.clamp(min=1e-9)
        length: Tensor = self.items[self.item_trained].norm(dim=1).mean()
        return normalize(found.squeeze(1), dim=1) * length

    def _known_items(self) -> tuple[Tensor, Tensor]:
        """Vectors of all items, ``[N, d]``, and whose says something, bool ``[N]``."""
        items = self.trained_items_of(self.items.detach())
        if self.config.content:
            items = items + self.expected_items
        return items, self.item_trained | items.any(1)

    def can_score(self, batch: UserBatch) -> Tensor:
        """Whether each user is known and has a training pair, or a tie to somebody who has, bool ``[B]``."""
        return self.is_trained(batch) | self._is_reached(batch)

    def _is_reached(self, batch: UserBatch) -> Tensor:
        return (batch.rows >= 0) & self.reached[batch.rows.clamp(min=0)]

    def user_vectors(self, batch: UserBatch) -> Tensor:
        users = self.trained_users_of(self.users, batch)
        if self.config.networks:
            users = users + self.expected_users[batch.rows.clamp(min=0)] * self._is_reached(batch).unsqueeze(1)
        ones = [self.can_score(batch).to(users.dtype).unsqueeze(1)] if self.config.item_bias else []
        return torch.cat([users, users, *ones], dim=1)

    def item_vectors(self) -> Tensor:
        others = torch.zeros_like(self.items)
        if self.config.content:
            others = others + self.expected_items
        if self.config.categories:
            others = others + self.categories.of(torch.arange(self.catalogue.items, device=self.device))
        biases = [self.bias] if self.config.item_bias else []
        return torch.cat([self.trained_items_of(self.items), others, *biases], dim=1)
