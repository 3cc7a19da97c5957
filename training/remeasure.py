"""Measure a package on another data snapshot: ``python -m training.remeasure PACKAGE SNAPSHOT FIGURES``.

The home and the device are those of the environment's settings. Ranks the snapshot's validation pairs as training
does there, writes the metrics of each user to the file FIGURES (:mod:`contracts.user_figures`), and one JSON document
to standard output: ``protocol`` (digest of what was measured by) and ``metrics``. Exit code 0; otherwise the fault's
own code, with its paragraph on standard error.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from contracts.process import answer_as_module
from contracts.user_figures import UserFigures
from training.batches import PADDING, UserBatch
from training.evaluation import CUTOFF, evaluate
from training.outcome import metrics_of_part, user_figures
from training.protocols import FULL_20, Protocol, validation_of
from training.questions import question_of
from training.ranking import stand
from training.recommender import Catalogue, FitReport, OnEpoch, Recommender, TwoTower

if TYPE_CHECKING:
    from contracts.home import Home
    from contracts.settings import Settings
    from feature_repo.frame import TrainingFrame
    from training.packages import LoadedPackage

__all__ = ["main", "remeasure", "visitor"]

_FILLER, _UNKNOWN = -1e29, -1e30
"""Scores below any of a model's own, and finite: evaluation masks what a user has seen with minus infinity."""


class _Guest:
    """Row numbers of a frame as those of a package that was not fitted on it; an id is what both share."""

    def __init__(self, package: "LoadedPackage", frame: "TrainingFrame") -> None:
        device = package.recommender.device
        self._users = _rows_in(package.users, frame.users).to(device)
        self.items = _rows_in(package.items, frame.items).to(device)
        """Row in the package of each of the frame's items, -1 where it is not known, ``[N]``."""

    def translated(self, batch: UserBatch) -> UserBatch:
        """Unknown items leave the history, the others move up; numbers among the frame's contexts are unknown."""
        history = _looked_up(self.items, batch.history)
        known_first = torch.argsort((history == PADDING).to(torch.int8), dim=1, stable=True)
        context = {
            name: values if values.is_floating_point() else torch.full_like(values, PADDING)
            for name, values in batch.context.items()
        }
        return UserBatch(_looked_up(self._users, batch.rows), history.gather(1, known_first), context)


class _Visitor(Recommender):
    """A package's model among the users and items of a frame it was not fitted on."""

    def __init__(self, package: "LoadedPackage", frame: "TrainingFrame") -> None:
        catalogue = Catalogue.of(frame)
        super().__init__(package.recommender.config, replace(catalogue, items=catalogue.items + CUTOFF))
        self.model = package.recommender
        self._guest = _Guest(package, frame)

    def fit(
        self,
        frame: "TrainingFrame",
        *,
        seed: int,
        on_epoch: OnEpoch | None = None,
        protocol: Protocol = FULL_20,
        checkpoint: Path | None = None,
    ) -> FitReport:
        """Measure only: the model is what it is."""
        validation = evaluate(self, frame, validation_of(frame), protocol)
        return FitReport(epochs=0, best_epoch=0, validation=validation, losses={}, seconds=0.0)

    def can_score(self, batch: UserBatch) -> Tensor:
        """All but users without a training pair: no model fitted on the frame has a ranking for those either."""
        return self.model.can_score(self._guest.translated(batch)) | (batch.history != PADDING).any(1)


class _TowerVisitor(_Visitor, TwoTower):
    """Scores are ``user . item + views . popular + unknown``, so an item vector has D + 2 components."""

    def __init__(self, package: "LoadedPackage", frame: "TrainingFrame") -> None:
        super().__init__(package, frame)
        rows = self._guest.items
        known = rows >= 0
        vectors = torch.from_numpy(package.item_vectors).to(rows.device)
        views = torch.from_numpy(package.popularity).to(vectors)
        # Without the fillers behind its own items, the unknown ones would come into a short list by their row number.
        table = vectors.new_zeros(self.catalogue.items, vectors.shape[1] + 2)
        table[: len(known)][known, :-2] = vectors[rows[known]]
        table[: len(known)][known, -2] = views[rows[known]]
        table[: len(known)][~known, -1] = _UNKNOWN
        table[len(known) :, -1] = _FILLER
        self._table = table

    def user_vectors(self, batch: UserBatch) -> Tensor:
        """``[B, D + 2]``: the model's vector, whether the popular items are shown instead, and 1."""
        assert isinstance(self.model, TwoTower)
        own = self._guest.translated(batch)
        popular = ~self.model.can_score(own)
        vectors = self.model.user_vectors(own).masked_fill(popular.unsqueeze(1), 0)
        return torch.cat([vectors, popular.to(vectors).unsqueeze(1), vectors.new_ones(len(batch), 1)], dim=1)

    def item_vectors(self) -> Tensor:
        """``[N + 20, D + 2]``: the frame's items, and fillers that no user has seen or holds out."""
        return self._table


class _ScorerVisitor(_Visitor):
    """The same of a model that has no vectors."""

    def __init__(self, package: "LoadedPackage", frame: "TrainingFrame") -> None:
        super().__init__(package, frame)
        self._views = torch.from_numpy(package.popularity).to(self._guest.items.device).float()

    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        """As of any model, of the frame's items and 20 fillers behind them."""
        if items is None:
            items = torch.arange(self.catalogue.items, device=self.device)
        rows = _looked_up(self._guest.items, items.masked_fill(items >= len(self._guest.items), PADDING))
        own = self._guest.translated(batch)
        scores = self.model.score(own, rows.clamp(min=0))
        scores = torch.where(self.model.can_score(own).unsqueeze(1), scores, self._views[rows.clamp(min=0)])
        scores = scores.masked_fill(rows < 0, _UNKNOWN)
        return scores.masked_fill(items >= len(self._guest.items), _FILLER)


def visitor(package: "LoadedPackage", frame: "TrainingFrame") -> Recommender:
    """A package's model as one that ranks the items of a frame it was not fitted on.

    Ids are what both sides share. Items the package does not know are never recommended; a user it has nothing to
    say about gets its most viewed items, as in the service. 20 fillers stand behind the frame's items.

    Args:
        package: The model; it may have learnt from pairs that the frame holds out, which favours it.
        frame: Where it is to rank; its row numbers are those of the batches.
    """
    return (_ScorerVisitor if package.item_vectors is None else _TowerVisitor)(package, frame)


def remeasure(
    package: "LoadedPackage", frame: "TrainingFrame", protocol: Protocol = FULL_20
) -> tuple[dict[str, float], UserFigures]:
    """``validation_…`` metrics of a package on the validation events of a frame, those of slices and of each user too.

    Raises:
        BadInput: The frame holds out no pairs.
    """
    held = validation_of(frame)
    standing = stand(visitor(package, frame), frame, held, protocol)
    return metrics_of_part("validation", standing, frame, held, protocol), user_figures(standing, frame, protocol)


def _rows_in(own: Any, others: Any) -> Tensor:
    """Row number in one vocabulary of every id of another, -1 where it is not known."""
    return torch.from_numpy(own.rows(others.ids(np.arange(len(others)))))


def _looked_up(table: Tensor, rows: Tensor) -> Tensor:
    return torch.where(rows >= 0, table[rows.clamp(min=0)], PADDING)


def _measured(settings: "Settings", home: "Home", arguments: Sequence[str]) -> dict[str, Any]:
    from feature_repo.encoders.device import prepare_torch
    from feature_repo.frame import load_unjudged_frame
    from feature_repo.offline import read_snapshot
    from training.packages import load_package

    directory, snapshot_id, figures_path = arguments
    package = load_package(Path(directory), prepare_torch(settings))
    snapshot = read_snapshot(home, snapshot_id)
    frame = load_unjudged_frame(settings, home, package.manifest.feature_service, snapshot)
    question = question_of(package.manifest.feature_service)
    metrics, figures = remeasure(package, frame, question.protocol)
    figures.save(Path(figures_path))
    return {"protocol": question.fingerprint(snapshot).digest, "metrics": metrics}


def main(arguments: Sequence[str]) -> int:
    """Measure the package in a directory on a snapshot of the home; returns the exit code."""
    return answer_as_module("python -m training.remeasure PACKAGE SNAPSHOT FIGURES", arguments, _measured)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
