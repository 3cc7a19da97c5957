"""No behaviour knows the future: the training frame against loops too simple to be wrong."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts.errors import NotFound
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.apply import apply_features
from feature_repo.frame import TrainingFrame, load_all_events, load_unjudged_frame
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables, microseconds
from feature_repo.views.derived import ensure_derived

CUT = datetime(2025, 3, 1, tzinfo=UTC)
"""As in ``conftest.py``."""

S, US, H, D = timedelta(seconds=1), timedelta(microseconds=1), timedelta(hours=1), timedelta(days=1)

EDGES = [
    (0, 0, -9 * H),
    (0, 1, -8 * H),
    (1, 1, -8 * H),  # two users, one video, one instant
    (0, 2, -7 * H),
    (0, 3, -7 * H),  # one user, two videos, one instant
    (0, 0, -6 * H),  # seen again
    (1, 0, -S),
    (1, 2, -US),
    (1, 3, 0 * H),  # the cut itself is validation
    (1, 4, S),
    (0, 1, 2 * H),  # already in training
    (0, 4, D - US),
    (2, 0, D),  # test begins
    (1, 4, D + H),  # already in validation
    (2, 1, 2 * D),
    (2, 0, 3 * D),  # twice in test
]
PUBLISHED = [-30 * D, -30 * D, -US, 0 * H, 9 * D]


def oracle_history(events: list[dict[str, Any]], user: str) -> list[str]:
    """The last 50 videos of a user; equal events count once, and those of one instant are in order of their ids."""
    seen = {(event["event_time"], event["video_id"]) for event in events if event["user_id"] == user}
    return [video for _, video in sorted(seen)[-50:]]


def oracle_popularity(events: list[dict[str, Any]], video: str) -> int:
    return len({(event["event_time"], event["user_id"]) for event in events if event["video_id"] == video})


def busy_platform(make_platform: Callable[..., RawTables]) -> RawTables:
    """Many events on few instants, so that ties and full histories abound."""
    rng = np.random.default_rng(3)
    return make_platform(
        [
            (int(user), int(video), (int(instant) - 150) * S)
            for user, video, instant in zip(
                rng.integers(3, size=400), rng.integers(5, size=400), rng.integers(200, size=400), strict=True
            )
        ]
    )


@pytest.fixture
def frame(settings: Settings, home: Home, make_platform: Callable[..., RawTables]) -> TrainingFrame:
    with home.writing("test"):
        write_snapshot(home, make_platform(EDGES, published=PUBLISHED))
        apply_features(settings, home)
    return load_unjudged_frame(settings, home, "m3csr_v1")


def test_frame_at_the_edges(settings: Settings, home: Home, frame: TrainingFrame) -> None:
    """Rows one second and one microsecond either side of both cuts, by hand."""
    assert frame.train.tolist() == [[0, 0], [0, 1], [1, 1], [0, 2], [0, 3], [1, 0], [1, 2]]
    assert frame.validation.tolist() == [[1, 3], [1, 4], [0, 4]]
    assert load_all_events(home, frame).parts(frame.snapshot.split)[2].pairs.tolist() == [[2, 0], [2, 1]]
    assert frame.popularity.tolist() == [3, 2, 2, 1, 0]
    assert frame.history[:, :6].tolist() == [[0, 1, 2, 3, 0, -1], [1, 0, 2, -1, -1, -1], [-1] * 6]
    assert (frame.history[:, 6:] == -1).all()
    assert frame.users.ids([0, 2]) == ["user-0", "user-2"]
    assert frame.items.ids([4]) == ["video-4"]
    # Videos 3 and 4 appear at the cut or after the last event, and have their content; odd videos have no sound.
    assert list(frame.modalities) == ["acoustic", "visual"]
    assert frame.missing["visual"].tolist() == [False] * 5
    assert frame.missing["acoustic"].tolist() == [False, True, False, True, False]
    assert frame.modalities["visual"].tolist() == [[0, 0], [1, 1], [2, 2], [3, 3], [4, 4]]
    assert frame.modalities["acoustic"].tolist() == [[0], [0], [-2], [0], [-4]]
    assert frame.modalities["visual"].dtype == np.float32
    assert frame.specs == {name: frame.snapshot.embeddings[name] for name in ("acoustic", "visual")}
    only_events = load_unjudged_frame(settings, home, "interactions_v1", frame.snapshot)
    assert (only_events.modalities, only_events.missing, only_events.specs) == ({}, {}, {})
    np.testing.assert_array_equal(only_events.history, frame.history)
    np.testing.assert_array_equal(only_events.popularity, frame.popularity)


def test_frame_equals_the_oracle_on_a_busy_platform(
    settings: Settings, home: Home, make_platform: Callable[..., RawTables]
) -> None:
    raw = busy_platform(make_platform)
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
        apply_features(settings, home)
    frame = load_unjudged_frame(settings, home, "interactions_v1")
    cut = snapshot.split.train_until
    before = [event for event in raw.tables["interactions"].to_pylist() if event["event_time"] < cut]
    assert len(before) > 150
    for row, user in enumerate(frame.users.ids(range(3))):
        history = frame.history[row]
        assert frame.items.ids(history[history >= 0]) == oracle_history(before, user)
    videos = frame.items.ids(range(5))
    assert frame.popularity.tolist() == [oracle_popularity(before, video) for video in videos]


def test_late_events_count_in_the_part_in_which_they_arrive(
    settings: Settings, home: Home, make_platform: Callable[..., RawTables]
) -> None:
    """Hand-made arrivals on both sides of both cuts, at the cuts themselves, and a pair that arrives twice."""
    arrivals = [
        (0, 0, -3 * H, -2 * H),  # late, and known in time
        (0, 1, -3 * H, -US),  # at the last microsecond
        (0, 2, -3 * H, 0 * H),  # at the cut
        (0, 3, -3 * H, 5 * H),
        (1, 0, -3 * H, D),  # at the second cut
        (1, 1, 3 * H, 2 * D),
        (2, 0, -3 * H, 6 * H),  # late, and again in time
        (2, 0, -2 * H, -H),
    ]
    raw = make_platform([(user, video, when) for user, video, when, _ in arrivals])
    events = raw.tables["interactions"]
    known = pa.array([CUT + arrival for *_, arrival in arrivals], events.schema.field("ingested_at").type)
    place = events.schema.get_field_index("ingested_at")
    tables = raw.tables | {"interactions": events.set_column(place, events.schema.field(place), known)}
    with home.writing("test"):
        write_snapshot(home, replace(raw, tables=tables))
        apply_features(settings, home)
    frame = load_unjudged_frame(settings, home, "interactions_v1")
    assert frame.train.tolist() == [[0, 0], [2, 0], [0, 1]]
    assert frame.validation.tolist() == [[0, 2], [0, 3]]
    assert load_all_events(home, frame).parts(frame.snapshot.split)[2].pairs.tolist() == [[1, 0], [1, 1]]
    assert [sorted(row[row >= 0].tolist()) for row in frame.history] == [[0, 1], [], [0]], "the pairs of training"


def test_content_is_the_newest_and_behaviour_that_of_training(
    settings: Settings, home: Home, make_platform: Callable[..., RawTables]
) -> None:
    """Videos encoded again, before and after the cut, against a loop over all rows."""
    rng = np.random.default_rng(5)
    raw = make_platform(EDGES)
    table, parts = raw.tables["embedding_visual"], []
    for moment in (-2 * D, -US, 0 * H, D, 30 * D):
        rows = np.flatnonzero(rng.random(table.num_rows) < 0.6)
        again = table.take(pa.array(rows))
        times = pa.array([CUT + moment] * len(rows), again.schema.field("event_time").type)
        vectors = pa.array([[float(v), moment / S] for v in rows], again.schema.field("vector").type)
        for name in ("event_time", "ingested_at"):
            again = again.set_column(again.schema.get_field_index(name), again.schema.field(name), times)
        parts.append(again.set_column(again.schema.get_field_index("vector"), again.schema.field("vector"), vectors))
    encoded = pa.concat_tables([table, *parts])
    with home.writing("test"):
        write_snapshot(home, replace(raw, tables=raw.tables | {"embedding_visual": encoded}))
        apply_features(settings, home)
    frame = load_unjudged_frame(settings, home, "vbpr_v1")
    newest: dict[str, tuple[int, list[float]]] = {}
    for row in encoded.to_pylist():
        newest[row["video_id"]] = max(
            newest.get(row["video_id"], (0, [])), (microseconds(row["event_time"]), row["vector"])
        )
    expected = np.array([newest[video][1] for video in frame.items.ids(range(5))], np.float32)
    np.testing.assert_array_equal(frame.modalities["visual"], expected)
    assert (expected[:, 1] == 30 * D / S).any()
    assert frame.popularity.tolist() == [3, 2, 2, 1, 0]
    assert frame.history[:, :6].tolist() == [[0, 1, 2, 3, 0, -1], [1, 0, 2, -1, -1, -1], [-1] * 6]


def test_unknown_ids_are_left_out(settings: Settings, home: Home, make_platform: Callable[..., RawTables]) -> None:
    """An event of a video that no table knows reaches neither pairs nor histories."""
    raw = make_platform([(0, 4, -2 * H), (0, 1, -H), (1, 4, -H)])
    tables = raw.tables | {name: raw.tables[name][:4] for name in ("videos", "embedding_visual")}
    with home.writing("test"):
        write_snapshot(home, RawTables(tables, raw.specs, raw.split, raw.dataset, raw.source))
        apply_features(settings, home)
    frame = load_unjudged_frame(settings, home, "interactions_v1")
    assert frame.train.tolist() == [[0, 1]]
    assert frame.history[:, :2].tolist() == [[1, -1], [-1, -1], [-1, -1]]


def test_frame_needs_known_and_applied_features(
    settings: Settings, home: Home, make_platform: Callable[..., RawTables]
) -> None:
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, make_platform(EDGES))
    with pytest.raises(NotFound, match=r"feature service 'm3csr_v2'.*'m3csr_v1'"):
        load_unjudged_frame(settings, home, "m3csr_v2")
    with pytest.raises(NotFound, match=r"features of snapshot .*backbeat features apply"):
        load_unjudged_frame(settings, home, "m3csr_v1")
    with home.writing("test"):
        assert ensure_derived(home, snapshot)[1]
        assert not ensure_derived(home, snapshot)[1]
    with pytest.raises(NotFound, match="backbeat features apply"):
        load_unjudged_frame(settings, home, "m3csr_v1")
