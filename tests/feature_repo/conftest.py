"""A home with features, made once, and small platforms whose every event is written out."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.embeddings import EmbeddingSpec
from contracts.home import Home
from contracts.reports import ValidationReport, store_report
from contracts.settings import Settings, load_settings
from contracts.snapshot import Snapshot, SplitInstants
from feature_repo.apply import apply_features
from feature_repo.materialize import materialize
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables, assemble, microseconds
from feature_repo.simulator import simulate

CUT = datetime(2025, 3, 1, tzinfo=UTC)
"""End of training in the small platforms."""


def judge(database: Database, snapshot_id: str, success: bool = True) -> None:
    """Store a validation report, as the validation room would."""
    now = utc_now()
    report = ValidationReport(
        id=uuid.uuid4().hex,
        snapshot=snapshot_id,
        created_at=now,
        success=success,
        suites=[],
        data_docs="index.html",
    )
    store_report(database, report)


@pytest.fixture(scope="session")
def passed() -> Callable[..., None]:
    """Give a snapshot a validation report: ``passed(database, snapshot_id, success=True)``."""
    return judge


@dataclass(frozen=True)
class Featured:
    """A home with one simulated snapshot, applied and materialized. Read it, do not write it."""

    settings: Settings
    home: Home
    raw: RawTables
    snapshot: Snapshot


@pytest.fixture(scope="session")
def featured(tmp_path_factory: pytest.TempPathFactory) -> Featured:
    settings = load_settings(home=tmp_path_factory.mktemp("featured") / "home", device="cpu")
    home = Home.open(settings)
    raw = simulate(users=60, videos=80, days=10, seed=1, events=1000)
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
        apply_features(settings, home)
        database = Database(settings, home)
        judge(database, snapshot.id)
        database.close()
        materialize(settings, home)
    return Featured(settings, home, raw, snapshot)


Event = tuple[int, int, timedelta]
"""User number, video number, distance from CUT."""


def small_platform(
    events: Sequence[Event], users: int = 3, videos: int = 5, published: Sequence[timedelta] | None = None
) -> RawTables:
    """Exactly these events; video n has the visual vector [n, n] and, if even, the acoustic vector [-n]."""
    published = published or [timedelta(days=-300)] * videos
    even = np.arange(0, videos, 2)
    return assemble(
        users=pa.array([f"user-{n}" for n in range(users)]),
        users_known=np.full(users, microseconds(CUT - timedelta(days=300))),
        videos=pa.array([f"video-{n}" for n in range(videos)]),
        videos_published=np.array([microseconds(CUT + p) for p in published]),
        user_rows=np.array([e[0] for e in events], np.int64),
        video_rows=np.array([e[1] for e in events], np.int64),
        weights=np.ones(len(events), np.float32),
        event_times=np.array([microseconds(CUT + e[2]) for e in events], np.int64),
        vectors={
            "visual": (np.arange(videos), np.repeat(np.arange(videos, dtype=np.float32)[:, None], 2, axis=1)),
            "acoustic": (even, -even.astype(np.float32)[:, None]),
        },
        specs={
            name: EmbeddingSpec(
                modality=name,  # type: ignore[arg-type]
                encoder="hand",
                revision="1",
                preprocessing="none",
                width=width,
                dtype="float32",
                normalisation="none",
            )
            for name, width in (("visual", 2), ("acoustic", 1))
        },
        split=SplitInstants(train_until=CUT, validation_until=CUT + timedelta(days=1), nominal=False),
        dataset="hand",
        source="test",
    )


@pytest.fixture(scope="session")
def make_platform() -> Callable[..., RawTables]:
    """Builder of a small platform: ``make_platform(events, users=3, videos=5, published=None)``."""
    return small_platform


@pytest.fixture(scope="session")
def mmssl_reference(tmp_path_factory: pytest.TempPathFactory, make_mmssl: Callable[..., Path]) -> Path:
    """A sound MMSSL directory; copy it before spoiling it."""
    return make_mmssl(tmp_path_factory.mktemp("mmssl") / "tiny", users=24, videos=40)
