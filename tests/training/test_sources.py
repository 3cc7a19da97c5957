import shutil
from pathlib import Path

import pytest

from training.sources import sources_digest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for room in ("training", "feature_repo"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def digest(root: Path) -> str:
    return sources_digest.__wrapped__(root)


def test_the_same_code_has_the_same_digest(copy: Path) -> None:
    assert digest(copy) == sources_digest() == sources_digest()


@pytest.mark.parametrize(
    "source",
    [
        "training/loop.py",
        "training/models/mf.py",
        "training/losses.py",
        "feature_repo/definitions.py",
        "feature_repo/frame.py",
        "feature_repo/frames/events.py",
        "feature_repo/historical.py",
        "feature_repo/services.py",
        "feature_repo/stores/asof.py",
        "feature_repo/stores/search.py",
        "feature_repo/views/history.py",
    ],
)
def test_a_changed_source_changes_it(copy: Path, source: str) -> None:
    with (copy / source).open("a") as file:
        file.write("# changed\n")
    assert digest(copy) != sources_digest()


def test_a_new_model_changes_it(copy: Path) -> None:
    (copy / "training" / "models" / "commands.py").write_text("")
    assert digest(copy) != sources_digest()


@pytest.mark.parametrize(
    "source",
    [
        "training/commands.py",
        "training/experiments/catalogue.py",
        "training/tracking.py",
        "training/tuning/tune.py",
        "feature_repo/online.py",
    ],
)
def test_code_that_decides_nothing_does_not(copy: Path, source: str) -> None:
    with (copy / source).open("a") as file:
        file.write("# changed\n")
    assert digest(copy) == sources_digest()
