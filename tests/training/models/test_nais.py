import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from feature_repo.frame import TrainingFrame
from training.batches import PADDING, Samples, UserBatch
from training.losses import logistic
from training.models import nais
from training.models.nais import Nais, NaisConfig
from training.recommender import Catalogue

VARIANTS = ["prod", "concat"]


def started(frame: TrainingFrame, **options: Any) -> Nais:
    """Initialised, and moved away from the start so that no parameter is zero."""
    small = {"dimension": 4, "attention_dimension": 3, "pretraining_epochs": 0}
    model = Nais(NaisConfig(**{**small, **options}), Catalogue.of(frame))
    generator = torch.Generator().manual_seed(0)
    model.begin(frame, generator)
    model.start_epoch(1, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return model


def seen_by(frame: TrainingFrame, user: int) -> list[int]:
    return frame.train[frame.train[:, 0] == user, 1].tolist()


def judged(model: Nais, witnesses: list[int], item: int) -> Tensor:
    """Eqs. 8-11, one witness after the other; the item itself is none."""
    numerator, denominator = torch.zeros(()), torch.zeros(())
    for j in witnesses:
        if j == item:
            continue
        p, q = model.items[item], model.witnesses[j]
        read = p * q if model.config.attention == "prod" else torch.cat([p, q])
        weight = (torch.relu(read @ model.hidden + model.hidden_bias) @ model.energy).exp()
        numerator, denominator = numerator + weight * (p @ q), denominator + weight
    score = numerator / denominator**model.config.beta if denominator > 0 else torch.zeros(())
    return model.bias[item, 0] + score


def batch(frame: TrainingFrame, rows: list[int]) -> UserBatch:
    return UserBatch(torch.tensor(rows), torch.from_numpy(frame.history[rows]))


def samples_of(frame: TrainingFrame) -> Samples:
    pairs = torch.from_numpy(frame.train[[0, 5, 9, 40]])
    unseen = [np.setdiff1d(np.arange(len(frame.items)), seen_by(frame, user))[[0, 7, 20]] for user in pairs[:, 0]]
    negatives = torch.from_numpy(np.stack(unseen))
    return Samples(pairs[:, 0], pairs[:, 1], negatives, torch.zeros(4, 3))


@pytest.mark.parametrize("attention", VARIANTS)
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_scores(frame: TrainingFrame, attention: str, beta: float) -> None:
    model, users = started(frame, attention=attention, beta=beta), [3, 17]
    items = [2, *seen_by(frame, 3)[:2], 40]
    with torch.no_grad():
        scores = model.score(batch(frame, users))[:, items]
        expected = torch.stack(
            [torch.stack([judged(model, seen_by(frame, user), item) for item in items]) for user in users]
        )
    assert torch.allclose(scores, expected, atol=1e-4)


def test_a_score_by_hand(frame: TrainingFrame) -> None:
    model = started(frame, dimension=1, attention_dimension=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.items[8], model.witnesses[3], model.witnesses[6] = 2.0, 1.0, -1.0
        model.bias[8], model.hidden[0, 0], model.energy[0] = 0.25, 1.0, math.log(2) / 2
        stranger = UserBatch(torch.tensor([PADDING]), torch.tensor([[6, 3, PADDING]]))
        # relu(2 * 1) log(2) / 2 = log 2 weighs witness 3 twice; relu(2 * -1) = 0 weighs witness 6 once:
        # (2 * 2 - 1 * 2) / (2 + 1)^0.5.
        assert model.score(stranger)[0, 8].item() == pytest.approx(0.25 + 2 / math.sqrt(3))


@pytest.mark.parametrize("attention", VARIANTS)
def test_loss_and_gradient_over_whole_histories(frame: TrainingFrame, attention: str) -> None:
    model, samples = started(frame, attention=attention, against="drawn"), samples_of(frame)
    positive, negative = [], []
    for user, item, against in zip(samples.users, samples.positives, samples.negatives, strict=True):
        witnesses = seen_by(frame, int(user))
        positive.append(judged(model, witnesses, int(item)))
        negative += [judged(model, witnesses, int(j)) for j in against]
    expected = logistic(torch.stack(positive), torch.stack(negative).view(4, 3))
    term = model.loss_terms(samples)["logistic"]
    assert term.item() == pytest.approx(expected.item(), abs=1e-5)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    for given, other in zip(torch.autograd.grad(term, list(model.parameters())), wanted, strict=True):
        assert torch.allclose(given, other, atol=1e-5)


@pytest.mark.parametrize("attention", VARIANTS)
def test_a_batch_is_asked_about_one_list(frame: TrainingFrame, attention: str) -> None:
    """The first draws of all users, each with the weight that three draws for each known item give it."""
    model, users, listed = started(frame, attention=attention, negatives=3, regularisation=0.5), [3, 17, 40], []
    total, pairs = torch.zeros(()), 0
    for user in users:
        listed += [item for item in range(len(frame.items)) if item not in seen_by(frame, user)][user : user + 1]
    listed += seen_by(frame, 17)[:1]
    for user in [*users, 5]:
        known = [item for item in listed if item in seen_by(frame, user)]
        others = [item for item in listed if item not in known]
        pairs += len(known)
        for item in known:
            total = total + softplus(-judged(model, seen_by(frame, user), item))
        for item in others:
            total = total + 3 * len(known) / len(others) * softplus(judged(model, seen_by(frame, user), item))
    expected = total / (4 * pairs)
    draws = torch.tensor(listed).unsqueeze(1).repeat(1, 3)
    draws[:, 1:] = 11  # Later draws are weight alone.
    terms = model.loss_terms(
        Samples(torch.tensor([*users, 5]), torch.zeros(4, dtype=torch.int64), draws, draws.float())
    )
    assert terms["logistic"].item() == pytest.approx(expected.item(), rel=1e-5)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    for given, other in zip(torch.autograd.grad(terms["logistic"], list(model.parameters())), wanted, strict=True):
        assert torch.allclose(given, other, atol=1e-5)
    squares = sum(table.square().sum().item() for table in (model.items, model.witnesses, model.bias))
    assert terms["l2"].item() == pytest.approx(0.5 * squares / 2 / len(frame.items), rel=1e-5)


def test_an_epoch_visits_each_user_once_or_each_pair(frame: TrainingFrame) -> None:
    pairs, generator = torch.from_numpy(frame.train), torch.Generator().manual_seed(0)
    visited = started(frame).visits(pairs, generator)
    assert sorted(pairs[visited, 0].tolist()) == sorted(set(frame.train[:, 0].tolist()))
    drawn = started(frame, against="drawn").visits(pairs, generator)
    assert sorted(drawn.tolist()) == list(range(len(pairs)))


def test_a_sampled_history_stands_for_all_of_it(frame: TrainingFrame) -> None:
    model, samples = started(frame, history=3, against="drawn"), samples_of(frame)
    with torch.no_grad():
        # Where all witnesses are alike, so are all samples of them: nothing is left of the draw but its size.
        model.witnesses.copy_(model.witnesses[:1].expand_as(model.witnesses))
        sampled = model.loss_terms(samples)["logistic"]
        whole = started(frame, history=50, against="drawn")
        whole.load_state(model.state())
        assert sampled.item() == pytest.approx(whole.loss_terms(samples)["logistic"].item(), abs=1e-5)


@pytest.mark.parametrize("attention", VARIANTS)
def test_every_way_to_score_gives_the_same(
    frame: TrainingFrame, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, users = started(frame, attention=attention), [3, 17, 40]
    candidates = torch.tensor([[1, 9], [50, 9], seen_by(frame, 40)[:2]])
    with torch.no_grad():
        every = model.score(batch(frame, users))
        assert torch.allclose(model.score(batch(frame, users), torch.tensor([9, 4])), every[:, [9, 4]], atol=1e-5)
        few = model.score(batch(frame, users), candidates)
        many = model.score(batch(frame, users), candidates.repeat(1, 40))
        assert torch.allclose(few, every.gather(1, candidates), atol=1e-5)
        assert torch.allclose(many, few.repeat(1, 40), atol=1e-5)
        monkeypatch.setattr(nais, "_CELLS", 200)
        assert torch.allclose(model.score(batch(frame, users)), every, atol=1e-5)
        assert torch.allclose(model.score(batch(frame, users), candidates), few, atol=1e-5)


def test_without_attention_it_is_fism(frame: TrainingFrame) -> None:
    pretrained = started(frame, pretraining_epochs=2, dimension=8)
    start = Nais(pretrained.config, pretrained.catalogue)
    start.begin(frame, torch.Generator().manual_seed(0))
    with torch.no_grad():
        start.energy.zero_()
        user = batch(frame, [3])
        unseen = [item for item in range(len(frame.items)) if item not in seen_by(frame, 3)]
        witnesses = start.witnesses[seen_by(frame, 3)].sum(0) / len(seen_by(frame, 3)) ** 0.5
        expected = start.items @ witnesses + start.bias.squeeze(1)
        assert torch.allclose(start.score(user)[0, unseen], expected[unseen], atol=1e-5)
    # Two epochs of FISM have made something of the biases, which begin at zero.
    assert start.bias.abs().max() > 1e-3


def test_items_without_a_training_pair_are_no_witnesses(frame: TrainingFrame) -> None:
    model = started(replace(frame, train=frame.train[frame.train[:, 1] != 4]))
    with torch.no_grad():
        stranger = UserBatch(torch.tensor([PADDING, PADDING]), torch.tensor([[4, PADDING], [4, 9]]))
        assert model.can_score(stranger).tolist() == [False, True]
        assert torch.allclose(model.score(stranger)[0], model.bias.squeeze(1))
        # And are judged by their bias alone.
        assert model.score(stranger)[1, 4].item() == pytest.approx(model.bias[4].item())
