"""The lists that users get from a package, and how two sets of them differ."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from training.evaluation import CUTOFF
from training.metrics import Ranks, ndcg, recall
from training.ranking import ranked
from training.remeasure import visitor

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame
    from training.packages import LoadedPackage

__all__ = ["NOTHING", "churn", "gains", "lists_of"]

Rows = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

NOTHING = -1
"""Fills a list up where there is nothing more to recommend."""


def lists_of(package: "LoadedPackage", frame: "TrainingFrame", users: Rows) -> Rows:
    """The 20 best items of some users, as the service would show them.

    Args:
        package: The model.
        frame: Gives the histories, what is no candidate, and the row numbers.
        users: User rows, ``[U]``.

    Returns:
        Item rows of the frame, best first, ``[U, 20]``, :data:`NOTHING` behind the last.

    Raises:
        TrainingDiverged: A score is NaN or infinite.
    """
    lists = np.full((len(users), CUTOFF), NOTHING, np.int64)
    start = 0
    with torch.inference_mode():
        for part in ranked(visitor(package, frame), frame, users, CUTOFF):
            # Behind the frame's own items there are fillers.
            some = part.able.unsqueeze(1) & (part.items < len(frame.items))
            lists[start : start + len(part.users)] = torch.where(some, part.items, NOTHING).cpu().numpy()
            start += len(part.users)
    return lists


def churn(before: Rows, after: Rows, k: int) -> Values:
    """Share of each user's first k places whose item is no longer among the first k, ``[U]``.

    Places with nothing in them before and after count as kept.
    """
    old, new = before[:, :k], after[:, :k]
    kept = ((old[:, :, None] == new[:, None, :]) & (old != NOTHING)[:, :, None]).sum(axis=(1, 2))
    filled = np.maximum((old != NOTHING).sum(axis=1), (new != NOTHING).sum(axis=1))
    return np.where(filled > 0, 1 - kept / np.maximum(filled, 1), 0.0)


def gains(lists: Rows, users: Rows, pairs: Rows) -> dict[str, Values]:
    """Primary metrics of each user's list.

    Args:
        lists: Of U users, ``[U, 20]``.
        users: Their rows, ascending, each with a held-out item.
        pairs: Held-out (user row, item row), distinct, ``[m, 2]``; those of others are left out.

    Returns:
        ``recall_at_20`` and ``ndcg_at_20``, ``[U]`` each.
    """
    pairs = pairs[np.isin(pairs[:, 0], users)]
    place = np.searchsorted(users, pairs[:, 0])
    shown = lists[place] == pairs[:, 1:]
    rank = np.where(shown.any(axis=1), shown.argmax(axis=1) + 1, np.inf)
    ranks = Ranks(place, rank, np.bincount(place, minlength=len(users)))
    return {f"recall_at_{CUTOFF}": recall(ranks, CUTOFF), f"ndcg_at_{CUTOFF}": ndcg(ranks, CUTOFF)}
