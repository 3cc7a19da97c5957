"""Media that the tests of the encoders make."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from feature_repo.encoders.media import write_clip
from feature_repo.encoders.registry import ENCODERS
from tests.feature_repo.encoders.small_world import grey_encoder, write_media

Pixels = npt.NDArray[np.uint8]


def solid(red: int, green: int, blue: int, height: int = 64, width: int = 96) -> Pixels:
    """A picture of one colour."""
    return np.full((height, width, 3), (red, green, blue), np.uint8)


def tone(hertz: float, seconds: float, rate: int, level: float = 0.5) -> npt.NDArray[np.float32]:
    """A sine."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture(scope="session")
def picture() -> Callable[..., Pixels]:
    """``picture(red, green, blue, height, width)``."""
    return solid


@pytest.fixture(scope="session")
def sine() -> Callable[..., npt.NDArray[np.float32]]:
    """``sine(hertz, seconds, rate, level)``."""
    return tone


@pytest.fixture
def grey_clip(tmp_path: Path) -> Callable[..., Path]:
    """A clip whose frame k of n is grey of level 10 + 8 k, with a tone: ``grey_clip(frames, sound=None, name=…)``."""

    def make(frames: int = 25, sound: npt.NDArray[np.float32] | None = None, name: str = "clip.mp4") -> Path:
        path = tmp_path / name
        write_clip(path, (solid(*[10 + 8 * number] * 3) for number in range(frames)), sound)
        return path

    return make


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Media of six videos."""
    write_media(tmp_path / "media", 6)
    return tmp_path / "media"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids that the encoder ``grey`` was asked for."""
    ids: list[str] = []
    monkeypatch.setitem(ENCODERS, "grey", grey_encoder(ids))
    monkeypatch.setitem(ENCODERS, "grey-2", grey_encoder(ids, revision="2"))
    return ids
