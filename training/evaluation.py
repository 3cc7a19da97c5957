"""Full-ranking evaluation: every held-out item against all items the user has not seen in training."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from contracts.errors import BadInput, TrainingDiverged
from contracts.protocol import ProtocolFingerprint
from contracts.snapshot import Snapshot
from training.batches import UserBatch
from training.metrics import ndcg, precision, recall
from training.recommender import Recommender, TwoTower

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["CUTOFF", "Ranked", "evaluate", "protocol_of", "ranked"]

CUTOFF = 20
"""k of every reported metric."""

_CHUNK = 1024
"""Users scored at a time; bounds memory at chunk x items floats."""


def protocol_of(snapshot: Snapshot) -> ProtocolFingerprint:
    """The protocol that :func:`evaluate` follows on a snapshot."""
    return ProtocolFingerprint(
        snapshot=snapshot.id,
        split=snapshot.split.describe(),
        candidates="all items not in the user's training set",
        cutoffs=(CUTOFF,),
    )


def evaluate(
    model: Recommender, frame: "TrainingFrame", pairs: npt.NDArray[np.int64], k: int = CUTOFF
) -> dict[str, float]:
    """Mean metrics over the users who have a held-out item.

    A user whom the model cannot score has no ranking, and so no hit.

    Args:
        model: A fitted model.
        frame: Gives each user's history and the training items that are no candidates.
        pairs: Held-out (user row, item row), distinct and not in training, ``[m, 2]``.
        k: The cut-off.

    Returns:
        ``recall_at_<k>``, ``precision_at_<k>`` and ``ndcg_at_<k>``.

    Raises:
        BadInput: There are no pairs.
        TrainingDiverged: A score is NaN or infinite; a ranking by such scores would mean nothing.
    """
    if len(pairs) == 0:
        raise BadInput(
            f"snapshot {frame.snapshot.id}",
            found="no held-out pairs to rank",
            expected="at least one user with an event in each part of the split",
            next_step="ingest data that reaches past the split instants",
        )
    users, relevant = np.unique(pairs[:, 0], return_counts=True)
    held_out = _Grouped(pairs, len(frame.users))
    totals = torch.zeros(3, dtype=torch.float64, device=model.device)
    start = 0
    with torch.inference_mode():
        for lists in ranked(model, frame, users, k):
            wanted = torch.zeros(len(lists.users), lists.width, dtype=torch.bool, device=model.device)
            wanted.view(-1)[held_out.flat(lists.users, lists.width).to(model.device)] = True
            hits = wanted.gather(1, lists.items) & lists.able.unsqueeze(1)
            count = torch.from_numpy(relevant[start : start + len(lists.users)]).to(model.device)
            start += len(lists.users)
            totals += torch.stack([recall(hits, count).sum(), precision(hits, k).sum(), ndcg(hits, count, k).sum()])
    means = (totals / len(users)).tolist()
    return dict(zip((f"recall_at_{k}", f"precision_at_{k}", f"ndcg_at_{k}"), means, strict=True))


class Ranked(NamedTuple):
    """The best items of some users."""

    users: npt.NDArray[np.int64]
    """User rows, ``[B]``."""
    items: torch.Tensor
    """Item rows, best first, ``[B, k]``; fewer columns where there are fewer items."""
    able: torch.Tensor
    """Whether the model can score the user, bool ``[B]``; the list of others means nothing."""
    width: int
    """Number of items that were ranked."""


def ranked(model: Recommender, frame: "TrainingFrame", users: npt.NDArray[np.int64], k: int) -> Iterator[Ranked]:
    """Rank all items that each user has not seen in training, some users at a time; needs inference mode.

    Args:
        model: A fitted model.
        frame: Gives each user's history and the training items that are no candidates.
        users: User rows, ``[U]``.
        k: Length of the lists.

    Raises:
        TrainingDiverged: A score is NaN or infinite; a ranking by such scores would mean nothing.
    """
    device = model.device
    seen = _Grouped(frame.train, len(frame.users))
    towers = (model, model.item_vectors()) if isinstance(model, TwoTower) else None
    for start in range(0, len(users), _CHUNK):
        rows = users[start : start + _CHUNK]
        batch = UserBatch(torch.from_numpy(rows), torch.from_numpy(frame.history[rows])).to(device)
        scores = towers[0].user_vectors(batch) @ towers[1].T if towers is not None else model.score(batch)
        _require_finite(model, scores)
        width = scores.shape[1]
        scores.view(-1)[seen.flat(rows, width).to(device)] = -torch.inf
        yield Ranked(rows, scores.topk(min(k, width), dim=1).indices, model.can_score(batch), width)


def _require_finite(model: Recommender, scores: torch.Tensor) -> None:
    low, high = scores.aminmax()  # NaN wins both: one pass, and no second matrix.
    if not (torch.isfinite(low) & torch.isfinite(high)):
        raise TrainingDiverged(
            f"{type(model).__name__}: scores",
            found=f"values from {float(low)} to {float(high)}",
            expected="finite numbers",
            next_step="train it with a lower `--set learning_rate=RATE`",
        )


class _Grouped:
    """Pairs grouped by user, so that a chunk's cells are found without a search."""

    def __init__(self, pairs: npt.NDArray[np.int64], users: int) -> None:
        self._items = pairs[np.argsort(pairs[:, 0], kind="stable"), 1]
        self._counts = np.bincount(pairs[:, 0], minlength=users)
        self._starts = np.cumsum(self._counts) - self._counts

    def flat(self, rows: npt.NDArray[np.int64], width: int) -> torch.Tensor:
        """Positions of the users' items in a flattened ``[len(rows), width]`` score matrix."""
        counts = self._counts[rows]
        local = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return torch.from_numpy(local * width + self._items[self._starts[rows][local] + within])
