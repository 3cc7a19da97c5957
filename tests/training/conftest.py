"""A training frame whose structure any sound model finds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from feature_repo.frame import TrainingFrame


@pytest.fixture(scope="session")
def blocks(
    make_frame: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingFrame, npt.NDArray[np.int64]]:
    """96 users and 64 videos in four groups, and the test pairs."""
    return make_frame(tmp_path_factory.mktemp("blocks"), missing_rows=(5,))


@pytest.fixture(scope="session")
def frame(blocks: tuple[TrainingFrame, npt.NDArray[np.int64]]) -> TrainingFrame:
    return blocks[0]
