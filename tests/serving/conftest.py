"""A tiny model whose right answers can be worked out by hand."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from contracts.clock import utc_now
from contracts.home import Home
from contracts.manifest import IndexInfo, ModelManifest
from contracts.protocol import ProtocolFingerprint
from contracts.settings import Settings, load_settings
from contracts.vocabulary import Vocabulary
from serving.recommend import Ranker
from training.batches import UserBatch
from training.config import RecommenderConfig
from training.packages import LoadedPackage
from training.recommender import Catalogue, FitReport, TwoTower

ITEM_VECTORS = np.array([[5, 0], [4, 0], [3, 0], [0, 5], [0, 4], [0, 3]], dtype=np.float32)
VIEWS = np.array([1, 2, 3, 4, 5, 6])


class HandMade(TwoTower):
    """Users u0 and u1 like the first and the second axis; a stranger is the mean of what the history shows."""

    def __init__(self, config: RecommenderConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.register_buffer("vectors", torch.from_numpy(ITEM_VECTORS.copy()))

    def fit(self, frame: object, **_: object) -> FitReport:
        raise AssertionError("never fitted")

    def user_vectors(self, batch: UserBatch) -> Tensor:
        table = torch.cat([torch.eye(2), torch.zeros(1, 2)])
        seen = torch.cat([self.item_vectors(), torch.zeros(1, 2)])[batch.history].sum(1)
        return table[batch.rows] + seen * (batch.rows < 0).unsqueeze(1)

    def item_vectors(self) -> Tensor:
        return self.vectors

    def can_score(self, batch: UserBatch) -> Tensor:
        return self.user_vectors(batch).any(1)


def hand_made_package() -> LoadedPackage:
    """Six videos v0..v5: u0 ranks v0, v1, v2; u1 ranks v3, v4, v5; the most viewed come last in the table."""
    users, items = Vocabulary(["u0", "u1"]), Vocabulary([f"v{row}" for row in range(6)])
    manifest = ModelManifest(
        model="hand-made",
        variant="default",
        surface="video-feed",
        shape="two-tower",
        config={},
        seed=0,
        code_revision="0" * 40,
        feature_service="interactions_v1",
        snapshot="s",
        validation_report="r",
        embedding_specs={},
        vocabularies={"users": users.digest, "items": items.digest},
        protocol=ProtocolFingerprint(snapshot="s", split="given", candidates="all", cutoffs=(20,)),
        metrics={},
        index=IndexInfo(kind="exact", recall=1.0),
        library_versions={},
        created_at=utc_now(),
    )
    model = HandMade(RecommenderConfig(), Catalogue(users=2, items=6, widths={}))
    return LoadedPackage(Path("hand-made"), manifest, model, users, items, ITEM_VECTORS, VIEWS)


@pytest.fixture
def package() -> LoadedPackage:
    """That package."""
    return hand_made_package()


@pytest.fixture
def ranker(package: LoadedPackage) -> Ranker:
    """That model as version 1."""
    return Ranker("1", package)


class Histories:
    """User features from a dict, counting reads."""

    def __init__(self, histories: dict[str, list[str]]) -> None:
        self.histories = histories
        self.reads = 0
        self.closed = False

    def user_history(self, user_ids: list[str]) -> list[list[str]]:
        self.reads += 1
        return [self.histories.get(user, []) for user in user_ids]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def histories() -> Callable[..., Histories]:
    """Maker of user features: ``histories(u0=["v1"])``."""
    return lambda **known: Histories(known)


@pytest.fixture(scope="session")
def aside() -> Callable[..., list[str]]:
    """Command of a process that answers by that package: ``aside("crashing", version="9")``; see its source."""
    child = Path(__file__).with_name("shadow_child.py")
    return lambda how="sound", version="2": [sys.executable, str(child), how, version]


@pytest.fixture(scope="session")
def train_home(
    tmp_path_factory: pytest.TempPathFactory, make_mmssl: Callable[..., Path]
) -> Callable[..., tuple[Settings, Home, list[str]]]:
    """Builder of a home with a small data set, online too, and trained versions, of which none has an alias.

    ``train_home(name, [(model, options, seed), …], **settings)``.
    """
    from feature_repo.apply import apply_features
    from feature_repo.materialize import materialize
    from feature_repo.offline import write_snapshot
    from feature_repo.readers.mmssl import read_mmssl
    from training.train import train
    from validation.run import validate_snapshot

    def build(
        name: str, models: Sequence[tuple[str, dict[str, Any], int]], **overrides: Any
    ) -> tuple[Settings, Home, list[str]]:
        root = tmp_path_factory.mktemp(name)
        settings = load_settings(home=root / "home", device="cpu", **overrides)
        home = Home.open(settings)
        with home.writing("test"):
            write_snapshot(home, read_mmssl(make_mmssl(root / "data"), None))
        with home.writing("test"):
            apply_features(settings, home)
            assert validate_snapshot(settings, home).success
            materialize(settings, home)
            versions = [train(settings, home, model, options, seed=seed).version for model, options, seed in models]
        return settings, home, versions

    return build
