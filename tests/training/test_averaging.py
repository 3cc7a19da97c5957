import pytest
import torch
from torch import nn

from feature_repo.frame import TrainingFrame
from training.averaging import RunningMean
from training.models.lightgcn import LightGcn, LightGcnConfig
from training.models.mf import MatrixFactorisation, MfConfig
from training.recommender import Catalogue


def test_the_mean_by_hand() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    mean = RunningMean([parameter], decay=0.25)
    kept, expected = [2 / 11, 3 / 12, 0.25], 0.0
    for step, share in enumerate(kept, start=1):
        with torch.no_grad():
            parameter.fill_(float(step))
        mean.update()
        expected = share * expected + (1 - share) * step
    mean.swap()
    assert parameter.tolist() == pytest.approx([expected] * 2)
    mean.swap()
    assert parameter.tolist() == [3.0, 3.0]


def test_a_restored_mean_goes_on_as_the_first() -> None:
    first, second = nn.Parameter(torch.ones(3)), nn.Parameter(torch.zeros(3))
    means = RunningMean([first], 0.9), RunningMean([second], 0.9)
    for _ in range(4):
        with torch.no_grad():
            first.add_(1.0)
        means[0].update()
    means[1].restore(means[0].state())
    with torch.no_grad():
        second.copy_(first)
    for mean in means:
        mean.update()
        mean.swap()
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (MatrixFactorisation, MfConfig(dimension=8, batch_size=64, max_epochs=4)),
        (LightGcn, LightGcnConfig(dimension=8, batch_size=128, max_epochs=4)),
    ],
)
def test_averaging_keeps_another_model_and_takes_the_same_steps(
    frame: TrainingFrame, kind: type[MatrixFactorisation | LightGcn], config: MfConfig | LightGcnConfig
) -> None:
    losses, states = [], []
    for averaging in (None, 0.9):
        model = kind(config.model_copy(update={"averaging": averaging}), Catalogue.of(frame))
        own: list[dict[str, float]] = []
        model.fit(frame, seed=0, on_epoch=lambda report, own=own: own.append(report.losses))
        losses.append(own)
        states.append(model.item_vectors().detach())
    assert losses[0] == losses[1]
    assert not torch.allclose(*states)
