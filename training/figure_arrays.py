"""The numbers behind a run's figures; :mod:`training.figures` draws them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from feature_repo.views.kmeans import k_means
from training.batches import UserBatch
from training.metrics import Ranks
from training.ranking import Standing
from training.recommender import EpochReport, Recommender
from training.slices import marks_of

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["FEWEST_OF_A_MAP", "QUANTILES", "embedding_map", "intensity_table", "learning_curves", "recall_curves"]

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""By which a distribution is given."""

FEWEST_OF_A_MAP = 100
"""Items below which a map by 30 neighbours says nothing."""

_MOST_OF_A_MAP = 1000
_STEPS_OF_A_MAP = 350
_COLOURED_CLUSTERS = 8
_LAST_BUCKET = 8
"""Items with 128 training events and more are together."""
_MOST_EVENTS = 20_000
_USERS = 1024
"""Users whose intensities are asked for at a time."""


def learning_curves(epochs: Sequence[EpochReport]) -> dict[str, Any] | None:
    """How losses and validation metrics went.

    Returns:
        ``epoch`` ``[n]``; ``losses`` and ``validation``, name → ``[n]``. None where there were not two epochs.
    """
    if len(epochs) < 2:
        return None
    return {
        "epoch": [each.epoch for each in epochs],
        "losses": {name: [each.losses[name] for each in epochs] for name in epochs[0].losses},
        "validation": {name: [each.validation[name] for each in epochs] for name in epochs[0].validation},
    }


def recall_curves(standing: Standing, frame: "TrainingFrame", depth: int) -> dict[str, Any]:
    """Recall@N of all held-out events, and of those of cold, popular and other items.

    Args:
        standing: Exact down to ``depth``.
        frame: Its training pairs say which items are popular.
        depth: The largest N; fewer where there are fewer items.

    Returns:
        ``n``, 1 to the largest; ``recall``, part → value at each n; ``lists``, part → number of lists; parts without
        events are left out.
    """
    depth = min(depth, len(frame.items))
    marks = marks_of(standing.pairs, frame)
    parts = {"all": np.ones(len(standing.pairs), bool)}
    parts |= {name: marks[name] for name in ("popular_items", "tail_items", "cold_items")}
    ranks = {name: standing.ranks.only(chosen) for name, chosen in parts.items() if chosen.any()}
    return {
        "n": list(range(1, depth + 1)),
        "recall": {name: _recall_at_each(part, depth).tolist() for name, part in ranks.items()},
        "lists": {name: len(part.relevant) for name, part in ranks.items()},
    }


def intensity_table(model: Recommender, frame: "TrainingFrame", standing: Standing) -> dict[str, Any] | None:
    """How much content counts, by how well known items are.

    Args:
        model: A fitted model.
        frame: What it was fitted on.
        standing: Of the held-out events: intensities are those of the users who chose an item.

    Returns:
        Of each bucket of items by their training events: ``bucket``, its name, ``items`` and ``events``, how many;
        ``content_weight``, :data:`QUANTILES` over its items; ``intensity``, modality → the same over the held-out
        events of its items, None where it has none. None where the model has neither weight.
    """
    internals = model.internals()
    if internals.content_weight is None and internals.intensities is None:
        return None
    bucket = _bucket_of(np.bincount(frame.train[:, 1], minlength=len(frame.items)))
    found: dict[str, Any] = {"quantiles": list(QUANTILES)}
    present = np.unique(bucket)
    found["bucket"] = [_name_of(each) for each in present]
    found["items"] = [int((bucket == each).sum()) for each in present]
    found["events"] = [int((bucket[standing.pairs[:, 1]] == each).sum()) for each in present]
    if internals.content_weight is not None:
        weight = internals.content_weight.cpu().numpy()
        found["content_weight"] = [_quantiles(weight[bucket == each]) for each in present]
    if internals.intensities is not None:
        step = max(1, len(standing.pairs) // _MOST_EVENTS)
        users, items = standing.pairs[::step].T
        distinct, owner = np.unique(users, return_inverse=True)
        weights = []
        for start in range(0, len(distinct), _USERS):
            rows = distinct[start : start + _USERS]
            batch = UserBatch(torch.from_numpy(rows), torch.from_numpy(frame.history[rows])).to(model.device)
            weights.append(torch.where(model.can_score(batch).unsqueeze(1), internals.intensities(batch), torch.nan))
        of_events = torch.cat(weights).cpu().numpy()[owner]
        found["intensity"] = {
            name: [_quantiles(of_events[bucket[items] == each, column]) for each in present]
            for column, name in enumerate(internals.modalities)
        }
    return found


def embedding_map(model: Recommender, frame: "TrainingFrame", seed: int) -> pa.Table | None:
    """ID embeddings beside content embeddings, each brought to a plane by t-SNE (van der Maaten and Hinton 2008).

    Args:
        model: A fitted model.
        frame: Names the items.
        seed: Of the choice of at most 1,000 items, of the clusters and of both maps; on one machine equal seeds give
            equal maps.

    Returns:
        ``item_id``; ``cluster`` of its content, 0 to 7; ``id_x``, ``id_y``; ``content_x``, ``content_y``. None where
        the model has not both, or for fewer than :data:`FEWEST_OF_A_MAP` items.
    """
    internals = model.internals()
    if internals.ids is None or internals.contents is None or internals.both is None:
        return None
    rows = np.flatnonzero(internals.both.cpu().numpy())
    if len(rows) < FEWEST_OF_A_MAP:
        return None
    if len(rows) > _MOST_OF_A_MAP:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _MOST_OF_A_MAP, replace=False))
    chosen = torch.from_numpy(rows).to(internals.ids.device)
    ids, contents = (table[chosen].detach().float().cpu().numpy() for table in (internals.ids, internals.contents))
    _, clusters = k_means(contents, _COLOURED_CLUSTERS, seed)
    of_ids, of_contents = (_plane(each, seed) for each in (ids, contents))
    return pa.table(
        {
            "item_id": frame.items.ids(rows),
            "cluster": clusters,
            "id_x": of_ids[:, 0],
            "id_y": of_ids[:, 1],
            "content_x": of_contents[:, 0],
            "content_y": of_contents[:, 1],
        }
    )


def _recall_at_each(ranks: Ranks, depth: int) -> Floats:
    """Mean recall at 1 to ``depth``, ``[depth]``: :func:`training.metrics.recall` at every k at once."""
    share = 1 / (ranks.relevant[ranks.place] * len(ranks.relevant))
    first = np.minimum(np.ceil(ranks.rank), depth + 1).astype(np.int64)
    curve: Floats = np.bincount(first, weights=share, minlength=depth + 2)[1 : depth + 1].cumsum()
    return curve


def _bucket_of(counts: Rows) -> Rows:
    """0 without an event; else b for 2^(b-1) to 2^b - 1."""
    return np.minimum(np.frexp(counts)[1], _LAST_BUCKET).astype(np.int64)


def _name_of(bucket: int) -> str:
    if bucket <= 1:
        return str(bucket)
    low = 2 ** (bucket - 1)
    return f"{low}+" if bucket == _LAST_BUCKET else f"{low}–{2 * low - 1}"


def _quantiles(values: npt.NDArray[Any]) -> list[float] | None:
    values = values[np.isfinite(values)]
    return [float(each) for each in np.quantile(values, QUANTILES)] if len(values) else None


def _plane(vectors: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    """``[n, width]`` → ``[n, 2]``."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # As with clusters: threads would add up in any order, and one seed would no longer mean one map.
    with threadpool_limits(limits=1):
        shown = TSNE(max_iter=_STEPS_OF_A_MAP, init="pca", random_state=seed).fit_transform(vectors)
    return np.asarray(shown, np.float32)
