"""How well a model ranks held-out events, under a protocol."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from training.metrics import METRICS, Ranks, coverage, gini, novelty
from training.protocols import FULL_20, HeldOut, Protocol
from training.ranking import Standing, ranked, stand
from training.recommender import Recommender

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = [
    "CUTOFF",
    "Evaluation",
    "evaluate",
    "evaluate_lists",
    "evaluate_users",
    "means_of",
    "users_of",
]

Rows = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

CUTOFF = FULL_20.cutoffs[0]
"""k of the metrics that are reported where no other protocol is asked for."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics as means, and of each user for intervals (:mod:`training.bootstrap`)."""

    means: dict[str, float]
    """Metric → mean over the lists."""
    per_user: dict[str, Values]
    """Metric → mean over each user's lists, ``[U']``. Weighted by :attr:`lists` their mean is that of ``means``."""
    users: Rows
    """User rows, ascending, ``[U']``."""
    lists: Rows
    """Number of lists of each, ``[U']``; 1 in full ranking without contexts."""


def evaluate(
    model: Recommender, frame: "TrainingFrame", held: HeldOut | Rows, protocol: Protocol = FULL_20
) -> dict[str, float]:
    """Mean metrics over the lists: one for each user who has a held-out item, or one for each held-out event.

    Lists, candidates and ties are as :func:`training.ranking.stand` says.

    Args:
        model: A fitted model.
        frame: Gives each user's history and the training items that are no candidates.
        held: The held-out events; or their (user row, item row), distinct and not in training, ``[m, 2]``.
        protocol: What they are ranked against, and the cut-offs.

    Returns:
        ``recall_at_<k>``, ``precision_at_<k>``, ``ndcg_at_<k>``, ``hr_at_<k>`` and ``mrr_at_<k>`` for each cut-off k.

    Raises:
        BadInput: There are no events, one is of an item that is no candidate, or too few candidates are left to draw.
        TrainingDiverged: A score is NaN or infinite; a ranking by such scores would mean nothing.
    """
    return means_of(stand(model, frame, _events(held), protocol).ranks, protocol)


def evaluate_users(
    model: Recommender, frame: "TrainingFrame", held: HeldOut | Rows, protocol: Protocol = FULL_20
) -> Evaluation:
    """The same, with the metrics of each user.

    Raises:
        BadInput: As for :func:`evaluate`.
        TrainingDiverged: Likewise.
    """
    return users_of(stand(model, frame, _events(held), protocol), protocol)


def evaluate_lists(model: Recommender, frame: "TrainingFrame", users: Rows, k: int = CUTOFF) -> dict[str, float]:
    """What the lists of some users show of the catalogue, whatever they find.

    Args:
        model: A fitted model.
        frame: As for :func:`evaluate`; its training pairs say how well known an item is.
        users: User rows, ``[U]``; those whom the model cannot score have no list.
        k: Length of the lists.

    Returns:
        ``coverage_at_<k>``, ``gini_at_<k>`` and ``novelty_at_<k>``; nothing where no user has a list.

    Raises:
        TrainingDiverged: A score is NaN or infinite.
    """
    exposure = np.zeros(len(frame.items), np.int64)
    with torch.inference_mode():
        for part in ranked(model, frame, users, k):
            items = part.items[part.able]
            exposure += np.bincount(items[items >= 0].cpu().numpy(), minlength=len(exposure))
    if not exposure.any():
        return {}
    seen = np.bincount(frame.train[:, 1], minlength=len(exposure))
    return {
        f"coverage_at_{k}": coverage(exposure),
        f"gini_at_{k}": gini(exposure),
        f"novelty_at_{k}": novelty(exposure, seen, len(frame.users)),
    }


def means_of(ranks: Ranks, protocol: Protocol) -> dict[str, float]:
    """Mean metrics over the lists, see :func:`evaluate`."""
    return {name: float(values.mean()) for name, values in _metrics(ranks, protocol).items()}


def users_of(standing: Standing, protocol: Protocol) -> Evaluation:
    """Mean metrics, and those of each user."""
    users, owner, lists = np.unique(standing.users, return_inverse=True, return_counts=True)
    values = _metrics(standing.ranks, protocol)
    per_user = {name: np.bincount(owner, weights=each) / lists for name, each in values.items()}
    return Evaluation({name: float(each.mean()) for name, each in values.items()}, per_user, users, lists)


def _metrics(ranks: Ranks, protocol: Protocol) -> dict[str, Values]:
    return {f"{name}_at_{k}": metric(ranks, k) for k in protocol.cutoffs for name, metric in METRICS.items()}


def _events(held: HeldOut | Rows) -> HeldOut:
    return held if isinstance(held, HeldOut) else HeldOut(held)
