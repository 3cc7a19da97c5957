"""Candidates ranked by a model: the best items of users, and where held-out items stand.

A held-out item whose score others share is not favoured: those tied stand in a random order, and it gets the rank that
it has on average, 1 + better + tied / 2 where it is the only held-out item among them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from contracts.errors import BadInput, TrainingDiverged
from training.batches import PADDING, UserBatch
from training.candidates import drawn_candidates
from training.metrics import Ranks
from training.protocols import HeldOut, Protocol
from training.recommender import Recommender, TwoTower

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["Ranked", "Standing", "ranked", "stand"]

Rows = npt.NDArray[np.int64]

_CHUNK = 1024
"""Most lists scored at a time."""

_CELLS = 1 << 25
"""Most scores, and most numbers of gathered item vectors, held at a time; bounds memory at 128 MiB for each."""

_SCORER_ITEMS = 256
"""Items that a scorer scores at a time."""

_SCORER_CELLS = 1 << 16
"""Most scores asked of a scorer at a time: its own tensors have many numbers for each."""


class Ranked(NamedTuple):
    """The best items of some users."""

    users: Rows
    """User rows, ``[B]``."""
    items: Tensor
    """Item rows, best first, ``[B, k]``, -1 behind the last candidate; fewer columns where there are fewer items."""
    able: Tensor
    """Whether the model can score the user, bool ``[B]``; the list of others means nothing."""
    width: int
    """Number of items that were ranked."""


@dataclass(frozen=True)
class Standing:
    """Where the held-out items stand in the lists of a model."""

    ranks: Ranks
    """Exact up to the largest cut-off of the protocol, or as deep as was asked for; behind it only that they are
    behind it."""
    users: Rows
    """User row of each list, ascending, ``[L]``; a user has one list, or one for each held-out event."""
    pairs: Rows
    """Held-out (user row, item row) in the order of the ranks, ``[m, 2]``."""
    shown: Mapping[int, Rows] = field(default_factory=dict)
    """Cut-off → in the first places of how many lists each item stands, ``[N]``. Empty in sampled ranking, whose lists
    hold what was drawn."""


def ranked(model: Recommender, frame: "TrainingFrame", users: Rows, k: int) -> Iterator[Ranked]:
    """Rank all items that each user has not seen in training, some users at a time; needs inference mode.

    Args:
        model: A fitted model.
        frame: Gives each user's history and the training items that are no candidates.
        users: User rows, ``[U]``.
        k: Length of the lists.

    Raises:
        TrainingDiverged: A score is NaN or infinite; a ranking by such scores would mean nothing.
    """
    seen = _Grouped(frame.train, len(frame.users))
    for part in _scored(model, frame, users):
        width = part.scores.shape[1]
        part.scores.view(-1)[seen.flat(part.users, width).to(part.scores.device)] = -torch.inf
        best = part.scores.topk(min(k, width), dim=1)
        items = best.indices.masked_fill(best.values == -torch.inf, PADDING)
        yield Ranked(part.users, items, part.able, width)


def stand(
    model: Recommender, frame: "TrainingFrame", held: HeldOut, protocol: Protocol, depth: int | None = None
) -> Standing:
    """Rank the candidates of each list and note where the held-out items stand.

    In full ranking without contexts a user has one list, with all held-out items of the user; otherwise each held-out
    event has a list of its own. A user whom the model cannot score has no ranking, and so no hit.

    Args:
        model: A fitted model.
        frame: Gives histories, contexts, and which items a user has interactions with.
        held: The events; their order is of no consequence.
        protocol: The candidates, and how far down ranks matter.
        depth: Down to where ranks are to be exact, if further.

    Raises:
        BadInput: There are no events, one is of an item that is no candidate, or too few candidates are left to draw.
        TrainingDiverged: A score is NaN or infinite; a ranking by such scores would mean nothing.
    """
    _require_events(frame, held)
    sampled = protocol.negatives is not None
    keys = (held.pairs[:, 1], held.pairs[:, 0])
    order = np.lexsort(keys if held.context is None else (held.context, *keys))
    pairs = held.pairs[order]
    context = None if held.context is None else held.context[order]
    if sampled or context is not None:
        users, place = pairs[:, 0], np.arange(len(pairs))
    else:
        users, place = np.unique(pairs[:, 0], return_inverse=True)
    shown = _Shown(() if sampled else protocol.cutoffs, len(frame.items), held.candidates, model.device)
    with torch.inference_mode():
        if protocol.negatives is not None:
            drawn = drawn_candidates(frame, pairs, held.candidates, protocol.negatives, protocol.seed)
            parts = list(_in_samples(model, frame, pairs, context, drawn))
        else:
            seen = frame.train if protocol.exclude_seen else frame.train[:0]
            depth = max(*protocol.cutoffs, depth or 0)
            parts = list(_in_all(model, frame, users, context, pairs, place, held.candidates, seen, depth, shown))
        better, tied, able = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    rank = np.where(able[place], _expected_ranks(place, better, tied), np.inf)
    return Standing(Ranks.of(place, rank), users, pairs, shown.counts())


class _Scores(NamedTuple):
    """Scores of the candidates of some lists."""

    start: int
    users: Rows
    scores: Tensor
    able: Tensor


_Counts = tuple[Tensor, Tensor, Tensor]
"""Candidates better than each held-out item and tied with it, and whether the model can score each list."""


def _scored(
    model: Recommender, frame: "TrainingFrame", users: Rows, context: Rows | None = None, items: Rows | None = None
) -> Iterator[_Scores]:
    """Scores ``[B, N]``, or ``[B, C]`` of some items, of each list; finite, and the caller's to write on."""
    device = model.device
    columns = None if items is None else torch.from_numpy(items).to(device)
    if isinstance(model, TwoTower):
        table = model.item_vectors() if columns is None else model.item_vectors()[columns]
        size = max(1, min(_CHUNK, _CELLS // max(1, len(table))))
    else:
        columns = torch.arange(model.catalogue.items, device=device) if columns is None else columns
        size = max(1, min(_CHUNK, _SCORER_CELLS // _SCORER_ITEMS, _CELLS // len(columns)))
    for start in range(0, len(users), size):
        batch = _batch(frame, users, context, slice(start, start + size), device)
        if isinstance(model, TwoTower):
            scores = model.user_vectors(batch) @ table.T
        else:
            assert columns is not None
            scores = torch.cat([model.score(batch, part) for part in torch.split(columns, _SCORER_ITEMS)], dim=1)
        _require_finite(model, scores)
        yield _Scores(start, users[start : start + size], scores, model.can_score(batch))


def _in_all(
    model: Recommender,
    frame: "TrainingFrame",
    users: Rows,
    context: Rows | None,
    pairs: Rows,
    place: Rows,
    items: Rows | None,
    seen: Rows,
    depth: int,
    shown: "_Shown",
) -> Iterator[_Counts]:
    """Full ranking: counts among all candidates, exact where fewer than ``depth`` are better."""
    position = np.arange(len(frame.items))
    if items is not None:
        position = np.full(len(frame.items), -1)
        position[items] = np.arange(len(items))
    seen = np.stack([seen[:, 0], position[seen[:, 1]]], axis=1)
    grouped = _Grouped(seen[seen[:, 1] >= 0], len(frame.users))
    column = position[pairs[:, 1]]
    for part in _scored(model, frame, users, context, items):
        device, width = part.scores.device, part.scores.shape[1]
        low, high = np.searchsorted(place, (part.start, part.start + len(part.users)))
        local = torch.from_numpy(place[low:high] - part.start).to(device)
        cells = local * width + torch.from_numpy(column[low:high]).to(device)
        flat = part.scores.view(-1)
        own = flat[cells]
        flat[grouped.flat(part.users, width).to(device)] = -torch.inf
        flat[cells] = own  # The held-out item is a candidate even where it was trained on.
        best = part.scores.topk(min(depth, width), dim=1)
        shown.add(best.values, best.indices, part.able)
        yield *_counts(part.scores, best.values, local, own), part.able


def _counts(scores: Tensor, best: Tensor, local: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates above each held-out item, and beside it, int64 ``[P]`` each.

    Args:
        scores: ``[B, C]``.
        best: The highest of each list, falling, ``[B, depth]``: counts are exact where fewer are better.
        local: List of each held-out item, ``[P]``.
        own: Its score, ``[P]``.
    """
    width = scores.shape[1]
    better, tied = torch.empty_like(local), torch.empty_like(local)
    for some in torch.split(torch.arange(len(local), device=local.device), max(1, _CELLS // best.shape[1])):
        rows, mine = best[local[some]], own[some].unsqueeze(1)
        better[some] = (rows > mine).sum(1)
        tied[some] = (rows == mine).sum(1)
    # Where the last of the best has the same score, more of that score may follow.
    open_ended = torch.nonzero(own == best[local, -1]).squeeze(1)
    for some in torch.split(open_ended, max(1, _CELLS // width)):
        tied[some] = (scores[local[some]] == own[some].unsqueeze(1)).sum(1)
    return better, (tied - 1).clamp(min=0)


def _in_samples(
    model: Recommender, frame: "TrainingFrame", pairs: Rows, context: Rows | None, drawn: Rows
) -> Iterator[_Counts]:
    """Sampled ranking: counts among the drawn candidates of each held-out item."""
    device, users = model.device, pairs[:, 0]
    items = np.concatenate([pairs[:, 1:], drawn], axis=1)
    table = model.item_vectors() if isinstance(model, TwoTower) else None
    cells = _SCORER_CELLS if table is None else _CELLS // table.shape[1]
    size = max(1, min(_CHUNK, cells // items.shape[1]))
    for start in range(0, len(users), size):
        batch = _batch(frame, users, context, slice(start, start + size), device)
        candidates = torch.from_numpy(items[start : start + size]).to(device)
        if isinstance(model, TwoTower) and table is not None:
            scores = (table[candidates] @ model.user_vectors(batch).unsqueeze(2)).squeeze(2)
        else:
            scores = model.score(batch, candidates)
        _require_finite(model, scores)
        own, others = scores[:, :1], scores[:, 1:]
        yield (others > own).sum(1), (others == own).sum(1), model.can_score(batch)


def _batch(frame: "TrainingFrame", users: Rows, context: Rows | None, part: slice, device: torch.device) -> UserBatch:
    rows = users[part]
    brought = {}
    if context is not None:
        brought = {name: torch.from_numpy(values[context[part]]) for name, values in frame.contexts.items()}
    return UserBatch(torch.from_numpy(rows), torch.from_numpy(frame.history[rows]), brought).to(device)


def _expected_ranks(place: Rows, better: Rows, tied: Rows) -> npt.NDArray[np.float64]:
    """Ranks on average over the orders of those tied, ``[m]``.

    Of h held-out items tied with n other candidates the j-th to come, from 1, stands j (n + h + 1) / (h + 1) places
    behind those that are better: an order statistic of draws without replacement.
    """
    order = np.lexsort((better, place))
    new = np.r_[True, (np.diff(place[order]) != 0) | (np.diff(better[order]) != 0)]
    first = np.flatnonzero(new)
    group = np.cumsum(new) - 1
    size = np.diff(np.r_[first, len(order)])[group]
    turn = np.arange(len(order)) - first[group] + 1
    others = np.maximum(tied[order] - (size - 1), 0)
    rank = np.empty(len(order))
    rank[order] = better[order] + turn * (others + size + 1) / (size + 1)
    return rank


def _require_events(frame: "TrainingFrame", held: HeldOut) -> None:
    if len(held.pairs) == 0:
        raise BadInput(
            f"snapshot {frame.snapshot.id}",
            found="no held-out pairs to rank",
            expected="at least one user with an event in each part of the split",
            next_step="ingest data that reaches past the split instants",
        )
    if held.candidates is not None:
        outside = np.setdiff1d(held.pairs[:, 1], held.candidates)
        if len(outside):
            raise BadInput(
                f"held-out events of snapshot {frame.snapshot.id}",
                found=f"item row {outside[0]}, which is no candidate",
                expected=f"items among the {len(held.candidates):,} candidates",
                next_step="leave such events out, or add the item to the candidates",
            )


def _require_finite(model: Recommender, scores: Tensor) -> None:
    low, high = scores.aminmax()  # NaN wins both: one pass, and no second matrix.
    if not (torch.isfinite(low) & torch.isfinite(high)):
        raise TrainingDiverged(
            f"{type(model).__name__}: scores",
            found=f"values from {float(low)} to {float(high)}",
            expected="finite numbers",
            next_step="train it with a lower `--set learning_rate=RATE`",
        )


class _Shown:
    """Counts in how many lists each item stands.

    Args:
        cutoffs: Lengths of the lists.
        items: Number of items.
        candidates: Item row of each column of the lists; all items if None.
        device: Where the lists are.
    """

    def __init__(self, cutoffs: Sequence[int], items: int, candidates: Rows | None, device: torch.device) -> None:
        self._rows = torch.from_numpy(np.arange(items) if candidates is None else candidates).to(device)
        self._counts = {k: torch.zeros(items, dtype=torch.int64, device=device) for k in cutoffs}

    def add(self, scores: Tensor, columns: Tensor, able: Tensor) -> None:
        """Count some lists.

        Args:
            scores: Of the best, falling, ``[B, depth]``; minus infinity where the candidates have ended.
            columns: Theirs, ``[B, depth]``; columns behind the candidates are fillers (:mod:`training.remeasure`).
            able: Whether there is a list at all, ``[B]``.
        """
        there = (scores != -torch.inf) & able.unsqueeze(1) & (columns < len(self._rows))
        for k, counts in self._counts.items():
            counts += torch.bincount(self._rows[columns[:, :k][there[:, :k]]], minlength=len(counts))

    def counts(self) -> dict[int, Rows]:
        """Cut-off → lists that each item stands in, ``[N]``."""
        return {k: counts.cpu().numpy() for k, counts in self._counts.items()}


class _Grouped:
    """Pairs grouped by user, so that a chunk's cells are found without a search."""

    def __init__(self, pairs: Rows, users: int) -> None:
        self._items = pairs[np.argsort(pairs[:, 0], kind="stable"), 1]
        self._counts = np.bincount(pairs[:, 0], minlength=users)
        self._starts = np.cumsum(self._counts) - self._counts

    def flat(self, rows: Rows, width: int) -> Tensor:
        """Positions of the users' items in a flattened ``[len(rows), width]`` score matrix."""
        counts = self._counts[rows]
        local = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return torch.from_numpy(local * width + self._items[self._starts[rows][local] + within])
