"""Why videos have no free factors: Appendix A of the paper on background music, as an experiment.

A video is seen once, with one user and one piece of music. Under a plain Tucker factorisation its factors can explain
that alone: the loss goes to zero and nothing is learned about videos to come.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from feature_repo.frame import TrainingFrame
from training.batches import UserBatch
from training.loop import fit_learned
from training.models.tf_bgm import TfBgm, TfBgmConfig
from training.recommender import Catalogue

Platform = tuple[TrainingFrame, npt.NDArray[np.int64]]

USERS, MUSIC, GROUPS = 30, 48, 6
TRAINED, VIDEOS = 8, 15
"""Videos per user: the first are trained on, one is for validation, those behind it are the test."""

CONFIG = TfBgmConfig(dimension=16, video_dimension=16, learning_rate=0.03, batch_size=120, regularisation=0)
EPOCHS = 40
CHANCE = 1 / GROUPS
"""HR@8 of eight pieces taken at random."""


class Tucker(TfBgm):
    """Eq. B.1 with factors of their own for V videos, in place of eq. B.2."""

    def __init__(self, config: TfBgmConfig, catalogue: Catalogue, videos: int) -> None:
        super().__init__(config, catalogue)
        self.videos = nn.Parameter(torch.zeros(videos, config.video_dimension))

    def prepare(self, frame: TrainingFrame, generator: torch.Generator) -> None:
        super().prepare(frame, generator)
        with torch.no_grad():
            self.videos.normal_(0, self.config.initial_deviation, generator=generator)

    def video_factors(self, context: Mapping[str, Tensor], count: int) -> Tensor:
        return embedding(context["video"].view(-1), self.videos)


@pytest.fixture(scope="module")
def platform(music_frame_of: Callable[..., TrainingFrame]) -> Platform:
    """What a video shows decides on one group of eight pieces of music, whoever made it; and the test pairs."""
    rng = np.random.default_rng(5)
    group = rng.integers(GROUPS, size=(VIDEOS, USERS))
    music = rng.integers(MUSIC // GROUPS, size=group.shape) * GROUPS + group
    pairs = np.stack([np.broadcast_to(np.arange(USERS), group.shape), music], axis=2).reshape(-1, 2)
    centres, genre = rng.normal(size=(GROUPS, 8)), np.eye(GROUPS)[np.arange(MUSIC) % GROUPS]
    content = centres[group.ravel()] + 0.3 * rng.normal(size=(len(pairs), 8))
    train, validation, test = np.split(pairs, [TRAINED * USERS, (TRAINED + 1) * USERS])
    return music_frame_of(USERS, train, validation, content, content, genre=genre), test


def trained(model: TfBgm, platform: Platform) -> tuple[float, float]:
    """Loss in the last epoch, and HR@8 of the test pairs among all music."""
    frame, test = platform
    report = fit_learned(model, frame, seed=0, epochs=EPOCHS)
    rows = torch.arange(len(frame.train) + len(frame.validation), len(frame.contexts["video"]))
    context = {name: torch.from_numpy(table)[rows] for name, table in frame.contexts.items()}
    users = torch.from_numpy(test[:, 0])
    batch = UserBatch(users, torch.from_numpy(frame.history)[users], context)
    with torch.inference_mode():
        best = model.score(batch).topk(MUSIC // GROUPS, dim=1).indices
    hits = (best == torch.from_numpy(test[:, 1:])).any(1)
    return report.losses["cross_entropy"], hits.float().mean().item()


def test_free_factors_of_videos_explain_the_past_and_nothing_else(platform: Platform) -> None:
    frame, _ = platform
    loss, hits = trained(Tucker(CONFIG, Catalogue.of(frame), len(frame.contexts["video"])), platform)
    assert loss < 0.05
    # 180 requests: the standard error of a rate of 1/6 is 0.028.
    assert hits == pytest.approx(CHANCE, abs=3 * 0.028)


def test_factors_from_content_find_music_for_videos_to_come(platform: Platform) -> None:
    _, hits = trained(TfBgm(CONFIG, Catalogue.of(platform[0])), platform)
    assert hits > 2 * CHANCE
