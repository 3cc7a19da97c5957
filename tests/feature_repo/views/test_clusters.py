"""Clusters of content: assignment against a loop, centres that are fitted on the past and stay."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.views.clusters import CLUSTERS, Centres, centres_directory
from feature_repo.views.kmeans import k_means, nearest

Row = dict[str, Any]
WIDTHS = {"acoustic": 1, "visual": 2}


def specs_of(worlds: Any) -> dict[str, Any]:
    return {modality: worlds.spec(modality, width) for modality, width in WIDTHS.items()}


def tables_of(worlds: Any, vectors: dict[str, list[Row]]) -> dict[str, Any]:
    tables = {f"embedding_{name}": worlds.table(f"embedding_{name}", rows) for name, rows in vectors.items()}
    return tables | {"videos": worlds.table("videos", [])}


def vector(video: str, numbers: list[float], time: int, late: int = 0) -> Row:
    return {"video_id": video, "vector": numbers, "event_time": time, "ingested_at": time + late}


def content_of(vectors: dict[str, list[Row]], video: str, moment: int, centres: Centres) -> np.ndarray | None:
    """Standardised content as known at a moment: zeros for a modality the video lacks; None if it lacks all."""
    parts, start, some = [], 0, False
    for modality, width in WIDTHS.items():
        known = [row for row in vectors[modality] if row["video_id"] == video and row["ingested_at"] <= moment]
        columns = slice(start, start + width)
        start += width
        if known:
            newest = max(enumerate(known), key=lambda r: (r[1]["event_time"], r[1]["ingested_at"], r[0]))[1]
            parts.append((np.array(newest["vector"]) - centres.mean[columns]) / centres.scale[columns])
            some = True
        else:
            parts.append(np.zeros(width))
    return np.concatenate(parts) if some else None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_assignment_equals_the_oracle(
    worlds: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    vectors: dict[str, list[Row]] = {}
    for modality, width in WIDTHS.items():
        one = st.tuples(
            st.integers(0, 3), st.lists(st.floats(-9, 9, width=16), min_size=width, max_size=width),
            worlds.instants(), worlds.delays(),
        )  # fmt: skip
        drawn = data.draw(st.lists(one, max_size=8))
        vectors[modality] = [vector(f"v{video}", numbers, time, late) for video, numbers, time, late in drawn]
    root = tmp_path_factory.mktemp("centres")
    rng = np.random.default_rng(1)
    specs, tables = specs_of(worlds), tables_of(worlds, vectors)
    centres = Centres(
        rng.normal(size=(3, 3)).astype(np.float32),
        rng.normal(size=3).astype(np.float32),
        rng.uniform(1, 2, 3).astype(np.float32),
    )
    centres.save(centres_directory(root, worlds.snapshot(tables, specs)), {})
    with worlds.limits(chunk=2):
        found = worlds.build("video_clusters", tables, specs, centres=root)
    arrivals = [row["ingested_at"] for rows in vectors.values() for row in rows]
    for video in ("v0", "v1", "v2", "v3"):
        for moment in worlds.probes(arrivals):
            value = worlds.value_at(found, video, moment)
            content = content_of(vectors, video, moment, centres)
            assert (value is None) == (content is None), (video, moment - worlds.ZERO)
            if value is not None:
                distances = np.linalg.norm(centres.centres - content, axis=1)
                assert value["distance"] == pytest.approx(distances.min(), abs=1e-4)
                assert distances[value["cluster"]] == pytest.approx(distances.min(), abs=1e-4)
        own = {name: [row for row in rows if row["video_id"] == video] for name, rows in vectors.items()}
        alone = worlds.build("video_clusters", tables_of(worlds, own), specs, centres=root)
        assert alone == [row for row in found if row["key"] == video]
        values = [(row["cluster"], row["distance"]) for row in found if row["key"] == video]
        assert all(before != after for before, after in pairwise(values)), "rows that say nothing"


def blobs(
    worlds: Any, videos: int, start: int = 0, time: int | None = None, shift: float = 0.0
) -> dict[str, list[Row]]:
    """Videos in four well separated groups by number; every third lacks the acoustic vector."""
    rng = np.random.default_rng(start)
    time = worlds.ZERO if time is None else time
    vectors: dict[str, list[Row]] = {"acoustic": [], "visual": []}
    for n in range(start, start + videos):
        corner = np.array([[0, 0], [0, 50], [50, 0], [50, 50]])[n % 4] + rng.normal(size=2) + shift
        vectors["visual"].append(vector(f"v{n}", corner.tolist(), time))
        if n % 3:
            vectors["acoustic"].append(vector(f"v{n}", [float(rng.normal())], time))
    return vectors


def joined(*worlds_of_vectors: dict[str, list[Row]]) -> dict[str, list[Row]]:
    return {name: [row for vectors in worlds_of_vectors for row in vectors[name]] for name in WIDTHS}


def test_centres_are_of_the_past_and_stay(worlds: Any, tmp_path: Path) -> None:
    """Later videos neither move the centres nor the clusters of others; they join the nearest."""
    specs, early = specs_of(worlds), blobs(worlds, 40)
    late = blobs(worlds, 24, start=40, time=worlds.ZERO + 5 * worlds.DAY, shift=5.0)

    def build(vectors: dict[str, list[Row]], root: Path) -> dict[str, int]:
        tables = tables_of(worlds, vectors)
        rows = worlds.build("video_clusters", tables, specs, centres=root)
        assert len(rows) == len(vectors["visual"])
        return {row["key"]: row["cluster"] for row in rows}

    directory = centres_directory(tmp_path / "a", worlds.snapshot({}, specs))
    first = build(early, tmp_path / "a")
    kept = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert sorted(kept) == ["about.json", "centres.npy", "mean.npy", "scale.npy"]
    assert Centres.load(directory).centres.shape == (40 // 8, 3)
    visual = np.array([row["vector"] for row in early["visual"]])
    np.testing.assert_allclose(Centres.load(directory).mean[1:], visual.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(Centres.load(directory).scale[1:], visual.std(axis=0), rtol=1e-5)

    both = build(joined(early, late), tmp_path / "a")
    assert {video: both[video] for video in first} == first
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == kept
    assert build(joined(early, late), tmp_path / "b") == both, "what comes after training ends takes no part"
    groups = [{both[f"v{n}"] for n in range(64) if n % 4 == group} for group in range(4)]
    assert all(not one & other for k, one in enumerate(groups) for other in groups[:k])


def test_centres_of_data_without_a_past(worlds: Any, tmp_path: Path) -> None:
    """Where all videos appear after training ends, all are taken; one cluster for every eight, and one at least."""
    vectors = blobs(worlds, 7, time=worlds.ZERO + 5 * worlds.DAY)
    rows = worlds.build("video_clusters", tables_of(worlds, vectors), specs_of(worlds), centres=tmp_path)
    assert {row["cluster"] for row in rows} == {0}
    assert len(rows) == 7
    none: dict[str, list[Row]] = {"acoustic": [], "visual": []}
    assert worlds.build("video_clusters", tables_of(worlds, none), specs_of(worlds), centres=tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_other_encoders_have_other_centres(worlds: Any) -> None:
    one, other = (worlds.snapshot({}, {"visual": worlds.spec("visual", width)}) for width in (2, 3))
    assert centres_directory(Path(), one) != centres_directory(Path(), other)
    assert centres_directory(Path(), one) == centres_directory(Path(), one.model_copy(update={"id": "later"}))


def test_k_means_is_the_same_for_the_same_seed() -> None:
    content = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    centres, labels = k_means(content, CLUSTERS, seed=2)
    again, _ = k_means(content, CLUSTERS, seed=2)
    np.testing.assert_array_equal(centres, again)
    assert centres.shape == (CLUSTERS, 4)
    np.testing.assert_array_equal(nearest(content, centres)[0], labels)
    np.testing.assert_allclose(
        nearest(content, centres)[1], np.linalg.norm(content - centres[labels], axis=1), rtol=1e-4
    )
