"""DL-BGM against numbers worked by hand."""

from collections.abc import Callable
from math import e, tanh
from typing import Any

import pytest
import torch

from contracts.errors import BadInput, NotFound
from feature_repo.frame import TrainingFrame
from training.background_music import cross_entropy
from training.batches import PADDING, Samples, UserBatch
from training.config import resolve_config
from training.models.dl_bgm import DlBgm, DlBgmConfig
from training.recommender import Catalogue

G0, G1 = tanh(0.5), tanh(-1.0)
"""Layers of music 0 and 1 in the models below."""

FULL_0 = (3 + 2 * e * 6) / (1 + 2 * e)
"""What attention brings candidate 0 from music 0, 1 and 1: logits 1, 2 and 2."""


@pytest.fixture
def frame(music_frame_of: Callable[..., TrainingFrame]) -> TrainingFrame:
    """Three similar videos of music 0, 1 and 1, and one of another kind of music 0; nobody took music 2."""
    return music_frame_of(
        2,
        train=[(0, 0), (0, 1), (1, 1), (1, 0)],
        validation=[(1, 0)],
        visual=[(1, 0), (1, 0.1), (1, 0.2), (0, 1), (1, 0)],
        textual=[(1,)] * 5,
        genre=[(1, 0), (0, 1), (1, 0)],
    )


def build(frame: TrainingFrame, **options: Any) -> DlBgm:
    sizes = {"dimension": 1, "video_dimension": 1, "attention_dimension": 1, "identity_dimension": 0}
    config = DlBgmConfig(video_features="C", music_features="G", similar_videos=3, **sizes | options)
    model = DlBgm(config, Catalogue.of(frame))
    model.begin(frame, torch.Generator().manual_seed(0))
    values = {"weight": [[0.5], [-1]], "bias": [0], "key": [[1], [2]], "query": [[1], [0]], "value": [[3], [6]]}
    values |= {"users": [[2], [4]], "video_weight": [[1], [0]], "video_bias": [0]}
    values |= {"music_bias": [[0.1], [0.2], [9]], "mu": [0.3]}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != "identities":
                value = torch.tensor(values[name.split(".")[-1]])
                parameter[: len(value)] = value  # the rest of a layer meets identity vectors
    return model


def request(*rows: int, video: int = -1) -> UserBatch:
    """With music 0, 1 and 1 adopted, and a video like the first three."""
    history = torch.tensor([[0, 1, 1, PADDING]] * len(rows))
    context = {"video": torch.full((len(rows), 1), video), "visual": torch.tensor([[5.0, 0.0]] * len(rows))}
    return UserBatch(torch.tensor(rows), history, context)


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "brought"),
    # The query of music 1 is 0, so that its attention is a mean: (3 + 6 + 6) / 3.
    [({}, (FULL_0, 5)), ({"user_match": "/A"}, (5, 5)), ({"user_match": "/R"}, (0, 0))],
)
def test_user_matches_music(frame: TrainingFrame, options: dict[str, str], brought: tuple[float, float]) -> None:
    scores = build(frame, video_match="off", **options).score(request(0))[0]
    # Music 2 has the features of music 0, and no bias as nobody took it.
    expected = [0.4 + (2 + brought[0]) * G0, 0.5 + (2 + brought[1]) * G1, 0.3 + (2 + brought[0]) * G0]
    assert scores.tolist() == pytest.approx(expected)


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "brought"),
    [({}, (FULL_0, 5)), ({"video_match": "/A"}, (5, 5)), ({"video_match": "/R"}, (0, 0))],
)
def test_video_matches_music(frame: TrainingFrame, options: dict[str, str], brought: tuple[float, float]) -> None:
    scores = build(frame, user_match="off", **options).score(request(0))[0]
    own = tanh(1.0)
    expected = [0.4 + (own + brought[0]) * G0, 0.5 + (own + brought[1]) * G1, 0.3 + (own + brought[0]) * G0]
    assert scores.tolist() == pytest.approx(expected)


@torch.no_grad()
def test_both_add_up(frame: TrainingFrame) -> None:
    one, other = (build(frame, **{f"{side}_match": "off"}).score(request(1)) for side in ("user", "video"))
    own = torch.tensor([0.4, 0.5, 0.3])
    assert torch.allclose(build(frame).score(request(1)), one + other - own)


@torch.no_grad()
def test_an_unknown_user_asks_as_the_average_and_brings_what_the_request_brings(frame: TrainingFrame) -> None:
    model = build(frame, video_match="off")
    # Users 0 and 1 have 2 and 4, so that the average has 3.
    assert model.score(request(-1))[0, 0] == pytest.approx(0.4 + (3 + FULL_0) * G0)
    bare = UserBatch(torch.tensor([-1]), torch.full((1, 4), PADDING))
    assert model.score(bare)[0, 0] == pytest.approx(0.4 + 3 * G0)
    assert model.can_score(bare).tolist() == [False]


@torch.no_grad()
def test_a_training_video_is_not_similar_to_itself(frame: TrainingFrame) -> None:
    model = build(frame, user_match="off", video_match="/A")
    # Without video 0 the most similar are videos 1, 2 and 3 of music 1, 1 and 0: the same mean.
    # Without video 1 they are videos 0, 2 and 3 of music 0, 1 and 0.
    assert model.score(request(0, video=0))[0, 0] == pytest.approx(0.4 + (tanh(1.0) + 5) * G0)
    assert model.score(request(0, video=1))[0, 0] == pytest.approx(0.4 + (tanh(1.0) + 4) * G0)


def test_the_loss_leaves_out_what_was_chosen_for_the_video(frame: TrainingFrame) -> None:
    model = build(frame, identity_dimension=2)
    context = {name: torch.from_numpy(frame.contexts[name][[1, 3]]) for name in ("video", "visual")}
    negatives = torch.tensor([[0, 0], [1, 0]])
    samples = Samples(torch.tensor([0, 1]), torch.tensor([1, 0]), negatives, torch.zeros(2, 2), context)
    left = torch.tensor([[0, PADDING], [1, PADDING]])
    rows = torch.tensor([[1, 0, 0], [0, 1, 0]])
    scores = model.score(UserBatch(samples.users, left, context), rows)
    terms = {name: term.detach() for name, term in model.loss_terms(samples).items()}
    assert terms["cross_entropy"].item() == pytest.approx(cross_entropy(scores).item(), abs=2e-3)
    identities = model.identities.detach()[rows].square().sum().item()
    biases = 4 * 0.01 + 2 * 0.04
    expected = model.config.regularisation * (4 + 16 + identities + biases) / 4
    assert terms["l2"].item() == pytest.approx(expected)


@torch.no_grad()
def test_candidates_are_scored_as_all_music_is(frame: TrainingFrame) -> None:
    model, batch = build(frame, identity_dimension=2), request(0, 1, -1)
    everything = model.score(batch)
    assert torch.allclose(model.score(batch, torch.tensor([2, 0])), everything[:, [2, 0]])
    own = torch.tensor([[1, 0], [2, 2], [0, 1]])
    assert torch.allclose(model.score(batch, own), everything.gather(1, own))


def test_something_must_be_left() -> None:
    with pytest.raises(BadInput, match=r"dl-bgm options: .*cannot both be off"):
        resolve_config("dl-bgm", DlBgmConfig, {"user_match": "off", "video_match": "off"})


def test_a_frame_without_numbers_of_its_videos_is_refused(frame: TrainingFrame) -> None:
    model = DlBgm(DlBgmConfig(video_features="C", music_features="G"), Catalogue.of(frame))
    del frame.contexts["video"]
    with pytest.raises(NotFound, match=r"DlBgm: found .* as dl_bgm_v1 without context video \("):
        model.fit(frame, seed=0)
