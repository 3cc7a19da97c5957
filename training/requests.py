"""Raw requests as a package's model reads them, and its scores for them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from contracts.errors import BadInput
from feature_repo.views.history import HISTORY_LENGTH
from training.batches import PADDING, UserBatch
from training.recommender import Recommender, TwoTower

if TYPE_CHECKING:
    from training.packages import LoadedPackage

__all__ = ["batch_of_rows", "scores_in_parts", "scores_of", "user_batch"]

_ITEMS_AT_A_TIME = 512


def user_batch(
    package: "LoadedPackage",
    user_ids: Sequence[str],
    histories: Sequence[Sequence[str]],
    contexts: Sequence[Mapping[str, Sequence[float]]] = (),
) -> UserBatch:
    """Translate raw ids for the model: unknown users become -1, unknown items are left out.

    Args:
        package: Gives the vocabularies.
        user_ids: B raw user ids.
        histories: Raw ids of the items each user has chosen, oldest first; as many of the newest known ones
            count as a history holds.
        contexts: What each request brings: name → components. Of a model that was fitted without, nothing.

    Raises:
        BadInput: A request lacks a context that the model was fitted with, or has one of another width.
    """
    flat = package.items.rows([item for history in histories for item in history])
    ends = np.cumsum([len(history) for history in histories], dtype=np.int64)
    return batch_of_rows(package, user_ids, np.split(flat, ends[:-1]) if len(ends) else [], contexts)


def batch_of_rows(
    package: "LoadedPackage",
    user_ids: Sequence[str],
    histories: Sequence[npt.NDArray[np.int64]],
    contexts: Sequence[Mapping[str, Sequence[float]]] = (),
) -> UserBatch:
    """:func:`user_batch` where the items' rows are known; those below zero or beyond the package's are left out."""
    history = np.full((len(user_ids), HISTORY_LENGTH), PADDING, dtype=np.int64)
    for row, items in enumerate(histories):
        known = items[(items >= 0) & (items < len(package.items))][-HISTORY_LENGTH:]
        history[row, : len(known)] = known
    rows = torch.from_numpy(package.users.rows(list(user_ids)))
    context = {name: _context(package, name, width, user_ids, contexts) for name, width in _wanted(package)}
    return UserBatch(rows, torch.from_numpy(history), context)


def scores_of(
    package: "LoadedPackage", batch: UserBatch, items: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.float32]:
    """Scores of items of a package's vocabulary for B users, ``[B, C]``.

    Those of a two-tower model are inner products with the packed item vectors; a scorer is asked about some items at a
    time.

    Args:
        package: The model.
        batch: The users.
        items: Rows of C items; all N if None.
    """
    model = package.recommender
    with torch.inference_mode():
        batch = batch.to(model.device)
        if isinstance(model, TwoTower) and package.item_vectors is not None:
            users = model.user_vectors(batch).float().cpu().numpy()
            return np.asarray(users @ (package.item_vectors if items is None else package.item_vectors[items]).T)
        rows = torch.arange(len(package.items)) if items is None else torch.from_numpy(items)
        scores: npt.NDArray[np.float32] = scores_in_parts(model, batch, rows.to(model.device)).float().cpu().numpy()
        return scores


def scores_in_parts(model: Recommender, batch: UserBatch, items: torch.Tensor) -> torch.Tensor:
    """A scorer's scores for B users of C items, ``[B, C]``, asked about some items at a time, which bounds memory."""
    return torch.cat([model.score(batch, part) for part in torch.split(items, _ITEMS_AT_A_TIME)], dim=1)


def _wanted(package: "LoadedPackage") -> list[tuple[str, int]]:
    return sorted(package.manifest.contexts.items())


def _context(
    package: "LoadedPackage",
    name: str,
    width: int,
    user_ids: Sequence[str],
    contexts: Sequence[Mapping[str, Sequence[float]]],
) -> torch.Tensor:
    for row, user in enumerate(user_ids):
        given = contexts[row].get(name) if row < len(contexts) else None
        if given is None or len(given) != width:
            raise BadInput(
                f"request of user {user!r} to model {package.manifest.model}: context {name!r}",
                found="none" if given is None else f"{len(given)} components",
                expected=f"{width} components, as in training",
                next_step="send what the feature service of the model gives for the request",
            )
    values = np.array([contexts[row][name] for row in range(len(user_ids))]).reshape(len(user_ids), width)
    return torch.from_numpy(values if values.dtype == np.int64 else values.astype(np.float32))
