"""What a training found out: the figures of a part of the split, of every slice of it, and how much data there was."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from contracts.user_figures import UserFigures
from training.evaluation import means_of, shown_of, users_of
from training.protocols import HeldOut, Protocol
from training.ranking import Standing
from training.slices import slice_metrics

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["data_metrics", "metrics_of_part", "missing_items", "user_figures"]

_SHARE_MISSING = "share_missing_"


def metrics_of_part(
    part: Literal["validation", "test"],
    standing: Standing,
    frame: "TrainingFrame",
    held: HeldOut,
    protocol: Protocol,
) -> dict[str, float]:
    """Metrics of the held-out events of a part from one ranking of them.

    Args:
        part: Which part of the split they are, by which the metrics are named.
        standing: Where they stand, as :func:`training.ranking.stand` gives it.
        frame: What the model was fitted on.
        held: The events.
        protocol: That of the ranking.

    Returns:
        - ``<part>_<metric>_at_<k>``, as :func:`training.evaluation.evaluate` says;
        - ``<part>_{coverage,gini,novelty,popularity_lift}_at_<k>`` of the lists, in full ranking;
        - ``<part>_<slice>_<metric>_at_<k>`` for each slice of :func:`training.slices.slice_metrics` that has events;
        - ``<part>_events`` and ``<part>_<slice>_events``, how many there are.
    """
    found = {**means_of(standing.ranks, protocol), **shown_of(standing, frame, held.candidates)}
    found["events"] = len(held.pairs)
    for name, events in slice_metrics(standing, frame, protocol).items():
        found[f"{name}_events"] = events.pairs
        found |= {f"{name}_{metric}": value for metric, value in (events.metrics or {}).items()}
    return {f"{part}_{name}": float(value) for name, value in found.items()}


def user_figures(standing: Standing, frame: "TrainingFrame", protocol: Protocol) -> UserFigures:
    """``validation_<metric>_at_<k>`` of each user, from a ranking of the validation events."""
    found = users_of(standing, protocol)
    ids = frame.users.ids(found.users)
    return UserFigures.of(ids, found.lists, {f"validation_{name}": each for name, each in found.per_user.items()})


def data_metrics(frame: "TrainingFrame") -> dict[str, float]:
    """How much there was to learn from.

    Returns:
        ``users`` and ``items``; ``train_events`` and ``validation_events``; ``users_without_history``, who have no
        training event; and ``share_missing_<modality>``, the share of the items without a vector of it.
    """
    return {
        "users": len(frame.users),
        "items": len(frame.items),
        "train_events": len(frame.train),
        "validation_events": len(frame.validation),
        "users_without_history": len(frame.users) - len(np.unique(frame.train[:, 0])),
        **{f"{_SHARE_MISSING}{name}": float(absent.mean()) for name, absent in sorted(frame.missing.items())},
    }


def missing_items(metrics: Mapping[str, float]) -> dict[str, int]:
    """Modality → number of items without a vector of it, where there are any, from :func:`data_metrics`."""
    shares = {
        name.removeprefix(_SHARE_MISSING): value for name, value in metrics.items() if name.startswith(_SHARE_MISSING)
    }
    return {name: round(share * metrics["items"]) for name, share in sorted(shares.items()) if share}
