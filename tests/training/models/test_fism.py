import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import softplus

from feature_repo.frame import TrainingFrame
from training.batches import PADDING, Samples, UserBatch
from training.losses import bpr, logistic
from training.models.fism import Fism, FismConfig
from training.recommender import Catalogue


def started(frame: TrainingFrame, **options: object) -> Fism:
    """Initialised, and moved away from the start so that no parameter is zero."""
    model = Fism(FismConfig(dimension=5, **options), Catalogue.of(frame))
    generator = torch.Generator().manual_seed(0)
    model.begin(frame, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def seen_by(frame: TrainingFrame, user: int) -> list[int]:
    return frame.train[frame.train[:, 0] == user, 1].tolist()


def judged(model: Fism, witnesses: list[int], item: int) -> Tensor:
    """Eq. 6 without the user's bias, one witness after the other."""
    total = sum((model.witnesses[j] @ model.items[item] for j in witnesses), start=torch.zeros(()))
    return model.bias[item, 0] + len(witnesses) ** -model.config.alpha * total


def samples_of(frame: TrainingFrame, model: Fism) -> Samples:
    pairs = torch.from_numpy(frame.train[[0, 5, 9, 40]])
    negatives = torch.tensor([[1, 2, 3], [60, 61, 2], [7, 7, 8], [30, 20, 10]])
    return Samples(pairs[:, 0], pairs[:, 1], negatives, torch.zeros(4, 3))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_scores(frame: TrainingFrame, alpha: float) -> None:
    model = started(frame, alpha=alpha)
    with torch.no_grad():
        scores = model.score(UserBatch(torch.tensor([3, 17]), torch.from_numpy(frame.history[[3, 17]])))
        expected = torch.stack(
            [torch.stack([judged(model, seen_by(frame, user), item) for item in (2, 5, 40)]) for user in (3, 17)]
        )
    assert torch.allclose(scores[:, [2, 5, 40]], expected, atol=1e-5)


def test_a_score_by_hand(frame: TrainingFrame) -> None:
    model = started(frame)
    with torch.no_grad():
        for table in (model.items, model.witnesses, model.bias):
            table.zero_()
        model.items[8, :2] = torch.tensor([1.0, 2.0])
        model.witnesses[3, :2] = torch.tensor([3.0, 0.5])
        model.witnesses[6, :2] = torch.tensor([-1.0, 1.0])
        model.bias[8] = 0.25
        stranger = UserBatch(torch.tensor([PADDING]), torch.tensor([[6, 3, 6, PADDING]]))
        # Two distinct witnesses: (3 + 1) + (-1 + 2) = 5 over the root of 2.
        assert model.score(stranger)[0, 8].item() == pytest.approx(0.25 + 5 / math.sqrt(2))


@pytest.mark.parametrize("loss", ["logistic", "bpr"])
def test_the_positive_is_no_witness_of_itself(frame: TrainingFrame, loss: str) -> None:
    model = started(frame, loss=loss, against="drawn")
    samples = samples_of(frame, model)
    positive, negative = [], []
    for user, item, against in zip(samples.users, samples.positives, samples.negatives, strict=True):
        witnesses = seen_by(frame, int(user))
        others = [j for j in witnesses if j != int(item)]
        positive.append(judged(model, others, int(item)))
        negative += [judged(model, others if loss == "bpr" else witnesses, int(j)) for j in against]
    expected = {"bpr": bpr, "logistic": logistic}[loss](torch.stack(positive), torch.stack(negative).view(4, 3))
    terms = model.loss_terms(samples)
    assert set(terms) == {loss, "l2"}
    assert terms[loss].item() == pytest.approx(expected.item(), abs=1e-6)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    for given, other in zip(torch.autograd.grad(terms[loss], list(model.parameters())), wanted, strict=True):
        assert torch.allclose(given, other, atol=1e-6)


def test_against_all_is_what_draws_come_to(frame: TrainingFrame) -> None:
    """Each user's known items, and every other one with the weight that three draws for each known one give it."""
    model = started(frame, negatives=3)
    users = [3, 17, 40]
    total, pairs = torch.zeros(()), 0
    for user in users:
        witnesses = seen_by(frame, user)
        others = [item for item in range(len(frame.items)) if item not in witnesses]
        pairs += len(witnesses)
        for item in witnesses:
            total = total + softplus(-judged(model, [j for j in witnesses if j != item], item))
        for item in others:
            total = total + 3 * len(witnesses) / len(others) * softplus(judged(model, witnesses, item))
    expected = total / (4 * pairs)
    none = torch.zeros(3, 1, dtype=torch.int64)
    terms = model.loss_terms(Samples(torch.tensor(users), none.squeeze(1), none, none.float()))
    assert terms["logistic"].item() == pytest.approx(expected.item(), rel=1e-5)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    for given, other in zip(torch.autograd.grad(terms["logistic"], list(model.parameters())), wanted, strict=True):
        assert torch.allclose(given, other, atol=1e-6)


def test_l2(frame: TrainingFrame) -> None:
    model = started(frame, regularisation=0.5)
    squares = sum(parameter.square().sum().item() for parameter in model.parameters())
    terms = model.loss_terms(samples_of(frame, model))
    assert terms["l2"].item() == pytest.approx(0.5 * squares / 2 / len(frame.items), rel=1e-5)


def test_an_epoch_visits_each_user_once_or_each_pair(frame: TrainingFrame) -> None:
    pairs, generator = torch.from_numpy(frame.train), torch.Generator().manual_seed(0)
    visited = started(frame).visits(pairs, generator)
    assert sorted(pairs[visited, 0].tolist()) == sorted(set(frame.train[:, 0].tolist()))
    drawn = started(frame, against="drawn").visits(pairs, generator)
    assert sorted(drawn.tolist()) == list(range(len(pairs)))


def test_ranks_are_learnt_from_draws_alone() -> None:
    with pytest.raises(ValidationError, match="`loss=bpr` compares with draws: add `against=drawn`"):
        FismConfig(loss="bpr")


def test_who_has_seen_one_item_trains_without_witnesses(frame: TrainingFrame) -> None:
    model = started(replace(frame, train=np.array([[0, 4], [1, 4], [1, 5]])), against="drawn", initialisation="normal")
    alone = Samples(torch.tensor([0]), torch.tensor([4]), torch.tensor([[9]]), torch.zeros(1, 1))
    terms = model.loss_terms(alone)
    expected = logistic(model.bias[4], judged(model, [4], 9).view(1, 1))
    assert terms["logistic"].item() == pytest.approx(expected.item(), abs=1e-6)


def test_histories_longer_than_a_request_count_in_full(frame: TrainingFrame) -> None:
    model = started(frame)
    known = torch.tensor([3])
    with torch.no_grad():
        whole = model.user_vectors(UserBatch(known, torch.from_numpy(frame.history[[3]])))
        assert torch.equal(whole, model.user_vectors(UserBatch(known, torch.tensor([[PADDING]]))))
        fresh = next(item for item in range(len(frame.items)) if item not in seen_by(frame, 3))
        assert not torch.allclose(whole, model.user_vectors(UserBatch(known, torch.tensor([[fresh]]))))


def test_items_without_a_training_pair_are_no_witnesses(frame: TrainingFrame) -> None:
    model = started(replace(frame, train=frame.train[frame.train[:, 1] != 4]))
    with torch.no_grad():
        stranger = UserBatch(torch.tensor([PADDING, PADDING]), torch.tensor([[4, PADDING], [4, 9]]))
        assert model.can_score(stranger).tolist() == [False, True]
        vectors = model.user_vectors(stranger)
    assert not vectors[0].any()
    assert torch.equal(vectors[1, :-1], model.witnesses[9])
