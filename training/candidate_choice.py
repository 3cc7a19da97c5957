"""How many candidates a scorer needs: measured, and widened until hardly any of its best items is missed."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from contracts.console import note
from contracts.settings import Settings
from training.batches import UserBatch
from training.candidate_generation import Candidates, candidate_vectors
from training.indexes import LEAST_RECALL, build_index, index_kind, proven_index
from training.recommender import Recommender, TwoTower
from training.requests import scores_in_parts

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["Choice", "candidate_recall", "chosen_candidates"]

_ASKED = 64
"""Users by whom it is measured; their scores for all items take 256 MB of a million items."""

_K = 20
"""Length of the lists whose items must be among the candidates."""


class Choice(NamedTuple):
    """What finds a scorer's candidates, and what it costs."""

    candidates: Candidates
    recall: dict[int, float]
    """k → share of the k items that the scorer ranks best of all that are among the candidates."""


def chosen_candidates(
    settings: Settings, model: Recommender, frame: "TrainingFrame", *, exclude_seen: bool, depths: tuple[int, ...]
) -> Choice | None:
    """Candidates for a fitted scorer: twice as many at a time, until 0.95 of users' best 20 are among them.

    Args:
        settings: ``scorer_candidates``, how many to begin with, and what the index is to be.
        model: The fitted model.
        frame: What it was fitted on; its users ask.
        exclude_seen: Whether the service leaves out what users have had.
        depths: k at which recall is told, beside 20.

    Returns:
        None of two-tower models, and where every item is to be ranked: of catalogues no larger than the setting, where
        the model can score none of the users who ask, and where less than the whole catalogue does not do.
    """
    count, items = settings.scorer_candidates, len(frame.items)
    if isinstance(model, TwoTower) or items <= count:
        return None
    asked = _requests(model, frame)
    if not len(asked):
        note(f"the model can score none of {_ASKED} users: each of the {items:,} items will be ranked for a request")
        return None
    vectors = candidate_vectors(frame.train, (len(frame.users), items))
    kind = index_kind(settings.index, items, settings.index_most_exact, model.device)
    index = build_index(vectors, kind, model.device, settings.index_dtype)
    candidates = Candidates(vectors, index, frame.popularity, count)
    histories = asked.history.cpu().numpy()
    users = np.stack([candidates.user_vector(history) for history in histories])
    candidates.index = proven_index(index, vectors, users, settings.index, settings.index_dtype)
    scores = _scores(model, asked, items)
    while True:
        recall = candidate_recall(candidates, scores, histories, exclude_seen=exclude_seen, depths={_K, *depths})
        if recall[_K] >= LEAST_RECALL:
            found = f"{candidates.count:,} of {items:,} items are ranked for a request"
            note(f"{found}; {recall[_K]:.1%} of users' best {_K} items are among them")
            return Choice(candidates, recall)
        if 2 * candidates.count >= items:
            found = f"{candidates.count:,} of {items:,} items hold {recall[_K]:.1%} of users' best {_K}"
            note(f"{found}, less than {LEAST_RECALL:.0%}; each item will be ranked for a request instead")
            return None
        candidates.count *= 2


def candidate_recall(
    candidates: Candidates,
    scores: npt.NDArray[np.float32],
    histories: npt.NDArray[np.int64],
    *,
    exclude_seen: bool,
    depths: set[int],
) -> dict[int, float]:
    """The share of users' best items that are among their candidates.

    An item that is tied with the last of the best is as good as it.

    Args:
        candidates: Finds them.
        scores: The scorer's own for all items, of B users, ``[B, N]``.
        histories: Item rows that each user has had, ``[B, n]``, padded with -1.
        exclude_seen: Whether those are left out.
        depths: Lengths k of the lists.

    Returns:
        k → share, the mean over the users.
    """
    shares: dict[int, list[float]] = {k: [] for k in sorted(depths)}
    nothing = np.zeros(0, np.int64)
    for of_user, history in zip(scores, histories, strict=True):
        banned = history[history >= 0] if exclude_seen else nothing
        left = of_user.copy()
        left[banned] = -np.inf
        best = -np.sort(-left)[: max(depths)]
        best = best[best > -np.inf]
        found = -np.sort(-left[candidates.of(history, 0, banned)])
        for k, told in shares.items():
            depth = min(k, len(best))
            told.append(float((found[:depth] >= best[depth - 1]).sum() / depth) if depth else 1.0)
    return {k: float(np.mean(told)) for k, told in shares.items()}


def _requests(model: Recommender, frame: "TrainingFrame") -> UserBatch:
    """Some users whom the model can score, spread evenly; with what their events brought, where events bring some."""
    if frame.train_context is None:
        users = np.unique(np.linspace(0, len(frame.users) - 1, _ASKED).astype(np.int64))
        context = {}
    else:
        events = np.unique(np.linspace(0, len(frame.train) - 1, _ASKED).astype(np.int64))
        users, moments = frame.train[events, 0], frame.train_context[events]
        context = {name: torch.from_numpy(values[moments]) for name, values in frame.contexts.items()}
    batch = UserBatch(torch.from_numpy(users), torch.from_numpy(frame.history[users]), context).to(model.device)
    model.eval()
    with torch.inference_mode():
        able = model.can_score(batch)
    return UserBatch(
        batch.rows[able], batch.history[able], {name: values[able] for name, values in batch.context.items()}
    )


def _scores(model: Recommender, asked: UserBatch, items: int) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        scores: npt.NDArray[np.float32] = (
            scores_in_parts(model, asked, torch.arange(items, device=model.device)).float().cpu().numpy()
        )
    return scores
