"""Fixtures that more than one room's tests need."""

import os
import pickle
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.sparse as sp

from contracts.database import Database
from contracts.home import Home
from contracts.process import prepare_process
from contracts.settings import Settings, load_settings

if TYPE_CHECKING:
    from contracts.cluster import Cluster
    from feature_repo.frame import TrainingFrame

prepare_process()

# The workers of a test run leave no idle moment in which a shadow that gives way could load.
OF_TESTS = {"BACKBEAT_SHADOW_YIELDS": "false"}
os.environ.update(OF_TESTS)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _no_foreign_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own BACKBEAT_ variables must not decide what a test sees."""
    for name in list(os.environ):
        if name.startswith("BACKBEAT_") and name not in {"BACKBEAT_TEST_DATA", *OF_TESTS}:
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
def ray_cluster() -> "Iterator[Cluster]":
    """A Ray cluster of two workers on this machine; whoever joins a cluster meanwhile joins this one."""
    import ray

    from contracts.cluster import Cluster

    ray.init(
        address="local",  # of this worker of the test run, whatever the others have started
        num_cpus=2,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=500_000_000,
    )
    yield Cluster(ray)
    ray.shutdown()


@pytest.fixture(scope="session")
def public_data() -> Path:
    """Directory with the public data sets.

    It is at ``BACKBEAT_TEST_DATA``, or ``../shared/data`` beside the checkout.
    """
    path = Path(os.environ.get("BACKBEAT_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (path / "tiktok" / "trnMat.pkl").is_file():
        pytest.skip(f"no public data at {path}; set BACKBEAT_TEST_DATA")
    return path


POSTGRES, REDIS = "127.0.0.1:5432", "127.0.0.1:6379"


def _absent(what: str, error: Exception) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} must run: {error}")
    pytest.skip(f"no {what}")


@pytest.fixture(scope="session")
def redis_address() -> str:
    """Address of a Redis server; a test takes keys of its own."""
    redis = pytest.importorskip("redis")
    try:
        redis.Redis.from_url(f"redis://{REDIS}").ping()
    except redis.ConnectionError as error:
        _absent(f"Redis on {REDIS}", error)
    return REDIS


@pytest.fixture(scope="session")
def new_postgres() -> Callable[[], AbstractContextManager[str]]:
    """Makes a Postgres database for as long as a block lasts: ``with new_postgres() as url``."""

    @contextmanager
    def new() -> Iterator[str]:
        psycopg = pytest.importorskip("psycopg")
        host, port = POSTGRES.split(":")
        name = f"backbeat_test_{uuid.uuid4().hex[:12]}"
        administrator = {"host": host, "port": port, "user": "postgres", "sslmode": "disable", "autocommit": True}
        try:
            with psycopg.connect(dbname="postgres", **administrator) as connection:
                connection.execute(f"CREATE DATABASE {name}")
        except psycopg.OperationalError as error:
            _absent(f"Postgres on {POSTGRES}", error)
        yield f"postgresql+psycopg://postgres@{POSTGRES}/{name}?sslmode=disable"
        with psycopg.connect(dbname="postgres", **administrator) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    return new


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def each_database(
    request: pytest.FixtureRequest,
    home: Home,
    database: Database,
    new_postgres: Callable[[], AbstractContextManager[str]],
) -> Iterator[Database]:
    """The platform's tables in each of the databases that they may be in; nobody has opened it yet."""
    if request.param == "sqlite":
        yield database
        return
    with new_postgres() as url:
        there = Database(load_settings(home=home.root, profile="production", database_url=url), home)
        yield there
        there.close()


@pytest.fixture(scope="session")
def music_frame_of() -> Callable[..., "TrainingFrame"]:
    """Builder of a frame whose items are music and whose requests bring a video, from arrays alone.

    ``music_frame_of(users, train, validation, visual, textual, **groups)``: pairs ``[n, 2]`` and ``[m, 2]``; the
    vectors of their videos, and of any further ones, ``[E, width]``; the groups of the music's features ``[N, width]``.
    """
    from contracts.clock import utc_now
    from contracts.snapshot import Snapshot, SplitInstants
    from contracts.vocabulary import Vocabulary
    from feature_repo.frame import TrainingFrame

    def make(
        users: int,
        train: npt.ArrayLike,
        validation: npt.ArrayLike,
        visual: npt.ArrayLike,
        textual: npt.ArrayLike,
        **groups: npt.ArrayLike,
    ) -> TrainingFrame:
        pairs, held = np.asarray(train, np.int64), np.asarray(validation, np.int64)
        content = {name: np.asarray(values, np.float32) for name, values in groups.items()}
        items = len(next(iter(content.values())))
        history = np.full((users, 50), -1, np.int64)
        for user in range(users):
            chosen = pairs[pairs[:, 0] == user, 1][-50:]
            history[user, : len(chosen)] = chosen
        vectors = {"textual": np.asarray(textual, np.float32), "visual": np.asarray(visual, np.float32)}
        day = datetime(2000, 1, 2, tzinfo=UTC)
        return TrainingFrame(
            snapshot=Snapshot(
                id="music",
                dataset="music",
                source="a test",
                created_at=utc_now(),
                tables={},
                embeddings={},
                split=SplitInstants(train_until=day, validation_until=day + timedelta(days=1), nominal=True),
            ),
            feature_service="dl_bgm_v1",
            users=Vocabulary([f"u{row}" for row in range(users)]),
            items=Vocabulary([f"m{row}" for row in range(items)]),
            train=pairs,
            validation=held,
            modalities=dict(sorted(content.items())),
            missing={name: (values == 0).all(axis=1) for name, values in sorted(content.items())},
            specs={},
            history=history,
            popularity=np.bincount(pairs[:, 1], minlength=items),
            contexts={**vectors, "video": np.arange(len(vectors["visual"]))[:, None]},
            train_context=np.arange(len(pairs)),
            validation_context=np.arange(len(pairs), len(pairs) + len(held)),
        )

    return make


@pytest.fixture(scope="session")
def music_blocks(music_frame_of: Callable[..., "TrainingFrame"]) -> "tuple[TrainingFrame, npt.NDArray[np.int64]]":
    """96 users and 64 pieces of music in four groups, and test pairs whose videos come last in the contexts.

    User, video and music of a pair are of one group, which the vectors show; nobody chooses a piece twice.
    """
    rng, users, items = np.random.default_rng(3), 96, 64
    chosen = np.stack([rng.permutation(items // 4)[:9] * 4 + user % 4 for user in range(users)])
    parts = [np.stack([np.repeat(np.arange(users), n), part.ravel()], axis=1) for n, part in _thirds(chosen)]
    group = np.concatenate([part[:, 0] for part in parts]) % 4

    def vectors(groups: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.float32]:
        noise = 0.3 * rng.normal(size=(len(groups), width))
        return (rng.normal(size=(4, width))[groups] + noise).astype(np.float32)

    of_music = np.arange(items) % 4
    categories = {
        name: np.eye(width, dtype=np.float32)[values]
        for name, width, values in (
            ("genre", 4, of_music),
            ("language", 2, rng.integers(2, size=items)),
            ("mood", 3, rng.integers(3, size=items)),
        )
    }
    numbers = {name: rng.normal(size=(items, 1)) for name in ("pitch", "tempo")}
    frame = music_frame_of(
        users,
        parts[0],
        parts[1],
        vectors(group, 8),
        vectors(group, 6),
        acoustic=vectors(of_music, 5),
        **categories,
        **numbers,
    )
    return frame, parts[2]


def _thirds(chosen: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """All but the last two columns, the one before the last, and the last."""
    yield chosen.shape[1] - 2, chosen[:, :-2]
    yield 1, chosen[:, -2:-1]
    yield 1, chosen[:, -1:]


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


@pytest.fixture(scope="session")
def make_frame(make_mmssl: MakeMmssl) -> Callable[..., "tuple[TrainingFrame, npt.NDArray[np.int64]]"]:
    """Builder of a training frame, and its test pairs, from :func:`make_mmssl`'s data without a feature store.

    ``make_frame(path, missing_rows=(), **shape)``: those videos have no vectors; the shape is that of
    :func:`make_mmssl`.
    """
    from contracts.clock import utc_now
    from contracts.embeddings import EmbeddingSpec
    from contracts.snapshot import Snapshot, SplitInstants
    from contracts.vocabulary import Vocabulary
    from feature_repo.frame import TrainingFrame
    from feature_repo.readers.restricted_pickle import load_restricted

    def make(
        path: Path, missing_rows: tuple[int, ...] = (), **shape: int
    ) -> tuple[TrainingFrame, npt.NDArray[np.int64]]:
        folder = make_mmssl(path, **shape)
        matrices = [load_restricted(folder / f"{name}Mat.pkl") for name in ("trn", "val", "tst")]
        train, validation, test = (np.stack([m.row, m.col], axis=1).astype(np.int64) for m in matrices)
        users, items = matrices[0].shape
        history = np.full((users, 50), -1, dtype=np.int64)
        for user in range(users):
            seen = train[train[:, 0] == user, 1][-50:]
            history[user, : len(seen)] = seen
        files = {"acoustic": "audio", "visual": "image"}
        modalities = {name: np.load(folder / f"{file}_feat.npy").astype(np.float32) for name, file in files.items()}
        absent = np.isin(np.arange(items), missing_rows)
        facts = {"encoder": "test", "revision": "1", "preprocessing": "none", "dtype": "float16"}
        specs = {
            name: EmbeddingSpec(modality=name, width=vectors.shape[1], normalisation="none", **facts)
            for name, vectors in modalities.items()
        }
        day = datetime(2000, 1, 2, tzinfo=UTC)
        frame = TrainingFrame(
            snapshot=Snapshot(
                id="blocks",
                dataset="blocks",
                source=str(folder),
                created_at=utc_now(),
                tables={},
                embeddings=specs,
                split=SplitInstants(train_until=day, validation_until=day + timedelta(days=1), nominal=True),
            ),
            feature_service="m3csr_v1",
            users=Vocabulary([f"u{row}" for row in range(users)]),
            items=Vocabulary([f"v{row}" for row in range(items)]),
            train=train,
            validation=validation,
            modalities={name: np.where(absent[:, None], 0, vectors) for name, vectors in modalities.items()},
            missing=dict.fromkeys(modalities, absent),
            specs=specs,
            history=history,
            popularity=np.bincount(train[:, 1], minlength=items),
        )
        return frame, test

    return make


@pytest.fixture(scope="session")
def manifest_of() -> Callable[..., Any]:
    """Facts about a fitted model as a training writes them: ``manifest_of(name, model, frame)``."""
    from contracts.clock import utc_now
    from contracts.manifest import IndexInfo, ModelManifest
    from training.models import MODELS
    from training.questions import question_of
    from training.recommender import Catalogue

    def make(name: str, model: Any, frame: "TrainingFrame") -> ModelManifest:
        question, sizes = question_of(MODELS[name].feature_service), Catalogue.of(frame)
        return ModelManifest(
            model=name,
            variant=model.config.variant,
            surface=question.surface,
            shape=model.shape,
            config=model.config.model_dump(mode="json"),
            seed=0,
            code_revision="0" * 40,
            feature_service=MODELS[name].feature_service,
            snapshot=frame.snapshot.id,
            validation_report="r",
            embedding_specs=frame.specs,
            widths=dict(sizes.widths),
            contexts=dict(sizes.contexts),
            vocabularies={"users": frame.users.digest, "items": frame.items.digest},
            protocol=question.fingerprint(frame.snapshot),
            metrics={},
            index=IndexInfo(kind="exact", recall=1.0),
            library_versions={},
            created_at=utc_now(),
        )

    return make
