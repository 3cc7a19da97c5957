"""Measuring tables of vectors, against slow loops and hand-worked rows."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from contracts.files import directory_written_whole
from contracts.tables import TIMESTAMP, embedding_schema
from validation.statistics import blocks
from validation.statistics.profile import Measured, Profile, dead_dimensions, measure_vectors, newly_dead
from validation.statistics.sampling import NEW_SAMPLE, SAMPLE, rows_beyond, sample_rows

HOUR = 3_600_000_000


def _spec(width: int) -> EmbeddingSpec:
    return EmbeddingSpec(
        modality="visual",
        encoder="test",
        revision="1",
        preprocessing="none",
        width=width,
        dtype="float32",
        normalisation="none",
    )


def _times(hours: list[float]) -> pa.Array:
    return pa.array([int(hour * HOUR) for hour in hours], pa.int64()).cast(TIMESTAMP)


def _embeddings(ids: list[str], vectors: list | np.ndarray, hours: list[float] | None = None) -> pa.Table:
    times = _times(hours or [0.0] * len(ids))
    lists = pa.array(list(vectors), pa.list_(pa.float32()))
    return pa.table([pa.array(ids, pa.string()), lists, times, times], schema=embedding_schema())


def _videos(ids: list[str], hours: list[float] | None = None) -> pa.Table:
    return pa.table({"video_id": pa.array(ids, pa.string()), "event_time": _times(hours or [0.0] * len(ids))})


def _measured(vectors: np.ndarray, ids: list[str] | None = None) -> Measured:
    ids = ids or [f"v{row}" for row in range(len(vectors))]
    return measure_vectors(_embeddings(ids, vectors), _videos(ids), "video_id", _spec(vectors.shape[1]))


def test_facts_of_hand_worked_vectors() -> None:
    inf, nan = math.inf, math.nan
    rows: dict[str, list[float | None] | None] = {
        "plain": [3.0, 4.0],
        "again": [3.0, 4.0],
        "zero": [0.0, -0.0],
        "flat": [5.0, 5.0],
        "nan": [nan, 10.0],
        "inf": [-inf, nan],
        "short": [1.0],
        "hole": [None, 5.0],
        "stranger": [6.0, 8.0],
    }
    known = [name for name in rows if name != "stranger"] + ["absent"]
    table = _embeddings(list(rows), list(rows.values()))
    measured = measure_vectors(table, _videos(known), "video_id", _spec(2))
    facts = measured.rows.set_index("video_id")

    assert list(facts.index) == [*rows, "absent"]
    assert facts.index[~facts["known"]].tolist() == ["stranger"]
    assert facts.index[~facts["present"]].tolist() == ["absent"]
    assert facts["width"].dropna().to_dict() == {name: 1 if name == "short" else 2 for name in rows}
    nonfinite = facts["nonfinite"].dropna()
    assert nonfinite[nonfinite > 0].to_dict() == {"nan": 1, "inf": 2, "hole": 1}
    assert set(nonfinite.index) == set(rows) - {"short"}
    assert facts.index[facts["zero"] == True].tolist() == ["zero", "inf"]  # noqa: E712
    assert facts.index[facts["constant"] == True].tolist() == ["flat"]  # noqa: E712
    assert facts.index[facts["repeated"] == True].tolist() == ["again"]  # noqa: E712
    assert facts["repeated"].dropna().index.tolist() == ["plain", "again", "flat", "nan", "hole", "stranger"]
    # Sound norms: 5, 5, 5√2, 10.
    assert facts.loc["stranger", "relative_norm"] == pytest.approx(10 / ((5 + 5 * math.sqrt(2)) / 2))
    assert measured.profile.ids.to_pylist() == ["plain", "again", "flat", "stranger"]
    statistics = measured.profile.statistics
    assert statistics["rows"] == 9
    assert statistics["zero_share"] == 2 / 8
    assert statistics["constant_share"] == 1 / 8
    assert statistics["repeated_share"] == 1 / 4
    assert statistics["coverage"] == 3 / 9


@pytest.mark.parametrize("values_at_once", [1, 35, 1 << 20])
def test_facts_are_those_of_a_slow_loop_whatever_the_block(
    values_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_VALUES", values_at_once)
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(101, 5)).astype(np.float32)
    matrix[rng.integers(0, 101, 40)] = matrix[0]
    matrix[rng.random(matrix.shape) < 0.05] = np.nan
    lists: list = [row[:4] if place % 17 == 3 else None if place % 17 == 5 else row for place, row in enumerate(matrix)]
    ids = [f"v{row}" for row in range(101)]
    schema = embedding_schema()
    nullable = pa.schema([schema.field(0), pa.field("vector", pa.list_(pa.float32())), *list(schema)[2:]])
    whole = pa.table([ids, pa.array(lists, pa.list_(pa.float32())), _times([0] * 101), _times([0] * 101)], nullable)
    table = pa.concat_tables([whole.slice(0, 40), whole.slice(40, 0), whole.slice(40)])
    measured = measure_vectors(table, _videos(ids), "video_id", _spec(5))

    seen: set[bytes] = set()
    for place, vector in enumerate(lists):
        row = measured.rows.iloc[place]
        if vector is None or len(vector) < 5:
            assert row["width"] == (0 if vector is None else 4)
            assert row[["nonfinite", "zero", "norm", "repeated"]].isna().all()
            continue
        finite = [float(x) for x in vector if math.isfinite(x)]
        assert row["norm"] == pytest.approx(math.sqrt(sum(x * x for x in finite)), rel=1e-5)
        assert row["nonfinite"] == 5 - len(finite)
        assert row["repeated"] == (vector.tobytes() in seen)
        seen.add(vector.tobytes())
    sound = [place for place, v in enumerate(lists) if v is not None and len(v) == 5 and np.isfinite(v).all()]
    assert measured.profile.ids.to_pylist() == [ids[place] for place in sound]
    np.testing.assert_allclose(measured.profile.mean, matrix[sound].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(measured.profile.variance, matrix[sound].var(axis=0), rtol=1e-4)
    np.testing.assert_array_equal(measured.profile.sample, matrix[sound][measured.profile.sample_rows])


def test_a_profile_has_the_newest_sound_row_of_each_entity() -> None:
    table = _embeddings(
        ["a", "b", "a", "b", "c", "a"], [[1, 2], [3, 4], [1, 2], [math.nan, 1], [1, 2], [7, 8]], [3, 1, 2, 5, 0, 1]
    )
    measured = measure_vectors(table, _videos(["a", "b", "c"]), "video_id", _spec(2))
    profile = measured.profile
    norms = dict(zip(profile.ids.to_pylist(), profile.norms.tolist(), strict=True))
    assert norms == pytest.approx({"a": math.sqrt(5), "b": 5.0, "c": math.sqrt(5)})
    assert measured.rows["repeated"].tolist() == [False, False, False, False, True, False], (
        "an entity's own earlier vector is not another's"
    )
    assert profile.statistics["rows"] == 6
    assert profile.statistics["repeated_share"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("vectors", "absent"),
    [
        (np.zeros((0, 3)), {"zero_share", "norm_median", "effective_rank", "dead_dimensions", "repeated_share"}),
        (np.ones((1, 3)), {"effective_rank", "dead_dimensions", "hub_share"}),
        (np.ones((60, 3)), {"effective_rank", "top_eigenvalue_share", "hub_share", "hubness_skewness"}),
        (np.zeros((4, 3)), {"norm_median", "repeated_share", "clipped_share"}),
        (np.full((4, 3), np.nan), {"norm_median", "repeated_share", "near_duplicate_share"}),
    ],
    ids=["empty", "one", "identical", "zero", "nan"],
)
def test_what_cannot_be_measured_is_absent(vectors: np.ndarray, absent: set[str], tmp_path: Path) -> None:
    profile = _measured(vectors.astype(np.float32)).profile
    assert not absent & set(profile.statistics)
    assert profile.statistics["rows"] == len(vectors)
    assert all(math.isfinite(value) for value in [*profile.statistics.values(), *profile.errors.values()])
    profile.save(tmp_path)
    assert Profile.load(tmp_path).statistics == profile.statistics


def test_a_table_of_equal_vectors_is_all_repeats_and_dead_dimensions() -> None:
    statistics = _measured(np.full((60, 3), 0.1, np.float32)).profile.statistics
    assert statistics["repeated_share"] == pytest.approx(59 / 60)
    assert statistics["dead_dimensions"] == 3
    assert statistics["clipped_share"] == 0


def test_one_vector_and_some_noise_has_no_spread() -> None:
    noise = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    assert _measured(noise).profile.statistics["relative_spread"] > 0.9
    assert _measured(1 + 1e-5 * noise).profile.statistics["relative_spread"] == pytest.approx(1e-5, rel=0.1)


def test_variance_survives_a_large_mean_and_large_values_do_not_overflow() -> None:
    rng = np.random.default_rng(0)
    matrix = (rng.normal(size=(3000, 4)) * 0.5 + 1e4).astype(np.float32)
    matrix[:, 2] = 1e4
    profile = _measured(matrix).profile
    np.testing.assert_allclose(profile.variance, matrix.astype(np.float64).var(axis=0), rtol=1e-3)
    assert dead_dimensions(profile.variance).tolist() == [2]
    big = np.float32(np.finfo(np.float32).max)
    measured = _measured(np.array([[big, big], [big, -big]]))
    assert measured.rows["relative_norm"].tolist() == [1.0, 1.0]
    assert np.isfinite(measured.profile.variance).all()
    tiny = _measured(np.array([[1e-30, 0], [-1e-30, 0]], np.float32)).profile
    assert tiny.statistics["relative_spread"] == pytest.approx(1.0)
    assert _measured(np.full((2, 2), 1e-30, np.float32)).rows["zero"].tolist() == [False, False]


def test_only_a_dimension_that_was_lively_is_newly_dead() -> None:
    matrix = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    matrix[:, 1] *= 1e-2
    matrix[:, 3] = 1
    before = _measured(matrix).profile
    matrix[:, 0], matrix[:, 1] = 0.3, 0.2
    assert newly_dead(before, _measured(matrix).profile).tolist() == [0]


def test_float16_rounds_saturates_and_vanishes() -> None:
    facts = _measured(np.array([[1.1, 2.3], [65504, 1], [1e6, 0], [1e-9, 1e-9], [4e-6, 0]], np.float32)).rows
    errors = facts["fp16_error"]
    assert errors[0] == 2**-11
    assert errors[1] == errors[2] == math.inf
    assert errors[3] == pytest.approx(1.0)
    assert errors[4] == pytest.approx(abs(float(np.float16(4e-6)) - 4e-6) / 4e-6, rel=1e-3)


def test_how_far_vectors_lag_behind_their_owners() -> None:
    ids = [f"v{row}" for row in range(100)]
    hours = [float(row) for row in range(100)]
    vectors = np.random.default_rng(0).normal(size=(97, 3)).astype(np.float32)
    measured = measure_vectors(_embeddings(ids[:97], vectors, hours[:97]), _videos(ids, hours), "video_id", _spec(3))
    statistics = measured.profile.statistics
    assert statistics["coverage"] == pytest.approx(0.97)
    assert statistics["recent_coverage"] == pytest.approx(2 / 5)
    assert statistics["freshness_lag_hours"] == pytest.approx(3.0)


def test_near_duplicates_and_shared_limits_are_counted() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(1000, 32)).astype(np.float32)
    clean = _measured(matrix)
    assert clean.profile.statistics["near_duplicate_share"] == 0
    assert clean.profile.statistics["clipped_share"] == 0
    near = matrix.copy()
    near[100:120] = near[:20] + 1e-4 * rng.normal(size=(20, 32))
    found = _measured(near).rows["near_duplicate"].to_numpy(bool)
    assert set(np.flatnonzero(found)) <= set(range(100, 120))
    assert found.sum() >= 18
    clipped = _measured(np.clip(matrix, -2, 2))
    np.testing.assert_array_equal(clipped.rows["clipped"], (np.abs(matrix) >= 2).sum(axis=1))
    rectified = _measured(np.maximum(matrix, 0) + 0)
    assert rectified.profile.statistics["clipped_share"] == 0


def test_consecutive_snapshots_sample_the_same_entities() -> None:
    ids = [f"video {row}" for row in range(5000)]
    before = sample_rows(pa.array(ids), 500)
    later = ids[250:] + [f"new {row}" for row in range(100)]
    now = sample_rows(pa.array(later), 500)
    common = {ids[row] for row in before} & {later[row] for row in now}
    assert len(common) > 450
    order = [ids[row] for row in before if ids[row] in common]
    assert order == [later[row] for row in now if later[row] in common]
    assert sample_rows(pa.array(["b", "a"]), 500).tolist() == sample_rows(pa.array(["b", "a"]), 2).tolist()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    matrix = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
    with directory_written_whole(tmp_path / "profile") as scratch:
        _measured(matrix).profile.save(scratch)
    return tmp_path / "profile"


def test_a_profile_comes_back_as_it_was(saved: Path) -> None:
    matrix = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
    profile, loaded = _measured(matrix).profile, Profile.load(saved)
    assert loaded.ids.equals(profile.ids)
    assert (loaded.width, loaded.statistics, loaded.errors) == (6, profile.statistics, profile.errors)
    for name in ("fingerprints", "norms", "sample_rows", "sample", "mean", "variance", "spectrum"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(profile, name), err_msg=name)
        assert getattr(loaded, name).dtype == getattr(profile, name).dtype


@pytest.mark.parametrize("name", ["profile.json", "entities.parquet", "sample.npy", "dimensions.parquet"])
def test_a_damaged_or_missing_part_is_named(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    for damage in (b"", content[: len(content) // 2], b"\x00" * len(content)):
        (saved / name).write_bytes(damage)
        with pytest.raises(BadInput, match="profile"):
            Profile.load(saved)
    (saved / name).write_bytes(content)
    assert Profile.load(saved).width == 6
    (saved / name).unlink()
    with pytest.raises(NotFound, match=name):
        Profile.load(saved)


def test_a_flipped_bit_of_the_sample_is_seen(saved: Path) -> None:
    content = bytearray((saved / "sample.npy").read_bytes())
    content[-6] ^= 1
    (saved / "sample.npy").write_bytes(content)
    with pytest.raises(BadInput, match="fingerprints"):
        Profile.load(saved)


@pytest.mark.parametrize(
    ("field", "value"),
    [("width", 7), ("sample_rows", [0, 1]), ("sample_rows", [999] * 120), ("statistics", {"a": "b"}), ("format", 0)],
)
def test_parts_that_do_not_go_together_are_refused(saved: Path, field: str, value: object) -> None:
    facts = json.loads((saved / "profile.json").read_text())
    (saved / "profile.json").write_text(json.dumps({**facts, field: value}))
    with pytest.raises(BadInput):
        Profile.load(saved)


def test_new_items_beyond_the_sample_are_at_hand_and_not_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = [f"v{row}" for row in range(SAMPLE + 900)]
    matrix = rng.normal(size=(len(ids), 3)).astype(np.float32)
    table, owners = _embeddings(ids, matrix), _videos(ids)
    known = pa.array(ids[:-50])
    profile = measure_vectors(table, owners, "video_id", _spec(3), known).profile
    rows, vectors = profile.at_hand()
    np.testing.assert_array_equal(rows[:SAMPLE], profile.sample_rows)
    assert set(rows[rows >= len(ids) - 50].tolist()) == set(range(len(ids) - 50, len(ids)))
    assert len(set(rows.tolist())) == len(rows) < SAMPLE + 50
    np.testing.assert_array_equal(vectors, matrix[rows])

    profile.save(tmp_path)
    assert len(Profile.load(tmp_path).at_hand()[0]) == SAMPLE
    everything = measure_vectors(table, owners, "video_id", _spec(3)).profile
    assert len(everything.beyond_rows) == 0
    assert everything.statistics == profile.statistics


def test_of_many_new_items_as_many_are_at_hand_as_are_compared() -> None:
    ids = pa.array([f"v{row}" for row in range(30_000)])
    sampled = sample_rows(ids)
    beyond = rows_beyond(ids, sampled, ids[:20_000])
    new = np.concatenate([beyond, sampled[sampled >= 20_000]])
    np.testing.assert_array_equal(np.sort(new), np.sort(20_000 + sample_rows(ids[20_000:], NEW_SAMPLE)))
    assert len(rows_beyond(ids, sampled, ids)) == 0
    assert len(rows_beyond(ids[:8000], sample_rows(ids[:8000]), ids[:10])) == 0
