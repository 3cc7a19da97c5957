"""Adoption of music as of any instant, and profiles of videos, against loops over all rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.views.builder import BuildContext
from feature_repo.views.builders import BUILDERS
from feature_repo.views.catalogue import FAMILIES, View

Row = dict[str, Any]
WIDTHS = {"acoustic": 1, "visual": 2}


def draw_world(worlds: Any, data: st.DataObject) -> tuple[list[Row], dict[str, list[Row]]]:
    """Videos with music, some rows twice, and vectors in two modalities, some encoded again, before or after."""
    events = data.draw(worlds.events(users="music_id", items="video_id", kinds=(None,)))
    silent = data.draw(st.booleans())
    videos = [row | ({"music_id": None} if silent and row["music_id"] == "u1" else {}) for row in events]
    vectors: dict[str, list[Row]] = {}
    for modality, width in WIDTHS.items():
        one = st.tuples(st.integers(0, 3), st.integers(-4, 4), worlds.instants(), worlds.delays())
        vectors[modality] = [
            {"video_id": f"i{video}", "vector": [float(value)] * width, "event_time": time, "ingested_at": time + late}
            for video, value, time, late in data.draw(st.lists(one, max_size=8))
        ]
    return videos, vectors


def newest_vector(rows: list[Row], video: str, moment: int) -> list[float] | None:
    known = [row for row in rows if row["video_id"] == video and row["ingested_at"] <= moment]
    newest = max(enumerate(known), key=lambda r: (r[1]["event_time"], r[1]["ingested_at"], r[0]), default=None)
    return newest[1]["vector"] if newest else None


def known_adoption(videos: list[Row], vectors: dict[str, list[Row]], music: str, moment: int) -> Row | None:
    adopted = {row["video_id"] for row in videos if row["music_id"] == music and row["ingested_at"] <= moment}
    if not adopted:
        return None
    value: Row = {"videos": len(adopted)}
    for modality, rows in vectors.items():
        found = [vector for video in adopted if (vector := newest_vector(rows, video, moment)) is not None]
        value[modality] = np.mean(found, axis=0).astype(np.float32).tolist() if found else None
    return value


@pytest.mark.parametrize("chunk", [1, 3])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_adoption_equals_the_oracle(worlds: Any, chunk: int, data: st.DataObject) -> None:
    videos, vectors = draw_world(worlds, data)
    specs = {modality: worlds.spec(modality, width) for modality, width in WIDTHS.items()}
    embeddings = {f"embedding_{name}": worlds.table(f"embedding_{name}", rows) for name, rows in vectors.items()}

    def build(rows: list[Row], newest: bool = False) -> list[Row]:
        tables = {"videos": worlds.table("videos", rows), **embeddings}
        with worlds.limits(chunk=chunk):
            return list(worlds.build("music_adoption", tables, specs, newest=newest))

    found = build(videos)
    assert build(videos, newest=True) == worlds.newest_of(found)
    arrivals = [row["ingested_at"] for rows in (videos, *vectors.values()) for row in rows]
    for music in ("u0", "u1", "u2"):
        for moment in worlds.probes(arrivals):
            value = worlds.value_at(found, music, moment)
            expected = known_adoption(videos, vectors, music, moment)
            assert (value is None) == (expected is None), (music, moment - worlds.ZERO)
            if value and expected:
                assert value["videos"] == expected["videos"]
                for modality in WIDTHS:
                    assert value[modality] == (expected[modality] and pytest.approx(expected[modality], rel=1e-6))
        assert build([row for row in videos if row["music_id"] == music]) == [r for r in found if r["key"] == music]


def test_a_vector_older_than_the_known_one_changes_nothing(worlds: Any) -> None:
    time = worlds.ZERO
    videos = [{"video_id": "v", "music_id": "m", "event_time": time, "ingested_at": time}]
    vectors = [
        {"video_id": "v", "vector": [value], "event_time": happened, "ingested_at": known}
        for value, happened, known in [(1.0, time + 5, time + 5), (2.0, time + 4, time + 9)]
    ]
    tables = {
        "videos": worlds.table("videos", videos),
        "embedding_acoustic": worlds.table("embedding_acoustic", vectors),
    }
    assert worlds.build("music_adoption", tables, {"acoustic": worlds.spec("acoustic", 1)}) == [
        {"key": "m", "at": time, "videos": 1, "acoustic": None},
        {"key": "m", "at": time + 5, "videos": 1, "acoustic": [1.0]},
    ]


def test_adoption_without_embeddings_counts(worlds: Any) -> None:
    moment = {"event_time": worlds.ZERO, "ingested_at": worlds.ZERO + 1}
    videos = [{"video_id": f"v{n}", "music_id": "m"} | moment for n in range(3)]
    assert worlds.build("music_adoption", {"videos": worlds.table("videos", videos)}) == [
        {"key": "m", "at": worlds.ZERO + 1, "videos": 3}
    ]


def test_profiles_are_the_rows_of_the_table(worlds: Any) -> None:
    """Sorted, a repeated row once, each known from when it was, with its publication as a feature."""
    rows = [
        {
            "video_id": video,
            "author_id": author,
            "title": "t",
            "duration": 1.5,
            "event_time": time,
            "ingested_at": known,
        }
        for video, author, time, known in [("b", "u1", 5, 9), ("a", "u2", 7, 7), ("b", "u1", 3, 8), ("b", "u1", 5, 9)]
    ]
    table = worlds.table("videos", rows)
    family = FAMILIES["video_profile"]
    snapshot = worlds.snapshot({"videos": table})
    builder = BUILDERS["video_profile"](View("video_profile", "video", family.features, Path()), snapshot)
    with worlds.limits(chunk=2):
        chunks = list(builder.build({"videos": table}, BuildContext(snapshot, Path())))
    assert [chunk.num_rows for chunk in chunks] == [2, 1]
    found = pa.concat_tables(chunks)
    assert found["video_id"].to_pylist() == ["a", "b", "b"]
    assert found["author_id"].to_pylist() == ["u2", "u1", "u1"]
    assert found["published_at"].to_pylist() == [7, 3, 5]
    assert found["event_time"].cast(pa.int64()).to_pylist() == [7, 3, 5]
    assert found["ingested_at"].cast(pa.int64()).to_pylist() == [7, 8, 9]
