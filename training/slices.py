"""Metrics of parts of the held-out events: where a model is good, and where it only seems so on average."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from training.evaluation import means_of
from training.protocols import Protocol
from training.ranking import Standing

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["FEW", "Slice", "marks_of", "slice_metrics"]

Marks = npt.NDArray[np.bool_]

FEW = 5
"""Most training events of a user or an item that count as few."""

_HEAD = 0.2
"""Share of the items that count as popular."""


@dataclass(frozen=True)
class Slice:
    """What a model does for the held-out events of one kind."""

    pairs: int
    """Held-out events of the slice."""
    lists: int
    """Lists that have one."""
    metrics: dict[str, float] | None
    """Means over those lists, as if nothing but the slice were held out; None where the slice has no events."""


def slice_metrics(standing: Standing, frame: "TrainingFrame", protocol: Protocol, few: int = FEW) -> dict[str, Slice]:
    """Metrics by how well users and items are known, from ranks that are there already.

    Args:
        standing: Of the held-out events, as :func:`training.ranking.stand` gives it.
        frame: Its training pairs say how well known a user or item is.
        protocol: That of the ranks; its cut-offs are reported.
        few: Most training events that count as few.

    Returns:
        - ``cold_items``, ``cold_users``: without a training event;
        - ``few_items``, ``few_users``: with one to ``few``;
        - ``popular_items``: the fifth of the items with the most training events, as far as they have any;
          ``tail_items``: the others;
        - ``missing_<modality>``: items without a vector of a modality of the frame.
    """
    return {name: _slice(standing, chosen, protocol) for name, chosen in marks_of(standing.pairs, frame, few).items()}


def marks_of(pairs: npt.NDArray[np.int64], frame: "TrainingFrame", few: int = FEW) -> dict[str, Marks]:
    """Name of a slice → which events are in it, ``[m]``; see :func:`slice_metrics`.

    Args:
        pairs: User row and item row, ``[m, 2]``.
        frame: As there.
        few: Likewise.
    """
    users, items = pairs.T
    of_users = np.bincount(frame.train[:, 0], minlength=len(frame.users))
    of_items = np.bincount(frame.train[:, 1], minlength=len(frame.items))
    # Items as well known as the last of the head are in it too: no order among them would mean anything.
    last = np.sort(of_items)[::-1][max(1, int(_HEAD * len(of_items))) - 1]
    popular = of_items[items] >= max(1, last)
    return {
        "cold_items": of_items[items] == 0,
        "few_items": (of_items[items] > 0) & (of_items[items] <= few),
        "cold_users": of_users[users] == 0,
        "few_users": (of_users[users] > 0) & (of_users[users] <= few),
        "popular_items": popular,
        "tail_items": ~popular,
        **{f"missing_{name}": absent[items] for name, absent in sorted(frame.missing.items())},
    }


def _slice(standing: Standing, chosen: Marks, protocol: Protocol) -> Slice:
    if not chosen.any():
        return Slice(pairs=0, lists=0, metrics=None)
    ranks = standing.ranks.only(chosen)
    return Slice(pairs=int(chosen.sum()), lists=len(ranks.relevant), metrics=means_of(ranks, protocol))
