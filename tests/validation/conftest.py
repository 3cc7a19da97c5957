"""A small sound data set, as tables, that tests break in one place each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts.clock import utc_now
from contracts.embeddings import EmbeddingSpec
from contracts.home import Home
from contracts.reports import ValidationReport
from contracts.settings import Settings
from contracts.snapshot import Snapshot, SplitInstants, TableInfo
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables, assemble, microseconds, numbered_ids
from validation.material import Baseline, Material, history_key
from validation.run import validate_snapshot

USERS, VIDEOS, WIDTH = 40, 60, 8
START = datetime(2024, 1, 1, tzinfo=UTC)
SPLIT = SplitInstants(train_until=START + timedelta(days=1), validation_until=START + timedelta(days=2), nominal=True)


def _tables(users: int, videos: int, width: int, seed: int) -> RawTables:
    """Every user sees three videos a day for three days, one day per part of the split."""
    rng = np.random.default_rng(seed)
    watched = np.concatenate([rng.permutation(videos)[:9] for _ in range(users)])
    seconds = np.tile(np.repeat(np.arange(3) * 86_400, 3) + np.arange(9), users)
    facts = {"encoder": "test", "revision": "1", "preprocessing": "none", "dtype": "float32", "normalisation": "none"}
    specs = {m: EmbeddingSpec(modality=m, width=width, **facts) for m in ("acoustic", "visual")}
    return assemble(
        users=numbered_ids("u", users),
        users_known=np.full(users, microseconds(START)),
        videos=numbered_ids("v", videos),
        videos_published=np.full(videos, microseconds(START)),
        user_rows=np.repeat(np.arange(users), 9),
        video_rows=watched,
        weights=np.ones(len(watched), np.float32),
        event_times=microseconds(START) + seconds * 1_000_000,
        vectors={m: (np.arange(videos), rng.normal(size=(videos, width)).astype(np.float32)) for m in specs},
        specs=specs,
        split=SPLIT,
        dataset="sound",
        source="tests",
    )


@dataclass
class Data:
    """The data set, with the few operations tests need."""

    users: int = USERS
    videos: int = VIDEOS
    width: int = WIDTH
    seed: int = 0
    raw: RawTables = field(init=False)

    def __post_init__(self) -> None:
        self.raw = _tables(self.users, self.videos, self.width, self.seed)

    @property
    def tables(self) -> dict[str, pa.Table]:
        return self.raw.tables

    @property
    def snapshot(self) -> Snapshot:
        """A manifest as ingest would write it, without the hashes."""
        return Snapshot(
            id="0" * 16,
            dataset="sound",
            source="tests",
            created_at=START,
            tables={name: TableInfo(rows=table.num_rows, sha256="") for name, table in self.tables.items()},
            embeddings=self.raw.specs,
            split=self.raw.split,
        )

    def matrix(self, modality: str = "visual") -> np.ndarray:
        """Vectors ``[videos, width]``, to be changed at will."""
        return np.stack(self.tables[f"embedding_{modality}"]["vector"].to_numpy())

    def put_matrix(self, matrix: np.ndarray, modality: str = "visual") -> None:
        """Replace all vectors of a modality."""
        self.put(f"embedding_{modality}", "vector", list(matrix))

    def put(self, table: str, column: str, values: list) -> None:
        """Replace a column."""
        old = self.tables[table]
        kind = old.schema.field(column)
        self.tables[table] = old.set_column(old.schema.get_field_index(column), kind, pa.array(values, kind.type))

    def material(self, baseline: Baseline | None = None, **more: Any) -> Material:
        """What is judged."""
        return Material(self.snapshot, self.tables, utc_now(), baseline, **more)

    def accepted(self, times: int = 1) -> Baseline:
        """The data set as it is now, accepted so many times."""
        from validation.judge import judge  # Great Expectations takes seconds to import, and few tests need it

        judged = judge(self.material())
        assert judged.success, [j.verdict for j in judged.judgements if not j.verdict.success]
        history = {history_key(self.snapshot, t): [found] * times for t, found in judged.statistics.items()}
        return Baseline(self.snapshot, judged.profiles, history)

    def ingest(self, home: Home) -> Snapshot:
        """Write it as the home's current snapshot."""
        with home.writing("test"):
            return write_snapshot(home, self.raw)[0]


@pytest.fixture
def data() -> Data:
    """A sound data set of this test's own."""
    return Data()


@pytest.fixture
def many() -> Data:
    """The same with enough videos for every statistic: 400 of 16 numbers."""
    return Data(videos=400, width=16)


@pytest.fixture(scope="session")
def accepted() -> Baseline:
    """The data of ``many``, accepted three times."""
    return Data(videos=400, width=16).accepted(times=3)


@pytest.fixture
def few_users() -> Data:
    """The same with too few users to measure anything."""
    return Data(users=9)


@pytest.fixture
def judged_broken() -> Callable[[Settings, Home], ValidationReport]:
    """Judges the current snapshot, which must fail."""

    def judged(settings: Settings, home: Home) -> ValidationReport:
        report = validate_snapshot(settings, home)
        assert not report.success
        return report

    return judged
