"""Negative items for losses that compare.

A sampler has ``sample(users, k, generator)``, which returns items and the log-probability of each draw: a sampled
softmax has to correct its scores by it. BPR does without. No sampler ever returns an item of the user's training pairs.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from contracts.errors import BadInput

__all__ = [
    "SAMPLERS",
    "CandidateScores",
    "HardNegatives",
    "InBatchNegatives",
    "MakeSampler",
    "NegativesAmong",
    "PopularityNegatives",
    "Sampler",
    "UniformNegatives",
]

CandidateScores = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]
"""Scores ``[B, C]`` of candidate items ``[B, C]`` for user rows ``[B]`` in their contexts."""

_POWER = 0.75
"""Of the views, as in word2vec's noise distribution (Mikolov et al. 2013)."""

_POOL = 8
"""Uniform draws from which the hardest is chosen."""


class Sampler(Protocol):
    """Draws negatives."""

    def sample(
        self, users: Tensor, k: int, generator: torch.Generator, *, positives: Tensor, context: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """K independent negatives of each user, so that one may come twice.

        Args:
            users: User rows, int64 ``[B]``.
            k: How many.
            generator: Source of randomness, on the same device.
            positives: The item of each training pair, int64 ``[B]``.
            context: What came with each pair, ``[B, ...]``.

        Returns:
            Item rows, int64 ``[B, K]``, and the log-probability with which each was drawn, float32 ``[B, K]``.
        """


class UniformNegatives:
    """Draws uniformly from the items a user has not seen in training.

    The r-th unseen item is found directly instead of by rejection: with a user's positives sorted as
    p_0 < p_1 < ..., the number of unseen items before p_j is p_j - j, so the r-th unseen item is r plus the
    number of j with p_j - j <= r. One sorted array of all users' keys answers a whole batch.

    Args:
        pairs: Known positives (user row, item row), int64 ``[n, 2]``.
        users: Number of users.
        items: Number of items.

    Raises:
        BadInput: Some user has seen every item, so that nothing is left to draw.
    """

    def __init__(self, pairs: Tensor, users: int, items: int) -> None:
        known = _Known(pairs, users, items)
        self._start = known.start
        self._stride = items + 1
        rank = torch.arange(len(known.rows), device=pairs.device) - self._start[known.rows]
        self._keys = known.rows * self._stride + known.items - rank
        self._unseen = items - known.seen

    def sample(
        self,
        users: Tensor,
        k: int,
        generator: torch.Generator,
        *,
        positives: Tensor | None = None,
        context: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Sampler`; positives and contexts make no difference."""
        users = users.unsqueeze(1).expand(-1, k).contiguous()
        unseen = self._unseen[users]
        uniform = torch.rand(users.shape, generator=generator, device=users.device, dtype=torch.float64)
        rank = (uniform * unseen).long()
        before = torch.searchsorted(self._keys, users * self._stride + rank, right=True) - self._start[users]
        return rank + before, -unseen.float().log()


class PopularityNegatives:
    """Draws an unseen item with probability proportional to its training views to a power.

    An item without a view counts as viewed once: whoever has an unseen item can be given one. Weights are rounded to
    whole numbers that add up to about 2^40, which is what the log-probabilities are of.

    Args:
        pairs: Known positives (user row, item row), int64 ``[n, 2]``; one that comes twice is two views.
        users: Number of users.
        items: Number of items.
        power: 0 is uniform, 1 is by views.

    Raises:
        BadInput: Some user has seen every item, so that nothing is left to draw.
    """

    def __init__(self, pairs: Tensor, users: int, items: int, power: float = _POWER) -> None:
        known = _Known(pairs, users, items)
        shares = torch.bincount(pairs[:, 1], minlength=items).clamp(min=1).double() ** power
        bits = min(40, 61 - users.bit_length())  # A user's number and a share of the mass fit into 62 bits.
        self._weights = (shares / shares.sum() * 2**bits).round().long().clamp(min=1)
        self._draw = _Weighted(known.rows, known.items, users, self._weights)

    def sample(
        self,
        users: Tensor,
        k: int,
        generator: torch.Generator,
        *,
        positives: Tensor | None = None,
        context: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Sampler`; positives and contexts make no difference."""
        items = self._draw(users.unsqueeze(1).expand(-1, k).contiguous(), generator)
        return items, self.log_probabilities(users, items)

    def log_probabilities(self, users: Tensor, items: Tensor) -> Tensor:
        """Of each unseen item ``[B, K]`` for its user ``[B]``, float32 ``[B, K]``."""
        weights, mass = self._weights[items].double(), self._draw.mass[users].double().unsqueeze(1)
        return torch.log(weights / mass).float()


class InBatchNegatives:
    """Draws from the positives of the batch's other rows, those left out that the user has seen in training.

    Their log-probability is that of a draw by views, which is what a batch is a sample of (Yi et al. 2019, section 3).
    A user who has seen the positives of all other rows is given draws by views.

    Args:
        pairs: Known positives (user row, item row), int64 ``[n, 2]``.
        users: Number of users.
        items: Number of items.

    Raises:
        BadInput: Some user has seen every item, so that nothing is left to draw.
    """

    def __init__(self, pairs: Tensor, users: int, items: int) -> None:
        self._known = _Known(pairs, users, items)
        self._by_views = PopularityNegatives(pairs, users, items, power=1.0)

    def sample(
        self,
        users: Tensor,
        k: int,
        generator: torch.Generator,
        *,
        positives: Tensor,
        context: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Sampler`; contexts make no difference."""
        offered, copies = torch.unique(positives, return_counts=True)
        rows, seen = self._known.of(users)
        place = torch.searchsorted(offered, seen).clamp(max=len(offered) - 1)
        present = offered[place] == seen
        draw = _Weighted(rows[present], place[present], len(users), copies)
        drawn = offered[draw(torch.arange(len(users), device=users.device).unsqueeze(1).repeat(1, k), generator)]
        none = draw.mass == 0
        if none.any():
            others, _ = self._by_views.sample(users, k, generator)
            drawn = torch.where(none.unsqueeze(1), others, drawn)
        return drawn, self._by_views.log_probabilities(users, drawn)


class HardNegatives:
    """Of several uniform draws the one that the model scores highest (Zhang et al. 2013, dynamic negative sampling).

    The log-probability is that of the uniform draw: how likely the choice made it depends on every score.

    Args:
        pairs: Known positives (user row, item row), int64 ``[n, 2]``.
        users: Number of users.
        items: Number of items.
        scores: What the model says of candidates at the moment.
        pool: Draws to choose from.

    Raises:
        BadInput: Some user has seen every item, so that nothing is left to draw.
    """

    def __init__(self, pairs: Tensor, users: int, items: int, scores: CandidateScores, pool: int = _POOL) -> None:
        self._uniform = UniformNegatives(pairs, users, items)
        self._scores, self._pool = scores, pool

    def sample(
        self,
        users: Tensor,
        k: int,
        generator: torch.Generator,
        *,
        positives: Tensor | None = None,
        context: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Sampler`; positives make no difference."""
        candidates, log_probabilities = self._uniform.sample(users, k * self._pool, generator)
        scores = self._scores(users, candidates, context or {})
        pools = (len(users), k, self._pool)
        best = scores.view(pools).argmax(2, keepdim=True)
        return candidates.view(pools).gather(2, best).squeeze(2), log_probabilities[:, :k]


class NegativesAmong:
    """Draws from some of the items alone, by a sampler that knows them by their places.

    Args:
        make: Makes the sampler, as those of :data:`SAMPLERS` do.
        pairs: Known positives (user row, item row), int64 ``[n, 2]``.
        users: Number of users.
        candidates: Distinct item rows, ascending, with all of the pairs, int64 ``[C]``.
        scores: For those that ask a model.

    Raises:
        BadInput: Some user has seen every candidate.
    """

    def __init__(
        self, make: "MakeSampler", pairs: Tensor, users: int, candidates: Tensor, scores: CandidateScores
    ) -> None:
        self._candidates = candidates
        places = torch.stack([pairs[:, 0], torch.searchsorted(candidates, pairs[:, 1].contiguous())], dim=1)

        def scores_of_places(users: Tensor, items: Tensor, context: Mapping[str, Tensor]) -> Tensor:
            return scores(users, candidates[items], context)

        self._sampler = make(places, users, len(candidates), scores_of_places)

    def sample(
        self, users: Tensor, k: int, generator: torch.Generator, *, positives: Tensor, context: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Sampler`; positives are candidates."""
        known = torch.searchsorted(self._candidates, positives.contiguous())
        places, log_probabilities = self._sampler.sample(users, k, generator, positives=known, context=context)
        return self._candidates[places], log_probabilities


MakeSampler = Callable[[Tensor, int, int, CandidateScores], Sampler]
"""Of training pairs, numbers of users and items, and a model's scores."""

SAMPLERS: dict[str, MakeSampler] = {
    "uniform": lambda pairs, users, items, scores: UniformNegatives(pairs, users, items),
    "popularity": lambda pairs, users, items, scores: PopularityNegatives(pairs, users, items),
    "in-batch": lambda pairs, users, items, scores: InBatchNegatives(pairs, users, items),
    "hard": HardNegatives,
}
"""Name in the configuration → what makes the sampler."""


class _Known:
    """The distinct training pairs in order of user and item."""

    def __init__(self, pairs: Tensor, users: int, items: int) -> None:
        keys = torch.unique(pairs[:, 0] * items + pairs[:, 1])
        self.rows, self.items = keys // items, keys % items
        self.seen = torch.bincount(self.rows, minlength=users)
        """Number of items of each user, ``[U]``."""
        self.start = torch.cumsum(self.seen, 0) - self.seen
        """Where each user's begin, ``[U]``."""
        full = int(self.seen.argmax()) if users else 0
        if users and int(self.seen[full]) >= items:
            raise BadInput(
                f"training pairs of user row {full}",
                found=f"all {items:,} items seen",
                expected="at least one item left to serve as a negative",
                next_step="drop that user, or add items, and ingest again",
            )

    def of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Positions in a batch ``[B]`` of users and the items that each has seen, in order of both."""
        counts = self.seen[users]
        rows = torch.repeat_interleave(counts)
        within = torch.arange(len(rows), device=rows.device) - (torch.cumsum(counts, 0) - counts)[rows]
        return rows, self.items[self.start[users][rows] + within]


class _Weighted:
    """Draws items outside each row's own with probability proportional to whole weights.

    As :class:`UniformNegatives` does, with mass in place of numbers of items: all in whole numbers, so that no
    rounding ever leads to an item that is left out.

    Args:
        rows: Row of each item that is left out, in order, ``[n]``.
        items: That item, in order within a row, distinct there, ``[n]``.
        count: Number of rows R.
        weights: At least 1 each, int64 ``[N]``.
    """

    def __init__(self, rows: Tensor, items: Tensor, count: int, weights: Tensor) -> None:
        own = weights[items]
        left_out = own.new_zeros(count).index_add_(0, rows, own)
        self._until = torch.cumsum(weights, 0)
        self._stride = self._until[-1] + 1
        self._skipped = torch.cat([own.new_zeros(1), torch.cumsum(own, 0)])
        self._start = torch.cumsum(left_out, 0) - left_out
        before = self._skipped[:-1] - self._start[rows]
        self._keys = rows * self._stride + self._until[items] - own - before
        self.mass = self._until[-1] - left_out
        """What is left to draw from, ``[R]``."""

    def __call__(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """One item for each row of ``[B, K]``; any item where a row leaves out all."""
        uniform = torch.rand(rows.shape, generator=generator, device=rows.device, dtype=torch.float64)
        place = (uniform * self.mass[rows]).long()
        skipped = self._skipped[torch.searchsorted(self._keys, rows * self._stride + place, right=True)]
        position = place + skipped - self._start[rows]
        return torch.searchsorted(self._until, position, right=True).clamp(max=len(self._until) - 1)
