"""Historical features of every view against a plain search through its file, and what a request may not look like."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.settings import Settings, load_settings
from contracts.snapshot import Snapshot
from contracts.tables import TIMESTAMP
from feature_repo import historical
from feature_repo.apply import apply_features
from feature_repo.frame import load_unjudged_frame
from feature_repo.historical import historical_features, unknown_ids
from feature_repo.offline import read_table, write_snapshot
from feature_repo.raw_tables import RawTables, microseconds
from feature_repo.services import SERVICES, service_views, services_of
from feature_repo.simulator import simulate
from feature_repo.store import open_store
from feature_repo.views.catalogue import FAMILIES, View, views_of
from feature_repo.views.moments import MOMENT_FAMILIES, MomentView, moment_views_of, user_context, video_trend

DAY = timedelta(days=1)
TABLES = {"user_id": "users", "video_id": "videos", "music_id": "music"}


@dataclass(frozen=True)
class World:
    settings: Settings
    home: Home
    snapshot: Snapshot

    def ids(self, key: str) -> list[str]:
        ids: list[str] = read_table(self.home, self.snapshot, TABLES[key], [key])[key].unique().to_pylist()
        return ids

    def ask(self, wanted: str | Sequence[str], key: str, ids: Sequence[str], moments: Sequence[int]) -> pa.Table:
        rows = pa.table({key: pa.array(ids), "moment": pa.array(moments, pa.int64()).cast(TIMESTAMP)})
        return historical_features(self.settings, self.home, wanted, rows, self.snapshot)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    settings = load_settings(home=tmp_path_factory.mktemp("historical") / "home", device="cpu")
    home = Home.open(settings)
    raw = simulate(users=20, videos=50, days=6, seed=5, events=200, music=20, posts=120, listens=100, late=0.3)
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
        apply_features(settings, home)
    return World(settings, home, snapshot)


def oracle(rows: list[dict[str, Any]], view: View, entity: str, moment: int) -> dict[str, Any]:
    """The newest row of an entity that had happened and was known at a moment, in a plain loop."""
    found: dict[str, Any] = {}
    for row in rows:
        if row[view.key] == entity and row["event_time"] <= moment and row["ingested_at"] <= moment:
            newer = not found or (row["event_time"], row["ingested_at"]) >= (found["event_time"], found["ingested_at"])
            found = row if newer else found
    if view.ttl is not None and found and found["event_time"] < moment - view.ttl // timedelta(microseconds=1):
        return {}
    return found


def rows_of(view: View) -> list[dict[str, Any]]:
    table = pq.read_table(view.path)
    times = {name: table[name].cast(pa.int64()) for name in ("event_time", "ingested_at")}
    rows: list[dict[str, Any]] = pa.table({n: times.get(n, table[n]) for n in table.column_names}).to_pylist()
    return rows


def moments_near(rows: list[dict[str, Any]], view: View, rng: np.random.Generator) -> list[int]:
    """A microsecond either side of instants at which rows happen, become known or expire."""
    edges = [row[name] for row in rows for name in ("event_time", "ingested_at")]
    if view.ttl is not None:
        edges += [edge + view.ttl // timedelta(microseconds=1) for edge in edges]
    picked = rng.choice(np.array(edges), size=min(20, len(edges)), replace=False)
    return [int(edge) + step for edge in picked for step in (-1, 0, 1)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_view_says_what_was_known(world: World, family: str) -> None:
    views = [view for view in views_of(world.home, world.snapshot).values() if view.family == family]
    assert views, "the world has views of every family"
    rng = np.random.default_rng(0)
    for view in views:
        rows = rows_of(view)
        assert rows
        ids = [*world.ids(view.key)[:15], "nobody"]
        asked = [(entity, moment) for moment in moments_near(rows, view, rng) for entity in ids]
        answer = world.ask([view.name], view.key, *(list(column) for column in zip(*asked, strict=True)))
        found = answer.to_pylist()
        known = 0
        for (entity, moment), row in zip(asked, found, strict=True):
            expected = oracle(rows, view, entity, moment)
            known += bool(expected)
            assert (row[view.key], microseconds(row["moment"])) == (entity, moment), "rows keep their order"
            for feature in view.features:
                assert row[f"{view.name}__{feature}"] == expected.get(feature), (view.name, entity, moment)
        assert 0 < known < len(asked)


@pytest.mark.parametrize("family", MOMENT_FAMILIES)
def test_views_of_a_moment_through_feast_alone_and_through_us(world: World, family: str) -> None:
    """The plain Feast SDK, with its on-demand views, gives what we give; two rows of one call never share a value."""
    views = [view for view in moment_views_of(world.home, world.snapshot).values() if view.family == family]
    assert views
    store = open_store(world.settings, world.home, world.snapshot.id)
    for view in views:
        sources = views_of(world.home, world.snapshot)
        edges = [row["event_time"] for name in dict.fromkeys(view.state.values()) for row in rows_of(sources[name])]
        day = DAY // timedelta(microseconds=1)
        moments = [edge + shift for edge in sorted(edges)[::7] for shift in (-1, 0, day - 1, day, day + 1)]
        asked = [(entity, moment) for moment in moments for entity in world.ids(view.key)[:6]]
        ids, instants = (list(column) for column in zip(*asked, strict=True))
        ours = world.ask([view.name], view.key, ids, instants)
        frame = pd.DataFrame({view.key: ids, "moment": instants, "event_timestamp": ours["moment"].to_pandas()})
        references = [f"{view.name}:{feature}" for feature in view.features]
        theirs = store.get_historical_features(frame, references, full_feature_names=True).to_arrow()
        short = store.get_historical_features(frame, references).to_arrow() if family == "video_trend" else None
        states = world.ask([*dict.fromkeys(view.state.values())], view.key, ids, instants)
        for feature, kind in view.features.items():
            name = f"{view.name}__{feature}"
            mine = ours[name].to_pylist()
            assert mine == theirs[name].cast(ours[name].type).to_pylist(), kind
            assert short is None or mine == short[feature].cast(ours[name].type).to_pylist(), "and by its short name"
            assert any(value is not None for value in mine)
        arrays = {f: states[f"{source}__{f}"].combine_chunks() for f, source in view.state.items()}
        value = (user_context if family == "user_context" else video_trend)(arrays, np.array(instants))
        assert ours[f"{view.name}__{feature}"].to_pylist() == value[feature].to_pylist()
        assert len({str(value) for value in ours[f"{view.name}__{next(iter(view.features))}"].to_pylist()}) > 2


def known_rows(world: World, table: str, moment: int) -> list[dict[str, Any]]:
    rows = read_table(world.home, world.snapshot, table).to_pylist()
    return [row for row in rows if max(microseconds(row[t]) for t in ("event_time", "ingested_at")) <= moment]


def test_contextual_posts_from_the_raw_tables(world: World) -> None:
    """From posts and their vectors to the answer, in plain loops: known posts of the last day, else of all time."""
    spec = world.snapshot.embeddings["post_visual"]
    rng = np.random.default_rng(1)
    days = microseconds(datetime(2025, 1, 1, tzinfo=UTC)) + rng.integers(0, 8 * 86_400_000_000, 12)
    windows = 0
    for moment in map(int, days):
        posts = known_rows(world, "posts", moment)
        vectors = {row["post_id"]: row["vector"] for row in known_rows(world, "embedding_post_visual", moment)}
        users = world.ids("user_id")
        name = f"user_context_visual_{spec.digest[:8]}"
        answer = world.ask([name], "user_id", users, [moment] * len(users)).to_pylist()
        for user, row in zip(users, answer, strict=True):
            mine = [post for post in posts if post["user_id"] == user and post["post_id"] in vectors]
            recent = [post for post in mine if moment - 86_400_000_000 < microseconds(post["event_time"])]
            windows += bool(recent)
            if not mine:
                assert (row[f"{name}__vector"], row[f"{name}__posts"]) == (None, None)
                continue
            mean = np.mean([vectors[post["post_id"]] for post in recent or mine], axis=0)
            np.testing.assert_allclose(row[f"{name}__vector"], mean, rtol=1e-5, atol=1e-6)
            assert row[f"{name}__posts"] == len(recent)
    assert windows > 5


def test_trends_from_the_raw_tables(world: World) -> None:
    rng = np.random.default_rng(2)
    hour = 3_600_000_000
    videos = world.ids("video_id")
    published = {row["video_id"]: row for row in read_table(world.home, world.snapshot, "videos").to_pylist()}
    for moment in map(int, microseconds(datetime(2025, 1, 2, tzinfo=UTC)) + rng.integers(0, 9 * 24 * hour, 6)):
        events = known_rows(world, "interactions", moment)
        answer = world.ask(["video_trend"], "video_id", videos, [moment] * len(videos)).to_pylist()
        for video, row in zip(videos, answer, strict=True):
            known = max(microseconds(published[video][t]) for t in ("event_time", "ingested_at")) <= moment
            mine = [event for event in events if event["video_id"] == video]
            for kind in ("view", "like"):
                hours = {(e["user_id"], microseconds(e["event_time"])) for e in mine if e["kind"] == kind}
                for width in (1, 24, 168):
                    count = sum(moment // hour - width < time // hour <= moment // hour for _, time in hours)
                    found = row[f"video_trend__{kind}s_{width}h"]
                    assert found == (count if known or mine else None), (video, kind, width)
            age = (moment - microseconds(published[video]["event_time"])) / hour if known else None
            assert row["video_trend__age_hours"] == (None if age is None else pytest.approx(age, rel=1e-5))


def test_blocks_do_not_change_a_value(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    [view, *_] = [v for v in moment_views_of(world.home, world.snapshot).values() if v.family == "user_context"]
    end = microseconds(world.snapshot.split.train_until)
    ids = world.ids("user_id")
    whole = world.ask([view.name], "user_id", ids, [end] * len(ids))
    [state] = {v.path for v in views_of(world.home, world.snapshot).values() if v.name == view.state["times"]}
    longest = pc.max(pc.list_value_length(pq.read_table(state)["times"])).as_py()
    assert longest > 1, "a row of the state holds the vectors of several posts"
    blocks, real = [], historical._joined
    monkeypatch.setattr("feature_repo.historical._BLOCK_FLOATS", 7 * longest * view.spec.width)
    monkeypatch.setattr(
        "feature_repo.historical._joined", lambda s, asked, r: blocks.append(len(asked)) or real(s, asked, r)
    )
    assert world.ask([view.name], "user_id", ids, [end] * len(ids)).to_pylist() == whole.to_pylist()
    assert max(blocks) == 7 < len(ids), "no block's state is larger than allowed"


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_answered_whole(world: World, service: str) -> None:
    names = service_views(world.home, world.snapshot, service)
    views: dict[str, View | MomentView] = dict(views_of(world.home, world.snapshot))
    views |= moment_views_of(world.home, world.snapshot)
    families = {views[name].family for name in names}
    assert families == set(SERVICES[service].families)
    keys = dict.fromkeys(views[name].key for name in names)
    rows = pa.table({key: world.ids(key)[:5] for key in keys} | {"moment": pa.repeat(NOON, 5)})
    answer = historical_features(world.settings, world.home, service, rows)
    assert answer.select(rows.column_names).equals(rows)
    expected = [f"{name}__{feature}" for name in names for feature in views[name].features]
    assert sorted(answer.column_names) == sorted([*rows.column_names, *expected])
    known = {service.name for service in open_store(world.settings, world.home).list_feature_services()}
    assert service in known


NOON = pa.scalar(datetime(2025, 1, 6, 12, tzinfo=UTC), TIMESTAMP)


def test_ids_that_nobody_knows_are_null_and_counted(world: World) -> None:
    known = world.ids("user_id")[0]
    rows = pa.table({"user_id": [known, "nobody", None, "nobody", "who"], "moment": pa.repeat(NOON, 5)})
    answer = historical_features(world.settings, world.home, ["user_profile:region"], rows)
    assert answer["user_profile__region"].is_valid().to_pylist() == [True, False, False, False, False]
    assert unknown_ids(answer) == {"user_id": 2}
    assert unknown_ids(world.ask(["user_profile"], "user_id", [known], [0])) == {}
    nothing = historical_features(
        world.settings, world.home, "interactions_v1", rows[:0].append_column("video_id", [[]])
    )
    assert nothing.num_rows == 0
    assert nothing["user_history__video_ids"].type == pa.list_(pa.string())
    encoded = pa.table({"user_id": pa.array([known]).dictionary_encode(), "moment": pa.repeat(NOON, 1)})
    assert historical_features(world.settings, world.home, ["user_profile:region"], encoded).to_pylist()[0] == {
        "user_id": known,
        "moment": NOON.as_py(),
        "user_profile__region": answer["user_profile__region"][0].as_py(),
    }


def request(**columns: Any) -> pa.Table:
    return pa.table({"user_id": ["u1"], "moment": pa.repeat(NOON, 1)} | columns)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (request(mood=["good"]), r"found columns mood; expected columns out of user_id, video_id, music_id, moment"),
        (request().drop_columns("moment"), r"found no column moment"),
        (request().drop_columns("user_id"), r"found no column user_id"),
        (
            request(moment=pa.array([0], pa.timestamp("us"))),
            r"moments of type timestamp\[us\]; expected timestamps with",
        ),
        (request(moment=[0]), r"moments of type int64"),
        (request(moment=pa.nulls(1, TIMESTAMP)), r"found 1 rows without a moment"),
        (request(moment=pa.array([datetime(2999, 1, 1, tzinfo=UTC)], TIMESTAMP)), r"1 moments in the future.*2999"),
        (request(user_id=[1]), r"user_id of type int64; expected strings"),
    ],
)
def test_requests_that_cannot_be_answered(world: World, rows: pa.Table, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        historical_features(world.settings, world.home, ["user_profile"], rows)


def test_names_that_nobody_knows(world: World) -> None:
    for wanted, message in [
        ("m3csr_v9", r"feature service 'm3csr_v9'.*'m3csr_v1'"),
        (["user_profil"], r"feature view of snapshot .*'user_profile'"),
        (["user_profile:regions"], r"feature of view user_profile 'regions'.*'region'"),
    ]:
        with pytest.raises(NotFound, match=message):
            historical_features(world.settings, world.home, wanted, request())
    with pytest.raises(BadInput, match="no views in it"):
        historical_features(world.settings, world.home, [], request())


def test_revisions_have_views_of_their_own_and_services_the_one_in_use(home: Home, world: World) -> None:
    spec = world.snapshot.embeddings["visual"]
    second = spec.model_copy(update={"revision": "another"})
    post = world.snapshot.embeddings["post_visual"]
    other = post.model_copy(update={"revision": "another"})
    keys = {f"visual@{second.digest[:8]}": second, f"post_visual@{other.digest[:8]}": other}
    snapshot = world.snapshot.model_copy(update={"embeddings": world.snapshot.embeddings | keys})
    views = views_of(world.home, snapshot)
    assert views[second.view].path.name == f"embedding_visual@{second.digest[:8]}.parquet"
    assert views[spec.view].path.name == "embedding_visual.parquet"
    assert second.view not in service_views(world.home, snapshot, "m3csr_v1")
    assert spec.view in service_views(world.home, snapshot, "m3csr_v1")
    contexts = [
        name for name in service_views(world.home, snapshot, "amae_v1") if name.startswith("user_context_visual_")
    ]
    assert f"user_context_visual_{post.digest[:8]}" in contexts
    assert f"user_context_visual_{other.digest[:8]}" not in contexts
    assert f"user_context_visual_{other.digest[:8]}" in moment_views_of(world.home, snapshot)


@pytest.mark.parametrize("name", ["Friends", "a b", "x/../y", ""])
def test_a_network_that_cannot_be_part_of_a_name(home: Home, world: World, name: str) -> None:
    edges = read_table(world.home, world.snapshot, "edges")
    renamed = edges.set_column(0, edges.schema.field("network"), pa.array([name] * len(edges)))
    users = read_table(world.home, world.snapshot, "users")
    raw = RawTables({"users": users, "edges": renamed}, {}, world.snapshot.split, "named", "test")
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
    with pytest.raises(BadInput, match="a name that no feature view can have"):
        views_of(home, snapshot)


def test_a_data_set_has_the_services_of_its_tables(
    settings: Settings, home: Home, make_platform: Callable[..., RawTables]
) -> None:
    """Videos without music, posts or networks; and listening without videos."""
    raw = make_platform([(0, 0, -DAY), (1, 1, -DAY)])
    listens = simulate(users=10, videos=50, days=2, seed=1, events=120, listens=100)
    lastfm = {name: listens.tables[name] for name in ("users", "music", "listens", "edges")}
    with home.writing("test"):
        videos, _ = write_snapshot(home, raw)
        assert services_of(videos) == ["interactions_v1", "vbpr_v1", "m3csr_v1", "iris_v1"]
        with pytest.raises(NotFound, match=r"'amae_v1'.*no table listens, music, posts.*'hand'.*interactions_v1"):
            service_views(home, videos, "amae_v1")
        music, _ = write_snapshot(home, RawTables(lastfm, {}, raw.split, "lastfm", "test"))
        assert services_of(music) == ["listens_v1", "mmm_music_v1"]
        apply_features(settings, home)
    networks = {"user_network_follow", "user_network_repost"}
    assert set(service_views(home, music, "mmm_music_v1")) == {"user_listens", *networks}
    assert not moment_views_of(home, music)
    with pytest.raises(NotFound, match=r"'mmm_v1'.*no table interactions in data set 'lastfm'.*mmm_music_v1"):
        load_unjudged_frame(settings, home, "mmm_v1")
