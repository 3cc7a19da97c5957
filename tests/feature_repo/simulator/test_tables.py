"""The tables of a simulated platform: repeatable, whole, and with nothing impossible in them."""

from collections import Counter
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pytest

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.tables import EMBEDDING_PREFIX, check_table
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables
from feature_repo.simulator import PRESETS, generate, plan_of, simulate

SIZE: dict[str, Any] = {"users": 60, "videos": 80, "days": 10, "seed": 1, "events": 900}


def test_sizes_and_schemas(platform: RawTables) -> None:
    rows = {name: table.num_rows for name, table in platform.tables.items()}
    assert (rows["users"], rows["videos"], rows["music"], rows["posts"]) == (400, 300, 100, 1600)
    assert Counter(platform.tables["interactions"]["kind"].to_pylist())["view"] == 8_000
    assert Counter(platform.tables["listens"]["kind"].to_pylist())["listen"] == 2_400
    for name, table in platform.tables.items():
        check_table(name, table)


def test_every_embedding_has_its_spec(platform: RawTables) -> None:
    tables = {name for name in platform.tables if name.startswith(EMBEDDING_PREFIX)}
    assert tables == {EMBEDDING_PREFIX + name for name in platform.specs}
    for name, spec in platform.specs.items():
        assert spec.name == name
        widths = pc.list_value_length(platform.tables[EMBEDDING_PREFIX + name]["vector"])
        assert set(widths.to_pylist()) == {spec.width}


def test_equal_arguments_equal_snapshot(home: Home) -> None:
    with home.writing("test"):
        first, created = write_snapshot(home, simulate(**SIZE))
        again, created_again = write_snapshot(home, simulate(**SIZE))
        other, _ = write_snapshot(home, simulate(**{**SIZE, "seed": 2}))
    assert (created, created_again) == (True, False)
    assert first.id == again.id != other.id


def test_more_posts_leave_the_rest_as_it_is() -> None:
    few, many = simulate(**SIZE, posts=50), simulate(**SIZE, posts=500)
    for table in ("interactions", "edges", "videos", "music", "embedding_visual"):
        assert few.tables[table].equals(many.tables[table]), table
    assert few.tables["posts"].num_rows == 50


def test_nothing_asked_for_no_table() -> None:
    raw = simulate(**SIZE, posts=0, listens=0)
    assert not {"posts", "listens"} & set(raw.tables)
    assert set(raw.specs) == {"visual", "acoustic", "textual", "music_acoustic"}
    assert raw.tables["edges"].num_rows > 0


def test_rows_refer_to_rows(platform: RawTables) -> None:
    known = {
        key: set(platform.tables[table][key].to_pylist())
        for table, key in (("users", "user_id"), ("videos", "video_id"), ("music", "music_id"), ("posts", "post_id"))
    }
    same = {"author_id": "user_id", "source_id": "user_id", "target_id": "user_id"}
    for name, table in platform.tables.items():
        for column in table.column_names:
            key = same.get(column, column)
            if key in known:
                assert set(table[column].to_pylist()) <= known[key], (name, column)
    edges = platform.tables["edges"]
    assert not any(pc.equal(edges["source_id"], edges["target_id"]).to_pylist())
    assert set(edges["network"].to_pylist()) == {"follow", "repost"}


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("interactions", ["user_id", "video_id", "kind"]),
        ("listens", ["user_id", "music_id", "kind", "event_time"]),
        ("edges", ["network", "source_id", "target_id", "event_time"]),
        ("posts", ["post_id"]),
        ("users", ["user_id"]),
        ("videos", ["video_id"]),
        ("music", ["music_id"]),
    ],
)
def test_keys_are_unique(platform: RawTables, table: str, key: list[str]) -> None:
    assert not platform.tables[table].to_pandas().duplicated(key).any()


def test_a_user_follows_another_once(platform: RawTables) -> None:
    edges = platform.tables["edges"].to_pandas()
    assert not edges[edges["network"] == "follow"].duplicated(["source_id", "target_id"]).any()


def test_nothing_happens_before_it_can(platform: RawTables) -> None:
    tables = {name: table.to_pandas() for name, table in platform.tables.items()}
    since = {key: tables[name].set_index(key)["event_time"] for name, key in
             (("users", "user_id"), ("videos", "video_id"), ("music", "music_id"))}  # fmt: skip
    for name, columns in (
        ("interactions", {"user_id": "user_id", "video_id": "video_id"}),
        ("listens", {"user_id": "user_id", "music_id": "music_id"}),
        ("videos", {"author_id": "user_id", "music_id": "music_id"}),
        ("posts", {"user_id": "user_id"}),
        ("edges", {"source_id": "user_id", "target_id": "user_id"}),
    ):
        for column, key in columns.items():
            began = tables[name][column].map(since[key])
            assert (began <= tables[name]["event_time"]).all(), (name, column)
    for name in ("interactions", "listens", "posts", "edges"):
        assert tables[name]["event_time"].is_monotonic_increasing
    period = pd.Timestamp("2025-01-01", tz="UTC"), pd.Timestamp("2025-01-29", tz="UTC")
    assert tables["posts"]["event_time"].between(*period).all()


def test_split_is_at_eighty_and_ninety_percent(platform: RawTables) -> None:
    events = platform.tables["interactions"].to_pandas()
    times = events[events["kind"] == "view"]["event_time"]
    assert not platform.split.nominal
    assert (times < platform.split.train_until).mean() == pytest.approx(0.8, abs=0.001)
    assert (times < platform.split.validation_until).mean() == pytest.approx(0.9, abs=0.001)


def test_a_share_arrives_late(platform: RawTables) -> None:
    for name, table in platform.tables.items():
        rows = table.select(["event_time", "ingested_at"]).to_pandas()
        late = rows["ingested_at"] - rows["event_time"]
        if name in ("interactions", "listens", "posts", "edges") or name.startswith("embedding_post"):
            assert (late > pd.Timedelta(0)).mean() == pytest.approx(0.05, abs=0.02), name
            assert late.max() <= pd.Timedelta(days=15)
        else:
            assert (late == pd.Timedelta(0)).all(), name
    on_time = simulate(**SIZE)
    for table in on_time.tables.values():
        assert table["event_time"].equals(table["ingested_at"])


def test_vectors_of_posts_are_known_with_the_post(platform: RawTables) -> None:
    posts = platform.tables["posts"].to_pandas().set_index("post_id")
    vectors = platform.tables["embedding_post_textual"].to_pandas().set_index("post_id")
    assert set(vectors.index) == set(posts.index[posts["text"].notna()])
    for column in ("event_time", "ingested_at"):
        assert vectors[column].equals(posts.loc[vectors.index, column])


def test_minima_hold() -> None:
    raw = simulate(
        users=50, videos=600, days=10, seed=1, events=1500, music=40, posts=400, listens=400,
        least_videos=8, least_events=12, least_listens=5, least_posts=6,
    )  # fmt: skip
    tables = {name: raw.tables[name].to_pandas() for name in ("videos", "interactions", "listens", "posts")}
    assert tables["videos"]["author_id"].value_counts().reindex([f"u{n}" for n in range(50)]).min() >= 8
    assert tables["videos"]["music_id"].value_counts().reindex([f"m{n}" for n in range(40)]).min() >= 8
    for name, kind, least in (("interactions", "view", 12), ("listens", "listen", 5)):
        rows = tables[name][tables[name]["kind"] == kind]
        assert rows["user_id"].value_counts().reindex([f"u{n}" for n in range(50)]).min() >= least, name
    assert tables["posts"]["user_id"].value_counts().reindex([f"u{n}" for n in range(50)]).min() >= 6


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_have_the_ratios_of_their_tables(name: str) -> None:
    whole, half = plan_of(name, 1.0), plan_of(name, 0.5)
    for count in PRESETS[name].counts:
        assert getattr(half, count) / half.users == pytest.approx(getattr(whole, count) / whole.users, rel=0.01)
    assert plan_of(name, 0.5, days=9).days == 9


def test_presets_are_those_of_the_papers() -> None:
    amae, bgm, tiktok, mmm, iris = (plan_of(name, 1.0) for name in ("amae", "bgm", "m3csr", "mmm", "iris"))
    assert (amae.users, amae.music, amae.listens, amae.posts) == (163_329, 34_140, 17_826_932, 45_276_160)
    assert (bgm.users, bgm.music, bgm.videos, bgm.least_videos) == (16_559, 1_717, 323_843, 10)
    assert (tiktok.users, tiktok.videos, tiktok.events) == (9_319, 6_710, 59_541)
    assert (mmm.users, mmm.videos, mmm.events, mmm.least_events) == (9_412, 19_058, 109_433, 5)
    assert (iris.users, iris.videos, iris.events) == (6_040, 3_685, 998_034)


def test_posts_have_the_shares_of_amae() -> None:
    raw, _ = generate(plan_of("amae", 0.0005, videos=60, events=400, music=30, listens=1000, posts=8_000))
    posts = raw.tables["posts"].to_pandas()
    assert posts["text"].notna().mean() == pytest.approx(41_136_288 / 45_276_160, abs=0.01)
    shown = raw.tables["embedding_post_visual"].num_rows
    assert 0.5 < shown / len(posts) < 0.7


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"users": 9}, "users"), ({"videos": 1}, "videos"), ({"days": 0}, "days"), ({"events": 0}, "events"),
        ({"music": 3}, "music"), ({"posts": -1}, "posts"), ({"listens": -1}, "listens"), ({"late": 0.7}, "late"),
        ({"seed": -1}, "seed"), ({"least_posts": -2}, "least-posts"), ({"post_text": 1.5}, "post-text"),
    ],
)  # fmt: skip
def test_numbers_out_of_range(change: dict[str, float], option: str) -> None:
    with pytest.raises(BadInput, match=f"option --{option}: found .* Next: choose a number in range"):
        simulate(**{**SIZE, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": 20, "videos": 60, "events": 301}, "expected at most 300, a quarter of all user-video pairs"),
        ({"follows": 60 * 59}, "option --follows: found 3,540; expected at most 885, a quarter of all pairs of users"),
        (
            {"least_videos": 2},
            "option --least-videos: found 2 for each of 60, 120 in all; expected at most --videos 80",
        ),
        ({"least_listens": 9}, "option --least-listens: found 9 for each of 60, 540 in all; .* ask for more listens"),
        ({"post_images": 4.0}, "option --post-images: found 4.0; expected at most 3.7575 with --post-video 0.165"),
    ],
)
def test_numbers_that_cannot_be_had_together(change: dict[str, float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        simulate(**{**SIZE, **change})


def test_the_densest_platform_there_can_be() -> None:
    raw = simulate(users=60, videos=50, days=10, seed=1, events=750, least_events=12)
    views = raw.tables["interactions"].filter(pc.field("kind") == "view").to_pandas()
    assert len(views) == 750
    assert views["user_id"].value_counts().reindex([f"u{n}" for n in range(60)]).min() >= 12


def test_presets_and_scales_that_are_not() -> None:
    with pytest.raises(NotFound, match=r"preset 'douyin': .*amae, bgm, iris, m3csr, mmm, small"):
        plan_of("douyin")
    with pytest.raises(BadInput, match=r"option --scale: found 1\.5; expected above 0 and up to 1"):
        plan_of("amae", 1.5)
    with pytest.raises(BadInput, match="option --scale: found no --preset"):
        plan_of(scale=0.5)


def test_specs_name_the_seed() -> None:
    """Vectors of two seeds come of two projections, so they must not meet in one index."""
    one, other = simulate(**SIZE).specs["visual"], simulate(**{**SIZE, "seed": 5}).specs["visual"]
    assert isinstance(one, EmbeddingSpec)
    assert one.digest != other.digest
