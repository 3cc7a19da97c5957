"""Fixtures that more than one room's tests need."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from contracts.database import Database
from contracts.home import Home
from contracts.process import prepare_process
from contracts.settings import Settings, load_settings

prepare_process()

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _no_foreign_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own BACKBEAT_ variables must not decide what a test sees."""
    for name in list(os.environ):
        if name.startswith("BACKBEAT_") and name != "BACKBEAT_TEST_DATA":
            monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a home of this test's own."""
    return load_settings(home=tmp_path / "home", device="cpu")


@pytest.fixture
def home(settings: Settings) -> Home:
    """The home of those settings; nothing is in it yet."""
    return Home.open(settings)


@pytest.fixture
def database(settings: Settings, home: Home) -> Database:
    """The platform's tables in that home."""
    return Database(settings, home)


@pytest.fixture(scope="session")
def public_data() -> Path:
    """Directory with the public data sets.

    It is at ``BACKBEAT_TEST_DATA``, or ``../shared/data`` beside the checkout.
    """
    path = Path(os.environ.get("BACKBEAT_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (path / "tiktok" / "trnMat.pkl").is_file():
        pytest.skip(f"no public data at {path}; set BACKBEAT_TEST_DATA")
    return path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """In CI all but a GPU is there: any other skipped test is a fault of the set-up."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "gpu" not in report.keywords]
    if os.environ.get("CI") and skipped:
        terminalreporter.write_line(f"CI: {len(skipped)} tests were skipped, none may be", red=True)
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED


MakeMmssl = Callable[..., Path]


@pytest.fixture(scope="session")
def make_mmssl() -> MakeMmssl:
    """Builder of a small data set in the MMSSL layout whose structure is learnable.

    Users and videos fall into ``blocks`` groups; a user watches videos of the own group, and both modalities
    point along the group's direction, so any sound model beats chance by far.
    """

    def make(path: Path, users: int = 96, videos: int = 64, blocks: int = 4, width: int = 16, seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        path.mkdir(parents=True, exist_ok=True)
        parts: dict[str, list[tuple[int, int]]] = {"trn": [], "val": [], "tst": []}
        for user in range(users):
            own = np.arange(user % blocks, videos, blocks)
            picked = rng.choice(own, size=min(9, len(own)), replace=False)
            parts["trn"] += [(user, int(v)) for v in picked[:-2]]
            parts["val"].append((user, int(picked[-2])))
            parts["tst"].append((user, int(picked[-1])))
        for name, pairs in parts.items():
            rows, columns = np.asarray(pairs, dtype=np.int32).T
            matrix = sp.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(users, videos))
            (path / f"{name}Mat.pkl").write_bytes(pickle.dumps(matrix))
        for name in ("image", "audio"):
            centres = rng.normal(size=(blocks, width))
            features = centres[np.arange(videos) % blocks] + 0.3 * rng.normal(size=(videos, width))
            np.save(path / f"{name}_feat.npy", features.astype(np.float16))
        return path

    return make
