"""The simulator: repeatable, heavy-tailed, with something to learn and nothing impossible in it."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from contracts.errors import BadInput
from contracts.tables import check_table
from feature_repo.raw_tables import RawTables
from feature_repo.simulator import simulate


@pytest.fixture(scope="module")
def platform() -> RawTables:
    return simulate(users=400, videos=300, days=28, seed=7, events=8_000)


def views(platform: RawTables) -> pd.DataFrame:
    events: pd.DataFrame = platform.tables["interactions"].to_pandas()
    return events[events["kind"] == "view"]


def test_sizes_and_schemas(platform: RawTables) -> None:
    rows = {name: table.num_rows for name, table in platform.tables.items()}
    assert (rows["users"], rows["videos"], rows["music"], rows["posts"]) == (400, 300, 100, 1600)
    assert Counter(platform.tables["interactions"]["kind"].to_pylist())["view"] == 8_000
    assert Counter(platform.tables["listens"]["kind"].to_pylist())["listen"] == 2_400
    assert set(platform.specs) == {name.removeprefix("embedding_") for name in rows if name.startswith("embedding_")}
    for name, table in platform.tables.items():
        check_table(name, table)


def test_one_seed_one_platform(platform: RawTables) -> None:
    again = simulate(users=400, videos=300, days=28, seed=7, events=8_000)
    other = simulate(users=400, videos=300, days=28, seed=8, events=8_000)
    for name, table in platform.tables.items():
        columns = [column for column in table.column_names if column != "ingested_at"]
        assert table.select(columns).equals(again.tables[name].select(columns))
    assert not platform.tables["interactions"]["video_id"].equals(other.tables["interactions"]["video_id"])


def test_nothing_is_watched_twice_or_before_its_publication(platform: RawTables) -> None:
    events, videos = views(platform), platform.tables["videos"].to_pandas()
    assert not events.duplicated(["user_id", "video_id"]).any()
    published = events["video_id"].map(videos.set_index("video_id")["event_time"])
    assert (published <= events["event_time"]).all()
    assert events["event_time"].is_monotonic_increasing


def test_split_is_at_eighty_and_ninety_percent(platform: RawTables) -> None:
    times = views(platform)["event_time"]
    assert not platform.split.nominal
    assert (times < platform.split.train_until).mean() == pytest.approx(0.8, abs=0.001)
    assert (times < platform.split.validation_until).mean() == pytest.approx(0.9, abs=0.001)


def test_views_and_activity_are_heavy_tailed(platform: RawTables) -> None:
    for column in ("video_id", "user_id"):
        counts = np.sort(list(Counter(views(platform)[column]).values()))[::-1]
        top_tenth = counts[: len(counts) // 10].sum() / counts.sum()
        assert 0.2 < top_tenth < 0.7


def test_viewers_of_a_video_agree_and_content_tells(platform: RawTables) -> None:
    """A user's videos look more alike than videos of the same popularity at random, in every modality."""
    events = views(platform)
    rows = events["video_id"].str[1:].astype(int).to_numpy()
    users = events["user_id"].to_numpy()
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(rows)
    for modality in ("visual", "acoustic", "textual"):
        vectors = np.array(platform.tables[f"embedding_{modality}"]["vector"].to_pylist())
        vectors -= vectors.mean(axis=0)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        order = np.argsort(users, kind="stable")
        same = users[order][1:] == users[order][:-1]
        own = (vectors[rows[order][1:]] * vectors[rows[order][:-1]]).sum(axis=1)[same].mean()
        chance = (vectors[shuffled[1:]] * vectors[shuffled[:-1]]).sum(axis=1).mean()
        assert own > chance + 0.02, modality


@pytest.mark.parametrize(
    ("change", "option"),
    [({"users": 9}, "users"), ({"videos": 1}, "videos"), ({"days": 0}, "days"), ({"events": 0}, "events")],
)
def test_numbers_out_of_range(change: dict[str, int], option: str) -> None:
    with pytest.raises(BadInput, match=f"option --{option}: found"):
        simulate(**({"users": 20, "videos": 60, "days": 5, "seed": 1, "events": 200} | change))


def test_more_events_than_the_platform_can_hold() -> None:
    with pytest.raises(BadInput, match="expected at most 300, a quarter of all user-video pairs"):
        simulate(users=20, videos=60, days=5, seed=1, events=301)
