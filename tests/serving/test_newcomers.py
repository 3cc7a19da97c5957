"""Videos that came after the training are recommended once they are materialized, and nothing is built again."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from contracts.database import Database
from contracts.errors import NotFound
from contracts.home import Home
from contracts.messages import RecommendRequest
from contracts.settings import Settings, environment_of_child, load_settings
from contracts.snapshot import Snapshot
from feature_repo.apply import apply_features
from feature_repo.materialize import materialize
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables
from feature_repo.readers.mmssl import read_mmssl
from registry.store import ModelStore
from serving.admission import NewItems, admit_of
from serving.building import build_ranker
from serving.engine import Engine
from serving.lineup import Lineup
from serving.newcomers import newcomers_of
from serving.recommend import Query, Ranker
from serving.records import Recorder
from serving.replaying import Recorded, Replayer
from serving.shadow import Shadow, ShadowTask
from serving.shadow_process import command_of_shadow
from training.packages import load_package
from training.train import train
from validation.run import validate_snapshot

NEW = ["v60", "v61", "v62", "v63"]


def without(raw: RawTables, videos: list[str]) -> RawTables:
    """The data before these were published."""
    tables = {
        name: table.filter(pc.invert(pc.is_in(table["video_id"], pa.array(videos))))
        if "video_id" in table.column_names
        else table
        for name, table in raw.tables.items()
    }
    return replace(raw, tables=tables)


class World:
    """A home with versions that were trained before four videos came, which are materialized now."""

    def __init__(self, settings: Settings, home: Home, snapshot: Snapshot, versions: dict[str, str]) -> None:
        self.settings = settings
        self.home = home
        self.snapshot = snapshot
        self.versions = versions

    def package(self, model: str) -> Path:
        store = ModelStore(self.settings, self.home)
        return store.package_path(store.get("video-feed", self.versions[model]))

    def ranker(self, model: str) -> Ranker:
        return build_ranker(self.settings, self.home, self.versions[model], load_package(self.package(model)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, make_mmssl: Callable[..., Path]) -> World:
    root = tmp_path_factory.mktemp("newcomers")
    settings = load_settings(home=root / "home", device="cpu", threads=1)
    home = Home.open(settings)
    raw = read_mmssl(make_mmssl(root / "data"), None)
    with home.writing("test"):
        write_snapshot(home, without(raw, NEW))
    with home.writing("test"):
        apply_features(settings, home)
        assert validate_snapshot(settings, home).success
        versions = {
            name: train(settings, home, name, options, seed=0).version
            for name, options in (("vbpr", {"max_epochs": 20, "cold_rate": 0.3}), ("mf", {"max_epochs": 1}))
        }
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
        apply_features(settings, home)
        assert validate_snapshot(settings, home).success
        materialize(settings, home)
    return World(settings, home, snapshot, versions)


@pytest.fixture
def database(world: World) -> Iterator[Database]:
    with closing(Database(world.settings, world.home)) as database:
        yield database


def test_a_model_that_reads_content_ranks_new_videos_by_it(world: World) -> None:
    ranker = world.ranker("vbpr")
    assert len(ranker.items) == 60
    before = ranker.rank(Query("u0", (), (), 500))
    assert admit_of(world.home, world.snapshot.id, ranker) == 4
    after = ranker.rank(Query("u0", (), (), 500))
    assert {item.item_id for item in after} - {item.item_id for item in before} == set(NEW)
    assert all(item.step == "model" for item in after)
    old = [(item.item_id, item.score) for item in after if item.item_id not in NEW]
    assert old == [(item.item_id, item.score) for item in before], "nothing else has changed"
    # User 0 watches the videos of block 0; of the new ones that is v60.
    places = {item.item_id: place for place, item in enumerate(after)}
    assert places["v60"] == min(places[video] for video in NEW)
    assert places["v60"] < len(after) / 2


def test_there_is_nothing_new_the_second_time_nor_in_its_own_snapshot(world: World) -> None:
    ranker = world.ranker("vbpr")
    admit_of(world.home, world.snapshot.id, ranker)
    assert admit_of(world.home, world.snapshot.id, ranker) == 0
    assert admit_of(world.home, ranker.package.manifest.snapshot, ranker) == 0


def test_embeddings_of_another_spec_admit_nobody(world: World) -> None:
    ranker = world.ranker("vbpr")
    other = {name: spec.model_copy(update={"revision": "other"}) for name, spec in world.snapshot.embeddings.items()}
    snapshot = world.snapshot.model_copy(update={"embeddings": other})
    assert newcomers_of(world.home, snapshot, ranker.package, ranker.items) is None


def test_a_running_engine_returns_them_from_a_look_on(
    world: World, database: Database, histories: Callable[..., Any]
) -> None:
    rankers = {model: world.ranker(model) for model in world.versions}
    with closing(Engine("video-feed", Lineup(rankers["vbpr"], histories()), Recorder(database))) as engine:
        watch = NewItems(database, world.home, engine, 60.0)
        engine.leave_out(["v61"])

        def served(user: str) -> set[str]:
            answer = engine.answer(RecommendRequest(user_id=user, k=500))
            return {item.item_id for item in answer.response.items}

        assert not served("u0") & set(NEW)
        watch.look()
        assert watch.fault is None
        assert served("u0") & set(NEW) == {"v60", "v62", "v63"}, "what is withdrawn stays so"
        engine.swap(Lineup(rankers["mf"], histories(stranger=["v0"])))
        watch.look()
        assert served("u0") >= {"v60", "v62", "v63"}
        near = [item.item_id for item in engine.answer(RecommendRequest(user_id="stranger", k=15)).response.items]
        assert "v60" in near, "a neighbour by its content"
        assert engine.newest == world.snapshot.id


def test_a_shadow_returns_them_too(world: World) -> None:
    rows: list[Any] = []
    command = command_of_shadow(world.package("vbpr"), "1")
    shadow = Shadow("1", "vbpr", command, rows.append, environment_of_child(world.settings), deadline_s=600.0)
    assert shadow.settled(240)
    assert shadow.fault is None
    ranker, wanted = world.ranker("vbpr"), Query("u0", (), (), 500)
    admit_of(world.home, world.snapshot.id, ranker)
    shadow.admit(world.snapshot.id)
    shadow.admit("no such snapshot")
    shadow.offer(ShadowTask("0" * 32, wanted, 0.0, 1e12))
    assert shadow.close()
    assert [item["item_id"] for item in rows[0].items] == [item.item_id for item in ranker.rank(wanted)]
    np.testing.assert_allclose(
        [item["score"] for item in rows[0].items], [item.score for item in ranker.rank(wanted)], rtol=1e-5
    )


def test_a_list_with_new_videos_is_replayed(world: World) -> None:
    ranker, query = world.ranker("vbpr"), Query("u1", (), (), 64)
    admit_of(world.home, world.snapshot.id, ranker)
    served = [item.as_dict() for item in ranker.rank(query)]
    assert {item["item_id"] for item in served} > set(NEW)
    asked = {"user_id": "u1", "history": [], "exclude": [], "k": 64}
    online = {"left_out": [], "newest": world.snapshot.id}
    recorded = Recorded("r", "video-feed", ranker.version, served, asked, online, None, None)
    with closing(Database(world.settings, world.home)) as database:
        replayer = Replayer(world.settings, world.home, database)
        assert replayer.again(recorded) == served
        with pytest.raises(NotFound, match="an item that came to it just then"):
            replayer.again(replace(recorded, computed_on={"left_out": [], "newest": None}))
