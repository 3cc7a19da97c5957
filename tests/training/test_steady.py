"""What a tower says of a request has the same bits alone and among others, wherever it stands among them."""

import numpy as np
import torch

from training.batches import UserBatch
from training.config import RecommenderConfig
from training.recommender import Catalogue, FitReport, TwoTower
from training.steady import steady_user_vectors


class Tower(TwoTower):
    """Layers wide enough that libraries take other kernels for one row than for many."""

    def __init__(self) -> None:
        super().__init__(RecommenderConfig(), Catalogue(users=1, items=1, widths={}))
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(300, 257), torch.nn.ReLU(), torch.nn.Linear(257, 128))

    def fit(self, frame: object, **_: object) -> FitReport:
        raise AssertionError("never fitted")

    def user_vectors(self, batch: UserBatch) -> torch.Tensor:
        vectors: torch.Tensor = self.layers(batch.context["posts"])
        return vectors

    def can_score(self, batch: UserBatch) -> torch.Tensor:
        return torch.ones(len(batch), dtype=torch.bool)

    def item_vectors(self) -> torch.Tensor:
        return torch.zeros(1, 128)


def users(rows: list[int]) -> UserBatch:
    posts = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 300)).astype(np.float32))
    return UserBatch(torch.tensor(rows), torch.full((len(rows), 4), -1), {"posts": posts[rows]})


def test_vectors_do_not_depend_on_who_else_is_asked() -> None:
    tower = Tower()
    with torch.inference_mode():
        alone = torch.cat([steady_user_vectors(tower, users([row])) for row in range(40)])
        for asked in (list(range(40)), list(range(39, -1, -1)), [3, 3, 17, 8, 0, 5, 21, 9, 30]):
            assert torch.equal(steady_user_vectors(tower, users(asked)), alone[asked])
        assert torch.allclose(alone, tower.user_vectors(users(list(range(40)))), atol=1e-5)
