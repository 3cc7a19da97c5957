"""TF-BGM against numbers worked by hand."""

from collections.abc import Callable
from math import exp, log, tanh

import pytest
import torch

from feature_repo.frame import TrainingFrame
from training.batches import Samples, UserBatch
from training.models.tf_bgm import TfBgm, TfBgmConfig
from training.recommender import Catalogue


@pytest.fixture
def model(music_frame_of: Callable[..., TrainingFrame]) -> TfBgm:
    """Users 0 and 1 have adopted music 0 and 1; user 2 nothing, and nobody music 2."""
    frame = music_frame_of(
        3,
        train=[(0, 0), (1, 1)],
        validation=[(1, 0)],
        visual=[(1, 0)] * 3,
        textual=[(1,)] * 3,
        genre=[(1, 0), (0, 1), (1, 0)],
    )
    config = TfBgmConfig(dimension=2, video_dimension=1, video_features="C", regularisation=0.5)
    model = TfBgm(config, Catalogue.of(frame))
    model.begin(frame, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.users.copy_(torch.tensor([[1, 2], [3, 0], [7, 7]]))
        model.items.copy_(torch.tensor([[1, -1], [0.5, 0], [9, 9]]))
        model.core.copy_(torch.tensor([[[1, 0]], [[2, 1]]]))
        model.weight.copy_(torch.tensor([[1], [0.25]]))
        model.bias.fill_(0.2)
    return model


CONTEXT = {"video": torch.full((2, 1), -1), "visual": torch.tensor([[6, 8], [0, 0]])}


@torch.no_grad()
def test_equations_b1_and_b2(model: TfBgm) -> None:
    # f^v = tanh(0.6 + 0.2 + 0.2) of a video (0.6, 0.8), tanh(0.2) of one without a vector.
    # W x f^u: (1 + 4, 2) of user 0, (3, 0) of user 1.
    batch = UserBatch(torch.tensor([0, 1]), torch.full((2, 50), -1), CONTEXT)
    first, second = tanh(1.0), tanh(0.2)
    expected = [3 * first, 2.5 * first, 0, 3 * second, 1.5 * second, 0]
    assert model.score(batch).flatten().tolist() == pytest.approx(expected)


@torch.no_grad()
def test_a_user_without_pairs_asks_as_the_average_of_those_who_have_some(model: TfBgm) -> None:
    batch = UserBatch(torch.tensor([2, -1]), torch.full((2, 50), -1), CONTEXT)
    # Mean f^u = (2, 1), so W x f^u = (4, 1); without a video as well nothing is said.
    assert model.can_score(batch).tolist() == [True, False]
    assert model.score(batch).flatten().tolist() == pytest.approx([3 * tanh(1.0), 2 * tanh(1.0), 0, 0, 0, 0])


def test_equation_b3(model: TfBgm) -> None:
    samples = Samples(
        torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([[1, 1], [0, 0]]), torch.zeros(2, 2), CONTEXT
    )
    positives = [3 * tanh(1.0), 1.5 * tanh(0.2)]
    negatives = [2.5 * tanh(1.0), 3 * tanh(0.2)]
    expected = sum(log(1 + exp(-x)) for x in positives) / 2 + sum(log(1 + exp(x)) for x in negatives) / 2
    terms = {name: term.detach() for name, term in model.loss_terms(samples).items()}
    assert float(terms["cross_entropy"]) == pytest.approx(expected)
    # Squares: users 5 and 9; music 0 three times 2, music 1 three times 0.25; half of it, per sample, times 0.5.
    assert float(terms["l2"]) == pytest.approx(0.5 * (14 + 6 + 0.75) / 4)
