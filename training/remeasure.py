"""Measure a package on another data snapshot: ``python -m training.remeasure PACKAGE SNAPSHOT``.

The home and the device are those of the environment's settings. Ranks the snapshot's validation pairs as training
does there, and writes one JSON document to standard output: ``protocol`` (digest of what was measured by) and
``metrics``. Exit code 0; otherwise the fault's own code, with its paragraph on standard error.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from contracts.process import answer_as_module
from training.batches import PADDING, UserBatch
from training.evaluation import CUTOFF, evaluate, protocol_of
from training.recommender import Catalogue, FitReport, OnEpoch, TwoTower

if TYPE_CHECKING:
    from contracts.home import Home
    from contracts.settings import Settings
    from feature_repo.frame import TrainingFrame
    from training.packages import LoadedPackage

__all__ = ["Visitor", "main", "remeasure"]

_FILLER, _UNKNOWN = -1e29, -1e30
"""Scores below any of a model's own, and finite: evaluation masks what a user has seen with minus infinity."""


class Visitor(TwoTower):
    """A package's model among the users and items of a frame it was not fitted on.

    Ids are what both sides share. Items the package does not know are never recommended; a user it has nothing to
    say about gets its most viewed items, as in the service. Scores are ``user . item + views . popular + unknown``,
    so an item vector has D + 2 components.

    Args:
        package: The model; it may have learnt from pairs that the frame holds out, which favours it.
        frame: Where it is to rank; its row numbers are those of the batches.
    """

    def __init__(self, package: "LoadedPackage", frame: "TrainingFrame") -> None:
        super().__init__(package.recommender.config, Catalogue.of(frame))
        assert isinstance(package.recommender, TwoTower), "a scorer has no vectors"
        self.model = package.recommender
        self._users = _rows_in(package.users, frame.users).to(self.device)
        self._items = _rows_in(package.items, frame.items).to(self.device)
        vectors = torch.from_numpy(package.item_vectors).to(self.device)
        views = torch.from_numpy(package.popularity).to(vectors)
        known = self._items >= 0
        # Without the fillers behind its own items, the unknown ones would come into a short list by their row number.
        table = vectors.new_zeros(len(known) + CUTOFF, vectors.shape[1] + 2)
        table[: len(known)][known, :-2] = vectors[self._items[known]]
        table[: len(known)][known, -2] = views[self._items[known]]
        table[: len(known)][~known, -1] = _UNKNOWN
        table[len(known) :, -1] = _FILLER
        self._table = table

    def fit(self, frame: "TrainingFrame", *, seed: int, on_epoch: OnEpoch | None = None) -> FitReport:
        """Measure only: the model is what it is."""
        return FitReport(
            epochs=0, best_epoch=0, validation=evaluate(self, frame, frame.validation), losses={}, seconds=0.0
        )

    def user_vectors(self, batch: UserBatch) -> Tensor:
        """``[B, D + 2]``: the model's vector, whether the popular items are shown instead, and 1."""
        own = self._translated(batch)
        popular = ~self.model.can_score(own)
        vectors = self.model.user_vectors(own).masked_fill(popular.unsqueeze(1), 0)
        return torch.cat([vectors, popular.to(vectors).unsqueeze(1), vectors.new_ones(len(batch), 1)], dim=1)

    def item_vectors(self) -> Tensor:
        """``[N + 20, D + 2]``: the frame's items, and fillers that no user has seen or holds out."""
        return self._table

    def can_score(self, batch: UserBatch) -> Tensor:
        """All but users without a training pair: no model fitted on the frame has a ranking for those either."""
        return self.model.can_score(self._translated(batch)) | (batch.history != PADDING).any(1)

    def _translated(self, batch: UserBatch) -> UserBatch:
        """Row numbers of the package; unknown items leave the history, the others move up."""
        history = _looked_up(self._items, batch.history)
        known_first = torch.argsort((history == PADDING).to(torch.int8), dim=1, stable=True)
        return UserBatch(_looked_up(self._users, batch.rows), history.gather(1, known_first))


def remeasure(package: "LoadedPackage", frame: "TrainingFrame") -> dict[str, float]:
    """``validation_…`` metrics of a package on the validation pairs of a frame.

    Raises:
        BadInput: The frame holds out no pairs.
    """
    measured = evaluate(Visitor(package, frame), frame, frame.validation)
    return {f"validation_{name}": value for name, value in measured.items()}


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

    directory, snapshot_id = arguments
    package = load_package(Path(directory), prepare_torch(settings))
    snapshot = read_snapshot(home, snapshot_id)
    frame = load_unjudged_frame(settings, home, package.manifest.feature_service, snapshot)
    return {"protocol": protocol_of(snapshot).digest, "metrics": remeasure(package, frame)}


def main(arguments: Sequence[str]) -> int:
    """Measure the package in a directory on a snapshot of the home; returns the exit code."""
    return answer_as_module("python -m training.remeasure PACKAGE SNAPSHOT", arguments, _measured)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
