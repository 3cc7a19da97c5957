"""A tuning of MF on the block data, small enough to be done many times."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from contracts.clock import utc_now
from contracts.reports import AcceptedReport, ValidationReport
from feature_repo.frame import TrainingFrame
from training.models import model_entry
from training.questions import question_of
from training.spaces import Choice, Floats
from training.studies import study_of
from training.tuning.task import TuningTask

QUICK = {"dimension": 4, "batch_size": 128, "max_epochs": 2}


@pytest.fixture
def task(frame: TrainingFrame) -> Callable[..., TuningTask]:
    """``task(fixed, space, seed)``: what is searched, by default MF's learning rate and negatives."""

    def make(fixed: dict[str, object] | None = None, space: dict[str, Any] | None = None, seed: int = 0) -> TuningTask:
        entry = model_entry("mf")
        accepted = ValidationReport(
            id="r", snapshot=frame.snapshot.id, created_at=utc_now(), success=True, suites=[], data_docs=""
        )
        return TuningTask(
            model="mf",
            entry=entry,
            service=entry.feature_service,
            study=study_of(question_of(entry.feature_service)),
            frame=frame,
            report=AcceptedReport(accepted),
            fixed={**QUICK, **(fixed or {})},
            space=space or {"learning_rate": Floats(1e-3, 1e-1, log=True), "negatives": Choice((1, 2, 4))},
            seed=seed,
            device=torch.device("cpu"),
        )

    return make
