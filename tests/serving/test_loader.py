"""What the service refuses to start with, what it serves without, and that a failed start leaves nothing behind."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.manifest import read_manifest, seal
from contracts.messages import RecommendRequest
from contracts.reports import ValidationReport, store_report
from contracts.settings import Settings, load_settings
from contracts.surfaces import Surface
from feature_repo.apply import apply_features
from feature_repo.materialize import materialize
from feature_repo.offline import write_snapshot
from feature_repo.readers.mmssl import read_mmssl
from registry.lifecycle import Standing
from registry.store import ModelStore
from serving.loader import open_surfaces
from tests.serving.waiting import until
from training.train import train

SURFACE: Surface = "video-feed"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, make_mmssl: Callable[..., Path]) -> tuple[Settings, Home]:
    """A home with a popularity champion and an MF shadow; nothing is materialized."""
    root = tmp_path_factory.mktemp("trained")
    settings = load_settings(home=root / "home", device="cpu")
    home = Home.open(settings)
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, read_mmssl(make_mmssl(root / "data"), None))
        apply_features(settings, home)
        pass_report(settings, home, snapshot.id)
        champion = train(settings, home, "popularity", {}, seed=0)
        shadow = train(settings, home, "mf", {"max_epochs": 1}, seed=0)
        standing = Standing(aliases={"champion": champion.version, "shadow": shadow.version}, states={})
        ModelStore(settings, home).assign(SURFACE, standing)
    return settings, home


def pass_report(settings: Settings, home: Home, snapshot: str) -> None:
    database = Database(settings, home)
    facts = {"success": True, "suites": [], "data_docs": "index.html"}
    store_report(database, ValidationReport(id=snapshot, snapshot=snapshot, created_at=utc_now(), **facts))
    database.close()


@contextmanager
def other_golden_answers(settings: Settings, home: Home, alias: str) -> Iterator[None]:
    """A package with sound hashes whose model answers otherwise than when it was packed."""
    store = ModelStore(settings, home)
    directory = store.package_path(store.get(SURFACE, alias))
    kept = {name: (directory / name).read_bytes() for name in ("golden.json", "manifest.json")}
    requests = json.loads(kept["golden.json"])
    asked = next(request for request in requests if request["scores"])
    asked["scores"][0] += 1.0
    (directory / "golden.json").write_text(json.dumps(requests))
    seal(directory, read_manifest(directory))
    yield
    for name, content in kept.items():
        (directory / name).write_bytes(content)


@pytest.fixture
def helpers() -> Callable[[], set[str]]:
    """Names of the service's threads that a test has begun and not ended."""
    before = set(threading.enumerate())
    ours = {"recorder", "shadow", "rank_0", "follower", "opener"}
    return lambda: {thread.name for thread in set(threading.enumerate()) - before} & ours


def test_a_start_that_fails_leaves_no_thread(trained: tuple[Settings, Home], helpers: Callable[[], set[str]]) -> None:
    with pytest.raises(NotFound, match=r"no snapshot of its data set materialized.*backbeat features materialize"):
        open_surfaces(*trained)
    assert helpers() == set()


def test_a_champion_that_answers_otherwise_does_not_start(
    trained: tuple[Settings, Home], helpers: Callable[[], set[str]]
) -> None:
    with (
        other_golden_answers(*trained, "champion"),
        pytest.raises(BadInput, match=r"golden request of user .* away from the recorded ones"),
    ):
        open_surfaces(*trained)
    assert helpers() == set()


def test_a_shadow_that_answers_otherwise_is_left_out_and_the_data_is_the_champions_own(
    trained: tuple[Settings, Home], make_mmssl: Callable[..., Path], tmp_path: Path, helpers: Callable[[], set[str]]
) -> None:
    settings, home = trained
    with home.writing("test"):
        materialize(settings, home)
        # Another data set with the same ids becomes current, and is online too.
        other, _ = write_snapshot(home, read_mmssl(make_mmssl(tmp_path / "other", seed=9), None))
        apply_features(settings, home)
        pass_report(settings, home, other.id)
        materialize(settings, home)
    mine = set(read_mmssl_history(make_mmssl(tmp_path / "data"), "u5"))
    with other_golden_answers(settings, home, "shadow"):
        surfaces = open_surfaces(settings, home)
    engine = surfaces.engine(SURFACE)
    try:
        status = engine.status()
        assert status["shadow"] is None
        assert "golden request" in status["shadow_fault"]["fault"]
        assert set(engine.answer(RecommendRequest(user_id="u5")).query.history) == mine
    finally:
        surfaces.close()
    assert helpers() == set()


def read_mmssl_history(directory: Path, user: str) -> list[str]:
    events = read_mmssl(directory).tables["interactions"].to_pandas()
    return list(events[events["user_id"] == user].sort_values("event_time")["video_id"])


def test_a_running_engine_follows_the_aliases(trained: tuple[Settings, Home], helpers: Callable[[], set[str]]) -> None:
    settings, home = trained
    settings = settings.model_copy(update={"serve_follow": 0.05})
    with home.writing("test"):
        materialize(settings, home)
    store = ModelStore(settings, home)
    first, second = (store.get(SURFACE, alias).version for alias in ("champion", "shadow"))

    def point(**aliases: str | None) -> None:
        store.assign(SURFACE, Standing(aliases=aliases, states={}))

    surfaces = open_surfaces(settings, home)
    engine = surfaces.engine(SURFACE)
    try:
        with other_golden_answers(settings, home, "shadow"):
            point(champion=second, shadow=None)
            (alert,) = until(lambda: engine.status()["following"]["alerts"])
            assert (alert["kind"], alert["version"]) == ("champion", second)
            assert "golden request" in alert["fault"]
            assert until(lambda: not engine.status()["shadows"])
            assert engine.answer(RecommendRequest(user_id="u5")).response.version == first
        # Whole again, it is taken without anybody's doing.
        assert until(lambda: engine.answer(RecommendRequest(user_id="u5")).response.version == second)
        assert until(lambda: engine.status()["following"]["kept"])["version"] == first
        assert until(lambda: engine.status()["following"]["alerts"] == [])
        point(champion=first, shadow=second)
        assert until(lambda: engine.status()["champion"]["version"] == first)
        assert until(lambda: engine.status()["shadow"])["version"] == second
    finally:
        point(champion=first, shadow=second)
        surfaces.close()
    assert helpers() == set()


def test_a_champion_on_other_embeddings_than_are_served_does_not_start(
    trained: tuple[Settings, Home], helpers: Callable[[], set[str]]
) -> None:
    settings, home = trained
    with home.writing("test"):
        materialize(settings, home)
    spec = EmbeddingSpec(
        modality="visual",
        encoder="vgg",
        revision="of another day",
        preprocessing="none",
        width=4,
        dtype="float32",
        normalisation="none",
    )
    store = ModelStore(settings, home)
    directory = store.package_path(store.get(SURFACE, "champion"))
    kept = (directory / "manifest.json").read_bytes()
    seal(directory, read_manifest(directory).model_copy(update={"embedding_specs": {"visual": spec}}))
    try:
        with pytest.raises(BadInput, match=r"visual embedding spec: .*of another day|visual embedding spec: .*vgg"):
            open_surfaces(settings, home)
    finally:
        (directory / "manifest.json").write_bytes(kept)
    assert helpers() == set()
