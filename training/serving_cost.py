"""What answering requests with a fitted model costs: time, and what its index loses of the exact answer."""

import time
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from training.batches import UserBatch
from training.candidate_choice import Choice
from training.candidate_generation import Candidates
from training.packages import item_vectors_of
from training.recommender import Recommender, TwoTower
from training.requests import scores_in_parts
from training.retrieval import ExactIndex, Index

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["INDEX_DEPTHS", "serving_metrics", "some_user_vectors"]

INDEX_DEPTHS = (10, 20, 50)
"""k at which the index is measured."""

_REQUESTS, _FEWEST = 200, 12
"""Requests that are timed, and how many at least where they take long."""
_PATIENCE_S = 1.0
_BLOCK = 1 << 14
"""Items whose exact scores are held at a time; bounds memory."""
_TOLERANCE = 1e-6
"""Relative; by single precision alone two items may change places."""


_ASKED = 64
"""Users by whom it is found out how widely a graph has to be searched."""


def serving_metrics(
    model: Recommender, frame: "TrainingFrame", index: Index | None = None, choice: Choice | None = None
) -> dict[str, float]:
    """Measure a fitted model as the service asks it, a request at a time.

    Args:
        model: The model, on the device where it is timed.
        frame: What it was fitted on; its users ask.
        index: Of a two-tower model, what finds its candidates; an exact one if None.
        choice: Of a scorer, its candidates; it ranks all items if None.

    Returns:
        - ``score_latency_ms_p50`` and ``_p99``: from a user's row and history to the best items, features already
          read, over 200 users or as many as a second allows, 12 at least;
        - ``index_recall_at_<k>`` for 10, 20 and 50: share of what the index of a two-tower model returns that belongs
          to the exact k best by double precision, over the same users; of a scorer, what its candidates were
          measured to hold; nothing where it ranks all items.
    """
    rows = np.unique(np.linspace(0, len(frame.users) - 1, _REQUESTS).astype(np.int64))
    vectors = item_vectors_of(model)
    if index is None and vectors is not None:
        index = ExactIndex(vectors)
    depth = min(max(INDEX_DEPTHS), len(frame.items))
    candidates = None if choice is None else choice.candidates
    taken: list[float] = []
    found, asked = [], []
    model.eval()
    with torch.inference_mode():
        _answered(model, _request(model, frame, rows[0]), index, depth, candidates)  # what loads lazily is loaded
        since = time.perf_counter()
        for row in rows:
            if len(taken) >= _FEWEST and time.perf_counter() - since > _PATIENCE_S:
                break
            batch = _request(model, frame, row)
            started = time.perf_counter()
            user, best = _answered(model, batch, index, depth, candidates)
            taken.append((time.perf_counter() - started) * 1e3)
            asked.append(user)
            found.append(best)
    p50, p99 = np.percentile(taken, (50, 99))
    metrics = {"score_latency_ms_p50": float(p50), "score_latency_ms_p99": float(p99)}
    if vectors is not None:
        metrics |= _index_recall(vectors, np.stack(asked), np.stack(found))
    if choice is not None:
        metrics |= {f"index_recall_at_{k}": share for k, share in choice.recall.items()}
    return metrics


def some_user_vectors(model: Recommender, frame: "TrainingFrame") -> npt.NDArray[np.float32]:
    """Vectors of a few users of a frame by a two-tower model, ``[n, D]``."""
    assert isinstance(model, TwoTower)
    rows = np.unique(np.linspace(0, len(frame.users) - 1, _ASKED).astype(np.int64))
    with torch.inference_mode():
        vectors = [model.user_vectors(_request(model, frame, row)).float().cpu().numpy() for row in rows]
    return np.concatenate(vectors)


def _request(model: Recommender, frame: "TrainingFrame", row: int) -> UserBatch:
    context = {name: torch.from_numpy(np.atleast_1d(values[:1])) for name, values in frame.contexts.items()}
    history = torch.from_numpy(frame.history[[row]])
    return UserBatch(torch.tensor([row]), history, context).to(model.device)


def _answered(
    model: Recommender, batch: UserBatch, index: Index | None, depth: int, candidates: Candidates | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The user's vector, empty of a scorer, and the rows of the best items."""
    if index is not None and isinstance(model, TwoTower):
        user = model.user_vectors(batch).float().cpu().numpy()[0]
        return user, index.search(user, depth)[0]
    items = torch.arange(model.catalogue.items)
    if candidates is not None:
        history = batch.history[0].cpu().numpy()
        items = torch.from_numpy(candidates.of(history, depth, history))
    items = items.to(model.device)
    places = scores_in_parts(model, batch, items)[0].topk(min(depth, len(items))).indices
    return np.empty(0, np.float32), items[places].cpu().numpy()


def _index_recall(
    items: npt.NDArray[np.float32], users: npt.NDArray[np.float32], found: npt.NDArray[np.int64]
) -> dict[str, float]:
    exact = users.astype(np.float64)
    deepest = found.shape[1]
    best = np.full((len(users), deepest), -np.inf)
    for start in range(0, len(items), _BLOCK):
        scores = exact @ items[start : start + _BLOCK].astype(np.float64).T
        best = -np.partition(-np.concatenate([best, scores], axis=1), deepest - 1, axis=1)[:, :deepest]
    best = -np.sort(-best, axis=1)
    own = np.einsum("ukd,ud->uk", items[found].astype(np.float64), exact)
    metrics = {}
    for k in INDEX_DEPTHS:
        depth = min(k, deepest)
        least = best[:, depth - 1 : depth]
        # Items that are tied with the last of the best are as good as it.
        hits = own[:, :depth] >= least - _TOLERANCE * np.maximum(1.0, np.abs(least))
        metrics[f"index_recall_at_{k}"] = float(hits.mean())
    return metrics
