"""A training frame whose structure any sound model finds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from contracts.clock import utc_now
from contracts.manifest import IndexInfo, ModelManifest
from feature_repo.frame import TrainingFrame
from training.config import resolve_config
from training.models import model_entry
from training.packages import LoadedPackage, load_package, write_package
from training.questions import QUESTIONS
from training.recommender import Catalogue, Recommender


@pytest.fixture(scope="session")
def blocks(
    make_frame: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingFrame, npt.NDArray[np.int64]]:
    """96 users and 64 videos in four groups, and the test pairs."""
    return make_frame(tmp_path_factory.mktemp("blocks"), missing_rows=(5,))


@pytest.fixture(scope="session")
def frame(blocks: tuple[TrainingFrame, npt.NDArray[np.int64]]) -> TrainingFrame:
    return blocks[0]


def _fitted(frame: TrainingFrame, name: str) -> Recommender:
    entry = model_entry(name)
    trained = {"dimension": 8, "max_epochs": 10, "learning_rate": 0.05, "batch_size": 64}
    options: dict[str, object] = {} if name == "popularity" else dict(trained)
    model = entry.model(resolve_config(name, entry.config, options), Catalogue.of(frame))
    model.fit(frame, seed=0)
    return model


def _packed(directory: Path, frame: TrainingFrame, name: str) -> LoadedPackage:
    model = _fitted(frame, name)
    manifest = ModelManifest(
        model=name,
        variant=name,
        surface="video-feed",
        shape="two-tower",
        config=model.config.model_dump(mode="json"),
        seed=0,
        code_revision="test",
        feature_service=frame.feature_service,
        snapshot=frame.snapshot.id,
        validation_report="r",
        embedding_specs=frame.specs if model.reads_content else {},
        vocabularies={"users": frame.users.digest, "items": frame.items.digest},
        protocol=QUESTIONS["videos"].fingerprint(frame.snapshot),
        metrics={},
        index=IndexInfo(kind="exact", recall=1.0),
        library_versions={},
        created_at=utc_now(),
    )
    directory.mkdir()
    write_package(directory, model, frame, manifest)
    return load_package(directory)


@pytest.fixture(scope="session")
def fit() -> Callable[[TrainingFrame, str], Recommender]:
    """Fit a model of a name on a frame, small and quick: ``fit(frame, name)``."""
    return _fitted


@pytest.fixture(scope="session")
def pack() -> Callable[[Path, TrainingFrame, str], LoadedPackage]:
    """Fit a model likewise and load it from a package of its own: ``pack(directory, frame, name)``."""
    return _packed
