"""How well a model ranks held-out events, under a protocol."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from training.metrics import METRICS, Ranks, coverage, gini, novelty, popularity_lift
from training.protocols import FULL_20, HeldOut, Protocol
from training.ranking import Standing, stand
from training.recommender import Recommender

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = [
    "CUTOFF",
    "Evaluation",
    "evaluate",
    "evaluate_users",
    "means_of",
    "shown_of",
    "users_of",
]

Rows = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

CUTOFF = FULL_20.cutoffs[0]
"""k of the metrics that are reported where no other protocol is asked for."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics as means, and of each user for intervals (:mod:`contracts.bootstrap`)."""

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


def means_of(ranks: Ranks, protocol: Protocol) -> dict[str, float]:
    """Mean metrics over the lists, see :func:`evaluate`."""
    return {name: float(values.mean()) for name, values in _metrics(ranks, protocol).items()}


def shown_of(standing: Standing, frame: "TrainingFrame", candidates: Rows | None = None) -> dict[str, float]:
    """What the lists show of the catalogue, whatever they find.

    Args:
        standing: Of the held-out events, in full ranking.
        frame: Its training pairs say how well known an item is.
        candidates: Item rows that were ranked, ``[C]``; all if None.

    Returns:
        ``coverage_at_<k>``, ``gini_at_<k>``, ``novelty_at_<k>`` and ``popularity_lift_at_<k>`` of the candidates for
        each cut-off; nothing where no user has a list, and no lift where none has a training event.
    """
    rows = np.arange(len(frame.items)) if candidates is None else candidates
    of_items = np.bincount(frame.train[:, 1], minlength=len(frame.items))
    own, seen = _own_popularity(frame, np.unique(standing.users), of_items), of_items[rows]
    found = {}
    for k, counts in standing.shown.items():
        if (exposure := counts[rows]).any():
            found[f"coverage_at_{k}"] = coverage(exposure)
            found[f"gini_at_{k}"] = gini(exposure)
            found[f"novelty_at_{k}"] = novelty(exposure, seen, len(frame.users))
            if own:
                found[f"popularity_lift_at_{k}"] = popularity_lift(exposure, seen, own)
    return found


def users_of(standing: Standing, protocol: Protocol) -> Evaluation:
    """Mean metrics, and those of each user."""
    users, owner, lists = np.unique(standing.users, return_inverse=True, return_counts=True)
    values = _metrics(standing.ranks, protocol)
    per_user = {name: np.bincount(owner, weights=each) / lists for name, each in values.items()}
    return Evaluation({name: float(each.mean()) for name, each in values.items()}, per_user, users, lists)


def _metrics(ranks: Ranks, protocol: Protocol) -> dict[str, Values]:
    return {f"{name}_at_{k}": metric(ranks, k) for k in protocol.cutoffs for name, metric in METRICS.items()}


def _own_popularity(frame: "TrainingFrame", users: Rows, of_items: Rows) -> float:
    """Mean over users of the mean popularity of their training items; 0 where none of them has one."""
    owner, item = frame.train.T
    events = np.bincount(owner, minlength=len(frame.users))
    sums = np.bincount(owner, weights=of_items[item], minlength=len(frame.users))
    known = users[events[users] > 0]
    return float((sums[known] / events[known]).mean()) if len(known) else 0.0


def _events(held: HeldOut | Rows) -> HeldOut:
    return held if isinstance(held, HeldOut) else HeldOut(held)
