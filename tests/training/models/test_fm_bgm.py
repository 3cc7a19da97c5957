"""FM-BGM against numbers worked by hand."""

from collections.abc import Callable
from itertools import combinations

import pytest
import torch

from contracts.errors import BadInput, NotFound
from feature_repo.frame import TrainingFrame
from training.batches import Samples, UserBatch
from training.config import resolve_config
from training.models.fm_bgm import FmBgm, FmBgmConfig
from training.recommender import Catalogue


@pytest.fixture
def frame(music_frame_of: Callable[..., TrainingFrame]) -> TrainingFrame:
    """Nobody has adopted music 2; user 1 has adopted nothing."""
    return music_frame_of(
        2,
        train=[(0, 0), (0, 1)],
        validation=[(0, 0)],
        visual=[(1, 0)] * 3,
        textual=[(1,)] * 3,
        genre=[(0, 1), (1, 0), (0, 1)],
    )


@pytest.fixture
def model(frame: TrainingFrame) -> FmBgm:
    config = FmBgmConfig(dimension=1, video_features="C", music_features="G")
    model = FmBgm(config, Catalogue.of(frame))
    model.begin(frame, torch.Generator().manual_seed(0))
    with torch.no_grad():  # v_a, w_a
        model.users.copy_(torch.tensor([[2, 0.1], [9, 9]]))
        model.items.copy_(torch.tensor([[0.5, 0.4], [1, 1], [9, 9]]))
        model.video_fields.copy_(torch.tensor([[1, 0.2], [3, 0.3]]))
        model.music_fields.copy_(torch.tensor([[1, 0.05], [-1, 0.06]]))
        model.constant.fill_(0.7)
    return model


def batch(*rows: int) -> UserBatch:
    visual = torch.tensor([[6.0, 8.0]] * len(rows))
    return UserBatch(torch.tensor(rows), torch.full((len(rows), 50), -1), {"visual": visual})


def pairs(*fields: float) -> float:
    return sum(a * b for a, b in combinations(fields, 2))


@torch.no_grad()
def test_equation_1_of_rendle(model: FmBgm) -> None:
    # v_a x_a: user 2, video (0.6, 2.4), music 0.5, its genre -1. Single fields: 0.7 + 0.1 + 0.36 + 0.4 + 0.06.
    # All pairs: (4.5^2 - 11.37) / 2 = 4.44.
    first = 1.62 + 4.44
    second = 0.7 + 0.1 + 0.36 + 1 + 0.05 + pairs(2, 0.6, 2.4, 1, 1)
    unknown = 0.7 + 0.1 + 0.36 + 0.06 + pairs(2, 0.6, 2.4, -1)
    assert model.score(batch(0))[0].tolist() == pytest.approx([first, second, unknown])


@torch.no_grad()
def test_a_user_without_pairs_asks_as_the_average_of_those_who_have_some(model: FmBgm) -> None:
    assert model.score(batch(1, -1)).tolist() == [pytest.approx(model.score(batch(0))[0].tolist())] * 2


def test_the_loss_is_that_of_its_scores(model: FmBgm) -> None:
    samples = Samples(torch.tensor([0]), torch.tensor([0]), torch.tensor([[1, 1]]), torch.zeros(1, 2), batch(0).context)
    terms = {name: term.detach() for name, term in model.loss_terms(samples).items()}
    scores = model.score(batch(0)).detach()[0]
    expected = -torch.sigmoid(scores[0]).log() - torch.sigmoid(-scores[1]).log()
    assert terms["cross_entropy"].item() == pytest.approx(expected.item(), abs=1e-6)
    assert terms["l2"].item() == pytest.approx(model.config.regularisation * (4.01 + 0.41 + 2 + 2) / 2)
    fields = 1 + 0.04 + 9 + 0.09 + 1 + 0.0025 + 1 + 0.0036
    assert terms["l2_features"].item() == pytest.approx(model.config.feature_regularisation * fields / 2)


def test_features_that_the_data_lack_are_named(frame: TrainingFrame) -> None:
    model = FmBgm(FmBgmConfig(dimension=1), Catalogue.of(frame))
    with pytest.raises(NotFound, match=r"FmBgm: found .* without modality language \(.*\), modality mood .* tempo"):
        model.fit(frame, seed=0)
    without = FmBgm(FmBgmConfig(dimension=1, music_features="G"), Catalogue(2, 3, {"genre": 2}))
    del frame.contexts["textual"]
    with pytest.raises(NotFound, match=r"FmBgm: found .* without context textual \("):
        without.fit(frame, seed=0)


@pytest.mark.parametrize(
    ("option", "letters", "expected"),
    [
        ("video_features", "CX", r"letters of C \(visual\), T \(textual\), not X"),
        ("music_features", "GG", "each letter once"),
        ("music_features", "", "at least 1 character"),
    ],
)
def test_groups_are_named_by_their_letters(option: str, letters: str, expected: str) -> None:
    with pytest.raises(BadInput, match=f"fm-bgm option '{option}'.*{expected}"):
        resolve_config("fm-bgm", FmBgmConfig, {option: letters})
