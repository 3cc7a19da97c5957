from typing import Any

import pytest
import torch
from torch import Tensor

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from training.batches import PADDING, Samples, UserBatch
from training.config import resolve_config
from training.losses import bpr, logistic
from training.models import neumf
from training.models.fism import FismConfig, fitted_fism
from training.models.neumf import Neumf, NeumfBprConfig, NeumfConfig
from training.recommender import Catalogue

PARTS = ["both", "gmf", "mlp"]
D = 4


def started(frame: TrainingFrame, config: type[NeumfConfig] = NeumfConfig, **options: Any) -> Neumf:
    """Initialised, and moved away from the start so that no parameter is zero."""
    model = Neumf(config(**{"dimension": D, "layers": 2, **options}), Catalogue.of(frame))
    generator = torch.Generator().manual_seed(0)
    model.begin(frame, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


def judged(model: Neumf, user: int, item: int) -> Tensor:
    """Eq. 12, the perceptron layer by layer over the concatenation of both vectors (eq. 10)."""
    p, q = model.users[user], model.items[item]
    read = []
    if model.config.parts != "mlp":
        read.append(p[:D] * q[:D])
    if model.config.parts != "gmf":
        layer = torch.cat([p[-D:], q[-D:]])
        for weight, bias in zip(model.weights, model.biases, strict=True):
            layer = torch.relu(weight.T @ layer + bias)
        read.append(layer)
    return torch.cat(read) @ model.output[:, 0]


def batch(frame: TrainingFrame, rows: list[int]) -> UserBatch:
    return UserBatch(torch.tensor(rows), torch.from_numpy(frame.history[rows]))


def samples_of(frame: TrainingFrame) -> Samples:
    pairs = torch.from_numpy(frame.train[[0, 5]])
    return Samples(pairs[:, 0], pairs[:, 1], torch.tensor([[1, 2, 3], [60, 61, 2]]), torch.zeros(2, 3))


@pytest.mark.parametrize("parts", PARTS)
def test_scores(frame: TrainingFrame, parts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = started(frame, parts=parts)
    users, items = [3, 17], [2, 5, 40]
    with torch.no_grad():
        expected = torch.stack([torch.stack([judged(model, user, item) for item in items]) for user in users])
        every = model.score(batch(frame, users))
        assert torch.allclose(every[:, items], expected, atol=1e-5)
        assert torch.allclose(model.score(batch(frame, users), torch.tensor(items)), expected, atol=1e-5)
        each = model.score(batch(frame, users), torch.tensor([[2, 5], [40, 2]]))
        assert torch.allclose(each, torch.stack([expected[0, :2], expected[1, [2, 0]]]), atol=1e-5)
        monkeypatch.setattr(neumf, "_CELLS", 1)
        assert torch.allclose(model.score(batch(frame, users)), every, atol=1e-5)


def test_a_score_by_hand(frame: TrainingFrame) -> None:
    model = started(frame, dimension=2, layers=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.users[0] = torch.tensor([1.0, 2.0, 3.0, -1.0])
        model.items[8] = torch.tensor([0.5, -1.0, 2.0, 4.0])
        model.weights[0].copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -1.0]]))
        model.biases[0].copy_(torch.tensor([0.5, 0.0]))
        model.output.copy_(torch.tensor([[2.0], [3.0], [1.0], [10.0]]))
        # The perceptron has relu(3 + 2 + 0.5) = 5.5 and relu(-1 - 4) = 0; the product of the others 0.5 and -2.
        expected = 2 * 0.5 + 3 * -2 + 5.5
        assert model.score(batch(frame, [0]))[0, 8].item() == pytest.approx(expected)


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize(("config", "name"), [(NeumfConfig, "logistic"), (NeumfBprConfig, "bpr")])
def test_loss_and_gradient(frame: TrainingFrame, config: type[NeumfConfig], name: str, parts: str) -> None:
    model, samples = started(frame, config, parts=parts, regularisation=0.5), samples_of(frame)
    positive = [judged(model, int(u), int(i)) for u, i in zip(samples.users, samples.positives, strict=True)]
    negative = [
        judged(model, int(u), int(j)) for u, row in zip(samples.users, samples.negatives, strict=True) for j in row
    ]
    expected = {"bpr": bpr, "logistic": logistic}[name](torch.stack(positive), torch.stack(negative).view(2, 3))
    terms = model.loss_terms(samples)
    assert terms[name].item() == pytest.approx(expected.item(), abs=1e-5)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    given = torch.autograd.grad(terms[name], list(model.parameters()))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(given, wanted, strict=True))
    asked = torch.cat([samples.positives, samples.negatives.flatten()])
    squares = model.users[samples.users].square().sum() + model.items[asked].square().sum()
    assert terms["l2"].item() == pytest.approx(0.5 * squares.item() / 2 / 2, rel=1e-5)


def test_two_parts_have_equal_say(frame: TrainingFrame) -> None:
    both, gmf, mlp = (started(frame, parts=parts) for parts in PARTS)
    both.take_over(gmf, mlp)
    some = batch(frame, [3, 17])
    with torch.no_grad():
        assert torch.allclose(both.score(some), (gmf.score(some) + mlp.score(some)) / 2, atol=1e-5)


def test_pretraining_has_learnt_before_the_first_epoch(frame: TrainingFrame) -> None:
    options = {"dimension": D, "layers": 2, "batch_size": 256, "learning_rate": 0.02}
    model = Neumf(NeumfConfig(pretraining_epochs=2, **options), Catalogue.of(frame))
    model.begin(frame, torch.Generator().manual_seed(0))
    # The biases of the layers begin at zero.
    assert all(bias.any() for bias in model.biases)


def test_from_fism_the_first_scores_are_its(frame: TrainingFrame) -> None:
    model = Neumf(NeumfConfig(dimension=D, layers=2, initialisation="fism"), Catalogue.of(frame))
    model.begin(frame, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    plain = Neumf(NeumfConfig(dimension=D, layers=2), model.catalogue)
    plain.begin(frame, generator)
    fism = fitted_fism(plain, frame, FismConfig(dimension=D - 1), generator)
    users = batch(frame, [3, 17])
    with torch.no_grad():
        expected = fism.user_vectors(users) @ fism.item_vectors().T
        assert expected.std() > 0.1
        assert torch.allclose(model.score(users), expected, atol=1e-5)
        # The perceptron starts from chance, as it does elsewhere.
        assert torch.equal(model.users[:, D:], plain.users[:, D:])
        assert not model.output[D:].any()


@pytest.mark.parametrize("other", [{"pretraining_epochs": 2}, {"parts": "mlp"}])
def test_two_starts_are_refused(other: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="`initialisation=fism` starts the factorisation"):
        resolve_config("neumf", NeumfConfig, {"initialisation": "fism", **other})


def test_nobody_unknown_is_answered(frame: TrainingFrame) -> None:
    model = started(frame)
    strangers = UserBatch(torch.tensor([PADDING, 3]), torch.tensor([[4, 9], [4, 9]]))
    with torch.no_grad():
        assert model.can_score(strangers).tolist() == [False, True]
        assert torch.isfinite(model.score(strangers)).all()


def test_layers_that_would_have_no_width_are_refused() -> None:
    with pytest.raises(BadInput, match=r"2\^layers \(16\) must divide twice the dimension \(24\)"):
        resolve_config("neumf", NeumfConfig, {"dimension": 12, "layers": 4})
