"""Per-row facts, against slow loops and hand-worked rows."""

import math
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from contracts.clock import utc_now
from contracts.snapshot import SplitInstants
from contracts.tables import VIDEOS, embedding_schema
from feature_repo.raw_tables import table_of
from validation import summaries
from validation.summaries import embedding_summary, row_summary, split_summary


def _embeddings(ids: list[str], vectors: list[list[float | None]]) -> pa.Table:
    times = pa.array([0] * len(ids), pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    columns = [pa.array(ids, pa.string()), pa.array(vectors, pa.list_(pa.float32())), times, times]
    return pa.table(columns, schema=embedding_schema())


def _videos(ids: list[str]) -> pa.Table:
    return pa.table({"video_id": pa.array(ids, pa.string())})


def test_facts_of_hand_worked_vectors() -> None:
    inf, nan = math.inf, math.nan
    rows = {
        "plain": [3.0, 4.0],
        "again": [3.0, 4.0],
        "zero": [0.0, 0.0],
        "zero too": [0.0, -0.0],
        "flat": [5.0, 5.0],
        "nan": [nan, 10.0],
        "inf": [-inf, nan],
        "short": [1.0],
        "hole": [None, 5.0],
        "stranger": [6.0, 8.0],
    }
    known = [name for name in rows if name != "stranger"] + ["absent"]
    facts = embedding_summary(_embeddings(list(rows), list(rows.values())), _videos(known), "video_id", 2).set_index(
        "video_id"
    )

    assert list(facts.index) == [*rows, "absent"]
    assert facts.index[~facts["known"]].tolist() == ["stranger"]
    assert facts.index[~facts["present"]].tolist() == ["absent"]
    assert facts["width"].to_dict() | {"absent": None} == {**dict.fromkeys(rows, 2.0), "short": 1.0, "absent": None}
    assert facts["nonfinite"].dropna().to_dict() == {
        **{name: 0 for name in rows if name != "short"},
        "nan": 1,
        "inf": 2,
        "hole": 1,
    }
    assert set(facts.index[facts["zero"] == True]) == {"zero", "zero too", "inf"}  # noqa: E712
    assert set(facts.index[facts["constant"] == True]) == {"flat"}  # noqa: E712
    assert facts["repeated"].dropna().to_dict() == {
        "plain": False, "again": True, "flat": False, "nan": False, "hole": False, "stranger": False
    }  # fmt: skip
    # Norms 5, 5, 5√2, 10, 5, 10: their median is (5 + 5√2) / 2.
    median = (5 + 5 * math.sqrt(2)) / 2
    assert facts.loc["stranger", "relative_norm"] == pytest.approx(10 / median)
    assert facts["relative_norm"].notna().sum() == 6


def test_facts_are_those_of_a_slow_loop_whatever_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(101, 5)).astype(np.float32)
    matrix[rng.integers(0, 101, 40)] = matrix[0]
    matrix[rng.random(matrix.shape) < 0.05] = np.nan
    ids = [f"v{row}" for row in range(101)]
    table = _embeddings(ids, matrix.tolist())
    monkeypatch.setattr(summaries, "_ROWS_AT_ONCE", 7)
    facts = embedding_summary(table, _videos(ids), "video_id", 5)

    norms = [math.sqrt(sum(float(x) ** 2 for x in row if not math.isnan(x))) for row in matrix]
    seen: set[bytes] = set()
    repeated = []
    for row in matrix:
        repeated.append(row.tobytes() in seen)
        seen.add(row.tobytes())
    np.testing.assert_allclose(facts["relative_norm"].to_numpy(), np.array(norms) / np.median(norms), rtol=1e-9)
    assert facts["repeated"].tolist() == repeated
    assert facts["nonfinite"].tolist() == np.isnan(matrix).sum(axis=1).tolist()


def test_largest_float32_values_do_not_overflow_the_norm() -> None:
    big = float(np.finfo(np.float32).max)
    facts = embedding_summary(_embeddings(["a", "b"], [[big, big], [big, -big]]), _videos(["a", "b"]), "video_id", 2)
    assert facts["relative_norm"].tolist() == [1.0, 1.0]


def test_a_table_without_rows_yields_one_row_per_video() -> None:
    facts = embedding_summary(_embeddings([], []), _videos(["a", "b"]), "video_id", 2)
    assert facts["video_id"].tolist() == ["a", "b"]
    assert facts["present"].tolist() == [False, False]


def test_a_width_of_one_is_never_constant() -> None:
    facts = embedding_summary(_embeddings(["a"], [[2.0]]), _videos(["a"]), "video_id", 1)
    assert facts["constant"].tolist() == [False]


def test_facts_of_events(data) -> None:
    events = data.tables["interactions"].slice(0, 4)
    events = pa.concat_tables([events, events.slice(1, 1)])
    last = events["event_time"][3].as_py()
    owners = {"user_id": data.tables["users"]["user_id"].slice(1), "video_id": data.tables["videos"]["video_id"]}
    facts = row_summary(events, owners, ("user_id", "video_id", "kind"), last + timedelta(minutes=30))

    assert facts["user_known"].tolist() == [False] * 5
    assert facts["video_known"].tolist() == [True] * 5
    assert facts["age_hours"].iloc[3] == 0.5
    assert facts["repeated"].tolist() == [False, False, False, False, True]


def test_parts_of_the_split_meet_at_the_second(data) -> None:
    split = data.raw.split
    one = timedelta(microseconds=1)
    moments = [split.train_until - one, split.train_until, split.validation_until - one, split.validation_until]
    events = data.tables["interactions"].slice(0, 4)
    times = pa.array(moments, events.schema.field("event_time").type)
    events = events.set_column(4, events.schema.field("event_time"), times)
    parts = split_summary(events, "video_id", split)
    assert parts[["part", "events"]].to_dict("list") == {"part": ["train", "validation", "test"], "events": [1, 2, 1]}


def test_a_part_without_events_is_listed_with_zeros(data) -> None:
    split = SplitInstants(
        train_until=data.raw.split.train_until + timedelta(days=90),
        validation_until=data.raw.split.train_until + timedelta(days=91),
        nominal=False,
    )
    parts = split_summary(data.tables["interactions"], "video_id", split).set_index("part")
    assert parts.loc["validation"].tolist() == [0, 0, 0]
    pd.testing.assert_index_equal(parts.columns, pd.Index(["events", "users", "items"]))


def test_nobody_named_is_nobody_unknown() -> None:
    ids = pa.array(["a", None, "b"], pa.string())
    videos = table_of(VIDEOS, np.zeros(3, np.int64), video_id=pa.array(["1", "2", "3"]), author_id=ids, music_id=ids)
    owners = {"author_id": pa.chunked_array([["a"]]), "music_id": None}
    facts = row_summary(videos, owners, ("video_id",), utc_now())
    assert facts["author_known"].tolist() == [True, True, False]
    assert facts["music_known"].tolist() == [False, True, False], "a table that is not there knows nobody"
