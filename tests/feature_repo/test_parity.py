"""The same request offline and online gives the same values: every view of the catalogue, on every profile."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from contracts.database import Database
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.settings import Settings, load_settings
from contracts.snapshot import Snapshot
from contracts.tables import TIMESTAMP
from feature_repo.apply import apply_features
from feature_repo.historical import historical_features
from feature_repo.materialize import materialize
from feature_repo.offline import read_table, write_snapshot
from feature_repo.online import OnlineFeatures
from feature_repo.raw_tables import microseconds
from feature_repo.services import service_views
from feature_repo.simulator import simulate
from feature_repo.store import open_store
from feature_repo.views.catalogue import FAMILIES, View, views_of
from feature_repo.views.moments import MOMENT_FAMILIES, MomentView, moment_views_of

DAY, US = timedelta(days=1), timedelta(microseconds=1)
TABLES = {"user_id": "users", "video_id": "videos", "music_id": "music"}


@dataclass(frozen=True)
class World:
    """A home whose features are materialized, and its end: no row became known later."""

    settings: Settings
    home: Home
    snapshot: Snapshot
    online: OnlineFeatures
    end: datetime

    def ids(self, key: str) -> list[str]:
        ids: list[str] = read_table(self.home, self.snapshot, TABLES[key], [key])[key].unique().to_pylist()
        return [*ids, "nobody", ids[0]]

    def agree(self, view: View | MomentView, ids: Sequence[str], moments: Sequence[datetime]) -> pa.Table:
        """The features of a view, entity by entity and moment by moment, after a comparison of the two stores."""
        rows = pa.table({view.key: pa.array(ids), "moment": pa.array(moments, TIMESTAMP)})
        found = historical_features(self.settings, self.home, [view.name], rows, self.snapshot)
        features = list(view.features)
        offline = found.select([f"{view.name}__{feature}" for feature in features]).rename_columns(features)
        parts = []
        for moment in dict.fromkeys(moments):
            here = [row for row, each in enumerate(moments) if each == moment]
            online = self.online.read(view.name, [ids[row] for row in here], moment)
            assert online[view.key].to_pylist() == [ids[row] for row in here]
            assert online.select(features).schema.types == offline.schema.types
            parts.append(online.select(features).append_column("row", pa.array(here)))
        found_online = pa.concat_tables(parts).sort_by("row").drop_columns("row").to_pylist()
        for row, (mine, theirs) in enumerate(zip(found_online, offline.to_pylist(), strict=True)):
            assert mine == theirs, (view.name, ids[row], moments[row])
        return offline

    def of_family(self, family: str) -> list[View | MomentView]:
        known: list[View | MomentView] = [*views_of(self.home, self.snapshot).values()]
        known += moment_views_of(self.home, self.snapshot).values()
        views = [view for view in known if view.family == family]
        assert views, "the world has views of every family"
        return views


@pytest.fixture(scope="module", params=["local", pytest.param("production", marks=pytest.mark.service)])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, passed: Callable[..., None]
) -> Iterator[World]:
    root = tmp_path_factory.mktemp("parity") / "home"
    if request.param == "production":
        url = request.getfixturevalue("postgres_of_parity")
        settings = load_settings(
            home=root,
            profile="production",
            database_url=url,
            feast_registry_url=url,
            redis_url=request.getfixturevalue("redis_address"),
        )
    else:
        settings = load_settings(home=root, device="cpu")
    home = Home.open(settings)
    raw = simulate(users=20, videos=50, days=5, seed=4, events=200, music=20, posts=150, listens=100, late=0.2)
    raw = replace(raw, dataset=f"parity-{uuid.uuid4().hex[:8]}")  # whose keys no other run has
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
        apply_features(settings, home)
        database = Database(settings, home)
        passed(database, snapshot.id)
        database.close()
    materialize(settings, home)
    known = [pc.max(table["ingested_at"]).as_py() for table in raw.tables.values()]
    midnight = (max(known) + DAY).replace(hour=0, minute=0, second=0, microsecond=0)  # daily views follow a day later
    online = OnlineFeatures(settings, home, snapshot.id)
    yield World(settings, home, snapshot, online, midnight)
    online.close()
    if request.param == "production":
        open_store(settings, home, snapshot.id).teardown()


@pytest.fixture(scope="module")
def postgres_of_parity(new_postgres: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    with new_postgres() as url:
        yield url


@pytest.mark.parametrize("family", [*FAMILIES, *MOMENT_FAMILIES])
def test_every_view_is_the_same_offline_and_online(world: World, family: str) -> None:
    for view in world.of_family(family):
        ids = world.ids(view.key)
        values = world.agree(view, ids, [world.end] * len(ids))
        if family != "user_posts":  # of which all rows may have expired
            for feature in view.features:
                assert values[feature].null_count < len(ids) - 1, f"{view.name}:{feature} has no value to compare"
            assert any(value is None for value in values[next(iter(view.features))].to_pylist()), "nobody has none"
        world.agree(view, ids, [world.end + 40 * DAY] * len(ids))
        if "vector" in view.features:
            matrix, present = world.online.matrix(view.name, ids, world.end)
            expected = values["vector"].to_pylist()
            assert present.tolist() == [vector is not None for vector in expected]
            assert [row.tolist() for row in matrix[present]] == [vector for vector in expected if vector is not None]
            assert not matrix[~present].any()


def newest(world: World, view: str) -> dict[str, dict[str, Any]]:
    """The rows of a user's view that are online, at a moment at which none has expired."""
    rows = world.online.read(view, world.ids("user_id")[:-2], datetime(1970, 1, 2, tzinfo=UTC)).to_pylist()
    return {row["user_id"]: row for row in rows if row["event_time"] is not None}


def test_posts_leave_the_last_day_at_the_same_microsecond(world: World) -> None:
    """Each post of the newest rows, a microsecond either side of leaving; and the row itself, of its TTL."""
    for view in world.of_family("user_context"):
        assert isinstance(view, MomentView)
        recent, social = newest(world, view.state["times"]), newest(world, view.state["vector"])
        left = 0
        asked: list[tuple[str, datetime]] = []
        for user, row in recent.items():
            known = max(row["event_time"], social[user]["event_time"])  # a late post counts in the mean alone
            for time in row["times"]:
                gone = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time) + DAY
                if gone - US >= known:
                    pair = world.agree(view, [user] * 2, [gone - US, gone])["posts"].to_pylist() if left < 4 else []
                    assert not pair or pair[1] == pair[0] - 1, "the post has left, and nothing else has"
                    left += 1
                    asked += [(user, gone - US), (user, gone)]
            expiry = [row["event_time"] + DAY + step for step in (-US, 0 * US, US)]
            asked += [(user, moment) for moment in expiry if moment >= known]
        assert left > 3
        values = world.agree(view, *(list(column) for column in zip(*asked, strict=True)))
        assert values["vector"].null_count == 0, "padded with the mean of all posts"
        assert 0 < pc.sum(pc.equal(values["posts"], 0)).as_py() < len(asked)


def test_rows_expire_at_the_same_microsecond(world: World) -> None:
    for view in world.of_family("user_posts"):
        assert isinstance(view, View)
        assert view.ttl is not None
        rows = newest(world, view.name)
        assert len(rows) > 5
        edges = {user: row["event_time"] + view.ttl for user, row in rows.items()}
        assert world.agree(view, list(edges), list(edges.values()))["times"].null_count == 0
        assert world.agree(view, list(edges), [edge + US for edge in edges.values()])["times"].null_count == len(edges)


def test_trends_move_on_at_the_same_hour(world: World) -> None:
    """From the end of the clock hour of each video's last view on, until none is left in the window."""
    [view] = world.of_family("video_trend")
    hours: dict[str, datetime] = {}
    for row in world.online.read("video_popularity", world.ids("video_id")[:-2]).to_pylist():
        if row["event_time"] is not None:
            hour = row["event_time"].replace(minute=0, second=0, microsecond=0)
            if microseconds(hour) == row["hours"][-1]:  # not of an event that arrived late
                hours[row["video_id"]] = hour
    assert len(hours) > 10
    asked = [
        (video, hour + timedelta(hours=shift) - US * early)
        for video, hour in hours.items()
        for shift in (1, 2, 24, 25, 168, 169)
        for early in (1, 0)
    ]
    values = world.agree(view, *(list(column) for column in zip(*asked, strict=True)))
    week = np.array(values["views_168h"]).reshape(len(hours), -1)
    assert (week[:, 0] > 0).all()
    assert (np.diff(week, axis=1) <= 0).all()
    assert not week[:, -1].any()


def test_plain_feast_reads_the_same_online(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two rows and two moments in one call: a view computed for a single row once answered for all."""
    monkeypatch.setattr("feature_repo.stores.rows.utc_now", lambda: world.end)
    store = open_store(world.settings, world.home, world.snapshot.id)
    for service in ("m3csr_v1", "amae_v1", "dl_bgm_v1"):
        keys: dict[str, list[str]] = {}
        moments = [world.end, world.end + timedelta(hours=100)]
        views = {view.name: view for family in (*FAMILIES, *MOMENT_FAMILIES) for view in world.of_family(family)}
        names = service_views(world.home, world.snapshot, service)
        for name in names:
            keys[views[name].key] = world.ids(views[name].key)[:2]
        entities = [
            {key: ids[row] for key, ids in keys.items()} | {"moment": microseconds(moments[row])} for row in range(2)
        ]
        if service == "dl_bgm_v1":
            entities = [{key: value for key, value in row.items() if key != "moment"} for row in entities]
        answer = store.get_online_features(
            store.get_feature_service(service), entity_rows=entities, full_feature_names=True
        ).to_dict()
        for name in names:
            moment_of = moments if isinstance(views[name], MomentView) else [world.end] * 2
            for row, moment in enumerate(moment_of):
                expected = world.online.read(name, [keys[views[name].key][row]], moment).to_pylist()[0]
                if isinstance(views[name], MomentView) and row == 1:
                    continue  # Feast applies TTLs at the present moment, ours at the moment asked for
                for feature in views[name].features:
                    found = answer[f"{name}__{feature}"][row]
                    found = found.tolist() if isinstance(found, np.ndarray) else found
                    assert (None if found is not None and found != found else found) == expected[feature], name
            if isinstance(views[name], MomentView) and views[name].family == "video_trend":
                ages = answer["video_trend__age_hours"]
                published = world.online.read("video_profile", keys["video_id"])["published_at"].to_pylist()
                wanted = [(microseconds(m) - p) / 3.6e9 for m, p in zip(moments, published, strict=True)]
                np.testing.assert_allclose(ages, wanted, rtol=1e-6)


def test_plain_feast_materializes_the_same(world: World) -> None:
    """`FeatureStore.materialize` goes through our engine: a view written anew is what it was."""
    store = open_store(world.settings, world.home, world.snapshot.id)
    inner = store._get_provider().online_store
    for view in (*world.of_family("user_history"), *world.of_family("video")):
        ids = world.ids(view.key)
        before = world.online.read(view.name, ids, world.end)
        of_view = store.get_feature_view(view.name)
        inner.update(store.config, [of_view], [], [], [], partial=True)
        inner.update(store.config, [], [of_view], [], [], partial=True)
        if world.settings.profile == "local":
            assert world.online.read(view.name, ids, world.end)["event_time"].null_count == len(ids)
        store.materialize(datetime(2020, 1, 1, tzinfo=UTC), world.end, feature_views=[view.name])
        assert world.online.read(view.name, ids, world.end).equals(before)


def test_threads_share_a_reader(world: World) -> None:
    [view] = world.of_family("video_trend")
    ids = world.ids("video_id")
    expected = world.online.read(view.name, ids, world.end)
    reader = OnlineFeatures(world.settings, world.home, world.snapshot.id)

    def read(number: int) -> bool:
        part = ids[number % 5 :]
        return bool(reader.read(view.name, part, world.end).equals(expected[number % 5 :]))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(60)))
    reader.close()


def test_matrices_together_are_those_that_are_read_alone(world: World) -> None:
    views = [view.name for family in ("user_context", "user_social") for view in world.of_family(family)]
    assert len(views) >= 2
    ids = world.ids("user_id")
    together = world.online.matrices([*views, "nothing"], ids, world.end)
    assert together.keys() == set(views)
    for view in views:
        for mine, theirs in zip(together[view], world.online.matrix(view, ids, world.end), strict=True):
            assert np.array_equal(mine, theirs)
    assert any(present.any() and not present.all() for _, present in together.values())


def test_online_requests_that_cannot_be_answered(world: World) -> None:
    with pytest.raises(NotFound, match=r"online feature view of snapshot .* 'video_trends'.*'video_trend'"):
        world.online.read("video_trends", ["v1"])
    with pytest.raises(BadInput, match=r"2025-01-01T00:00:00, which is in no time zone"):
        world.online.read("video_trend", ["v1"], datetime(2025, 1, 1))
    with pytest.raises(BadInput, match=r"'video_trend': found no feature 'vector'"):
        world.online.matrix("video_trend", ["v1"])
    with pytest.raises(BadInput, match=r"'user_history': found no feature 'vector'"):
        world.online.matrix("user_history", ["u1"])
    with pytest.raises(NotFound, match="'nothing'"):
        world.online.matrix("nothing", ["u1"])
    assert world.online.read("user_history", []).num_rows == 0
