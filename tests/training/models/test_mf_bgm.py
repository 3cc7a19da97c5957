"""MF-BGM against numbers worked by hand."""

from collections.abc import Callable
from math import exp, log
from typing import Any

import pytest
import torch

from feature_repo.frame import TrainingFrame
from training.batches import Samples, UserBatch
from training.models.mf_bgm import MfBgm, MfBgmConfig
from training.recommender import Catalogue


@pytest.fixture
def model(music_frame_of: Callable[..., TrainingFrame]) -> MfBgm:
    """Videos 0 to 2 took music 0, 1 and 1; nobody took music 2. User 2 has adopted nothing."""
    frame = music_frame_of(
        3,
        train=[(0, 0), (1, 1), (0, 1)],
        validation=[(1, 0)],
        visual=[(2, 0), (0, 3), (0.6, 0.8), (1, 0)],
        textual=[(1,)] * 4,
        genre=[(1, 0), (0, 1), (1, 0)],
    )
    config = MfBgmConfig(dimension=2, similar_videos=1, video_features="C", music_features="G", regularisation=0.5)
    model = MfBgm(config, Catalogue.of(frame))
    model.begin(frame, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.users.copy_(torch.tensor([[1, 2, 0.5], [3, 0, 0.1], [7, 7, 7]]))
        model.items.copy_(torch.tensor([[0.5, 0.25, 0.1], [1, -1, -0.2], [9, 9, 9]]))
        model.mu.fill_(0.3)
        model.beta_video.fill_(2)
        model.beta_music.fill_(3)
    return model


def request(*rows: int, video: int = -1, visual: tuple[float, float] = (0.8, 0.6)) -> UserBatch:
    context = {"video": torch.full((len(rows), 1), video), "visual": torch.tensor([visual] * len(rows))}
    return UserBatch(torch.tensor(rows), torch.full((len(rows), 50), -1), context)


@torch.no_grad()
def test_equation_b8(model: MfBgm) -> None:
    # The new video is nearest to video 2 (cosine 0.96), so that its related music is that of genre 2: (0, 1).
    # Adopters of music 0: (1, 0); of music 1: (0.6, 1.8) of length 1, so (0.3162, 0.9487).
    # mu + b_i = 0.8. Music 0: b 0.1, p.q 1, r^v 0.8, r^m 0. Music 1: b -0.2, p.q -1, r^v 0.8222, r^m 1.
    # Music 2 has neither factors nor adopters, and its genre is not that of the related music.
    assert model.score(request(0))[0].tolist() == pytest.approx(
        [0.8 + 1.1 + 1.6, 0.8 - 1.2 + 1.6444 + 3, 0.8], abs=2e-3
    )


@torch.no_grad()
def test_new_music_is_found_by_its_features(model: MfBgm) -> None:
    # Nearest to video 0, so that the related music has the genre of music 0 and 2: r^m = 1.
    assert model.score(request(0, visual=(5, 0)))[0, 2] == pytest.approx(0.8 + 3)


@torch.no_grad()
def test_a_user_without_pairs_asks_as_the_average_of_those_who_have_some(model: MfBgm) -> None:
    # mean p = (2, 1), mean b = 0.3; music 0: 0.3 + 0.3 + 0.1 + 1.25 + 1.6.
    assert model.score(request(2, -1))[:, 0].tolist() == pytest.approx([3.55, 3.55], abs=1e-3)


@torch.no_grad()
def test_a_training_video_is_not_similar_to_itself(model: MfBgm) -> None:
    # Video 2 asks: without itself it is nearest to video 1 (cosine 0.8 against 0.6), that is music 1 all the same;
    # video 0 is then nearest to video 2 (cosine 0.6), and no longer to its own music's genre.
    assert model.score(request(0, video=2, visual=(0.6, 0.8)))[0, 2] == pytest.approx(0.8)
    assert model.score(request(0, video=0, visual=(2, 0)))[0, 2] == pytest.approx(0.8)
    assert model.score(request(0, visual=(2, 0)))[0, 2] == pytest.approx(3.8)


def test_the_loss_leaves_the_video_out_of_what_is_known_of_its_music(model: MfBgm) -> None:
    context = {"video": torch.tensor([[2], [0]]), "visual": torch.tensor([[0.6, 0.8], [2, 0]])}
    samples = Samples(torch.tensor([0, 0]), torch.tensor([1, 0]), torch.tensor([[0], [2]]), torch.zeros(2, 1), context)
    # Video 2, music 1 without it: adopters (0, 1), r^v 0.8, r^m 1. Against music 0: r^v 0.6, r^m 0.
    # Video 0, music 0 without it: no adopters; similar is video 2, so r^m 0. Against music 2, whose factors and bias
    # training does see: p.q + b = 36.
    positives = [0.8 - 1.2 + 1.6 + 3, 0.8 + 1.1]
    negatives = [0.8 + 1.1 + 1.2, 0.8 + 36]
    expected = sum(log(1 + exp(-x)) for x in positives) / 2 + sum(log(1 + exp(x)) for x in negatives) / 2
    terms = {name: term.detach() for name, term in model.loss_terms(samples).items()}
    assert float(terms["cross_entropy"]) == pytest.approx(expected, abs=2e-3)
    # Squares: user 5.25 in both; music 1 2.04, music 0 0.3225 twice, music 2 243; half of it, per sample, times 0.5.
    assert float(terms["l2"]) == pytest.approx(0.5 * (10.5 + 2.04 + 0.645 + 243) / 4)


@torch.no_grad()
def test_who_can_be_scored(model: MfBgm) -> None:
    assert model.can_score(request(0, 2, -1)).tolist() == [True, True, True]
    nothing = request(0, 2, -1, visual=(0, 0))
    assert model.can_score(nothing).tolist() == [True, False, False]
    assert not model.user_vectors(nothing)[1:].any()
    bare = UserBatch(torch.tensor([0, -1]), torch.full((2, 50), -1))
    assert torch.equal(model.score(bare)[0], model.score(nothing)[0])


@torch.no_grad()
def test_weights_go_into_a_model_that_holds_no_videos_yet(model: MfBgm) -> None:
    other = MfBgm(model.config, model.catalogue)
    other.load_state(model.state())
    assert torch.equal(other.score(request(0, 2)), model.score(request(0, 2)))


@torch.no_grad()
def test_music_that_comes_later(model: MfBgm, music_frame_of: Callable[..., Any]) -> None:
    later = music_frame_of(1, [(0, 0)], [(0, 0)], [(1, 0)] * 2, [(1,)] * 2, genre=[(1, 0), (0, 1), (1, 0), (0, 1)])
    more = model.with_content(later)
    scores = more.score(request(0))[0]
    assert torch.equal(scores[:3], model.score(request(0))[0])
    assert scores[3] == pytest.approx(0.8 + 3)
