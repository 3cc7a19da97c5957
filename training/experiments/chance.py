"""What a random order of the candidates earns, in expectation."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from training.protocols import HeldOut, Protocol

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["expected_by_chance"]

Rows = npt.NDArray[np.int64]


def expected_by_chance(frame: "TrainingFrame", held: HeldOut, protocol: Protocol) -> dict[str, float]:
    """Expected metrics of an order drawn by chance for every list, exact; lists are as
    :func:`training.ranking.stand` makes them.

    Of C candidates, R of them held out, R min(k, C) / C stand in the first k places, each of these holds one with
    probability R / C, and all miss with probability C(C - R, k) / C(C, k).

    Args:
        frame: Says which items a user has seen in training.
        held: The held-out events.
        protocol: The candidates and the cut-offs.

    Returns:
        ``recall_at_<k>``, ``precision_at_<k>``, ``ndcg_at_<k>`` and ``hr_at_<k>`` for each cut-off k.
    """
    candidates, relevant = _lists(frame, held, protocol)
    expected: dict[str, float] = {}
    for k in protocol.cutoffs:
        hits = relevant * np.minimum(k, candidates) / candidates
        discounts = np.cumsum(1 / np.log2(np.arange(2, k + 2)))
        gain = relevant / candidates * discounts[np.minimum(k, candidates) - 1]
        values = {
            "recall": hits / relevant,
            "precision": hits / k,
            "ndcg": gain / discounts[np.minimum(relevant, k) - 1],
            "hr": 1 - _all_miss(candidates, relevant, k),
        }
        expected |= {f"{name}_at_{k}": float(value.mean()) for name, value in values.items()}
    return expected


def _lists(frame: "TrainingFrame", held: HeldOut, protocol: Protocol) -> tuple[Rows, Rows]:
    """Candidates of each list, and how many of them are held out, ``[L]`` each."""
    users = held.pairs[:, 0]
    if protocol.negatives is not None:
        return np.full(len(users), protocol.negatives + 1), np.ones(len(users), np.int64)
    ranked = np.ones(len(frame.items), bool)
    if held.candidates is not None:
        ranked = np.isin(np.arange(len(frame.items)), held.candidates)
    seen = np.unique(frame.train[ranked[frame.train[:, 1]]], axis=0) if protocol.exclude_seen else frame.train[:0]
    left = ranked.sum() - np.bincount(seen[:, 0], minlength=len(frame.users))
    # What is held out is a candidate even where it was seen.
    own = users * len(frame.items) + held.pairs[:, 1]
    again = np.isin(own, seen[:, 0] * len(frame.items) + seen[:, 1])
    if held.context is not None:
        return left[users] + again, np.ones(len(users), np.int64)
    lists, place, relevant = np.unique(users, return_inverse=True, return_counts=True)
    return left[lists] + np.bincount(place[again], minlength=len(lists)), relevant


def _all_miss(candidates: Rows, relevant: Rows, k: int) -> npt.NDArray[np.float64]:
    """Probability that none of the first k places holds a held-out item, ``[L]``."""
    missed = np.ones(len(candidates))
    for drawn in range(k):
        missed *= np.maximum(candidates - relevant - drawn, 0) / np.maximum(candidates - drawn, 1)
    return missed
