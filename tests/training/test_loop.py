from typing import Any

import pytest
import torch
from torch import Tensor

from contracts.errors import TrainingDiverged
from feature_repo.frame import TrainingFrame
from training.batches import Samples
from training.loop import fit_learned
from training.models.mf import MatrixFactorisation, MfConfig
from training.recommender import Catalogue, EpochReport


def mf(frame: TrainingFrame, **options: Any) -> MatrixFactorisation:
    return MatrixFactorisation(MfConfig(**{"dimension": 8, "batch_size": 64, **options}), Catalogue.of(frame))


def test_the_best_epoch_is_put_back_and_patience_ends_training(
    frame: TrainingFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalls = iter([0.1, 0.3, 0.2, 0.3, 0.1, 0.9])
    vectors = []

    def evaluate(model: MatrixFactorisation, *_: object) -> dict[str, float]:
        vectors.append(model.item_vectors().detach().clone())
        return {"recall_at_20": next(recalls)}

    monkeypatch.setattr("training.loop.evaluate", evaluate)
    seen: list[EpochReport] = []
    model = mf(frame, patience=3)
    report = fit_learned(model, frame, seed=0, on_epoch=seen.append)

    # Epoch 2 is best: an equal epoch 4 is no improvement, and three epochs later it is over.
    assert (report.best_epoch, report.epochs, report.validation) == (2, 5, {"recall_at_20": 0.3})
    assert [r.epoch for r in seen] == [1, 2, 3, 4, 5]
    assert report.losses == seen[1].losses
    assert torch.equal(model.item_vectors(), vectors[1])
    assert not torch.equal(vectors[1], vectors[-1])


def test_max_epochs_ends_training(frame: TrainingFrame) -> None:
    report = fit_learned(mf(frame, max_epochs=2), frame, seed=0)
    assert report.epochs == 2
    assert report.seconds > 0
    assert set(report.losses) == {"bpr", "l2"}


def test_the_loss_falls(frame: TrainingFrame) -> None:
    seen: list[EpochReport] = []
    fit_learned(mf(frame, max_epochs=8, patience=8), frame, seed=0, on_epoch=seen.append)
    assert seen[-1].losses["bpr"] < seen[0].losses["bpr"]


class Diverging(MatrixFactorisation):
    def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
        terms = super().loss_terms(samples)
        return {**terms, "l2": terms["l2"] * torch.nan}


def test_a_term_that_is_not_finite_is_named(frame: TrainingFrame) -> None:
    with pytest.raises(TrainingDiverged, match="Diverging: loss term 'l2': found nan; expected a finite number"):
        fit_learned(Diverging(MfConfig(), Catalogue.of(frame)), frame, seed=0)


def test_finite_terms_with_an_infinite_sum_are_refused(frame: TrainingFrame) -> None:
    class Huge(MatrixFactorisation):
        def loss_terms(self, samples: Samples) -> dict[str, Tensor]:
            return {"one": torch.tensor(3e38), "two": torch.tensor(3e38)}

    with pytest.raises(TrainingDiverged, match="loss term 'sum': found inf"):
        fit_learned(Huge(MfConfig(), Catalogue.of(frame)), frame, seed=0)


def test_a_last_step_that_diverges_does_not_go_unnoticed(frame: TrainingFrame) -> None:
    # One epoch of one batch: no later loss shows what the step did. The parameters are finite, the scores are not.
    options = {"learning_rate": 1e30, "max_epochs": 1, "batch_size": 4096}
    with pytest.raises(TrainingDiverged, match=r"MatrixFactorisation: scores: found values from .*; expected finite"):
        fit_learned(mf(frame, **options), frame, seed=0)


def test_a_tensor_that_is_not_finite_is_named(frame: TrainingFrame) -> None:
    class Late(MatrixFactorisation):
        def refresh(self) -> None:
            with torch.no_grad():
                self.bias[:2] = torch.tensor([[torch.nan], [torch.inf]])

    model = Late(MfConfig(max_epochs=1), Catalogue.of(frame))
    with pytest.raises(TrainingDiverged, match="Late: tensor 'bias': found 2 values NaN or infinite; expected finite"):
        fit_learned(model, frame, seed=0)


@pytest.mark.parametrize("before", [False, True])
def test_torch_is_left_as_it_was(frame: TrainingFrame, before: bool) -> None:
    torch.use_deterministic_algorithms(before)
    try:
        with pytest.raises(TrainingDiverged, match="Diverging"):
            fit_learned(Diverging(MfConfig(), Catalogue.of(frame)), frame, seed=0)
        assert torch.are_deterministic_algorithms_enabled() is before
        assert torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(False)
