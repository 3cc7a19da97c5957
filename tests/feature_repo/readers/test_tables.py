"""A team's own files: what arrives, what is converted, and that all that is wrong is found at once."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from contracts.clock import utc_now
from contracts.errors import BackbeatError, BadInput, NotFound
from contracts.snapshot import SplitInstants
from contracts.tables import TIMESTAMP, check_table
from feature_repo.commands import ingest
from feature_repo.readers.own.problems import Problem, TablesRefused, shown
from feature_repo.readers.tables import Shares, parse_split, read_tables

HOUR = timedelta(hours=1)


def problems_of(own: Any) -> list[Problem]:
    with pytest.raises(TablesRefused) as caught:
        read_tables(own.path)
    return caught.value.problems


def only(own: Any) -> Problem:
    (problem,) = problems_of(own)
    return problem


def test_every_row_arrives(own: Any) -> None:
    raw = read_tables(own.path, "mine")
    assert raw.dataset == "mine"
    assert read_tables(own.path).dataset == "own"
    assert set(raw.tables) == {
        "users", "videos", "music", "interactions", "listens", "posts", "edges", "embedding_visual"
    }  # fmt: skip
    for name, table in raw.tables.items():
        check_table(name, table)
        stored = own.read(name)
        for column in stored.column_names:
            assert table[column].to_pylist() == stored[column].to_pylist(), (name, column)
    assert raw.tables["users"]["region"].null_count == raw.tables["users"].num_rows, "absent columns are null"
    assert raw.tables["users"]["ingested_at"].equals(raw.tables["users"]["event_time"])
    assert raw.tables["videos"]["ingested_at"].equals(own.read("videos")["ingested_at"])
    assert raw.media == own.path / "media"
    assert list(raw.specs) == ["visual"]
    shutil.rmtree(own.path / "media")
    own.drop("posts", "images")
    assert read_tables(own.path).media is None


def test_csv_says_the_same_as_parquet(own: Any) -> None:
    expected = read_tables(own.path).tables
    for name in expected:
        if not name.startswith("embedding"):
            own.to_csv(name)
    found = read_tables(own.path).tables
    for name, table in expected.items():
        if name == "posts":
            assert found[name]["images"].to_pylist() == [images or None for images in table["images"].to_pylist()]
            table, found[name] = table.drop_columns(["images"]), found[name].drop_columns(["images"])
        assert found[name].equals(table), name


def test_what_loses_nothing_is_converted(own: Any) -> None:
    expected = read_tables(own.path).tables
    ids = "users user_id, interactions user_id, listens user_id, edges source_id, edges target_id, posts user_id"
    for name, column in (pair.split() for pair in [*ids.split(", "), "videos author_id"]):
        numbers = [int(value[1:]) for value in own.read(name)[column].to_pylist()]
        own.put(name, column, pa.array(numbers, pa.int64()))
    own.put("interactions", "video_id", own.read("interactions")["video_id"].combine_chunks().dictionary_encode())
    own.put("interactions", "weight", pa.array(np.ones(400)))
    own.put("listens", "weight", pa.array(np.ones(400, np.int8)))
    own.put("users", "age", pa.array(np.arange(20.0)))
    own.put("users", "gender", own.read("users")["gender"].combine_chunks().cast(pa.large_string()))
    shanghai = own.read("interactions")["event_time"].combine_chunks().cast(pa.timestamp("ms", "Asia/Shanghai"))
    own.put("interactions", "event_time", shanghai)
    own.put("music", "event_time", own.read("music")["event_time"].combine_chunks().cast(pa.timestamp("ns", "UTC")))
    texts = [
        moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S+00")
        for moment in own.read("edges")["event_time"].to_pylist()
    ]
    own.put("edges", "event_time", texts)
    vectors = np.stack(own.read("embedding_visual")["vector"].to_numpy())
    own.put(
        "embedding_visual", "vector", pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel().astype(np.float64)), 4)
    )
    found = read_tables(own.path).tables
    assert found["users"]["user_id"].to_pylist() == [str(number) for number in range(20)]
    assert found["edges"]["source_id"].to_pylist() == [i[1:] for i in expected["edges"]["source_id"].to_pylist()]
    same = (
        "interactions video_id, interactions weight, listens weight, users age, users gender, interactions event_time, "
        "music event_time, edges event_time, embedding_visual vector"
    )
    for name, column in (pair.split() for pair in same.split(", ")):
        assert found[name][column].to_pylist() == expected[name][column].to_pylist(), (name, column)


def test_vectors_as_npy_follow_the_order_of_the_table(own: Any) -> None:
    expected = read_tables(own.path).tables["embedding_visual"]
    np.save(own.path / "embedding_visual.npy", np.stack(own.read("embedding_visual")["vector"].to_numpy()))
    (own.path / "embedding_visual.parquet").unlink()
    assert read_tables(own.path).tables["embedding_visual"].equals(expected)


def test_a_vector_is_known_when_its_video_and_its_encoder_are(own: Any) -> None:
    videos = own.read("videos")
    plain = read_tables(own.path).tables["embedding_visual"]
    assert plain["event_time"].to_pylist() == videos["event_time"].to_pylist()
    assert plain["ingested_at"].to_pylist() == videos["ingested_at"].to_pylist()
    trained = videos["event_time"][0].as_py() + 5 * HOUR
    own.write_spec(available_from=trained.isoformat())
    assert read_tables(own.path).tables["embedding_visual"]["ingested_at"].to_pylist() == [trained] * 15
    later = [trained + n * HOUR for n in range(15)]
    own.put("embedding_visual", "event_time", pa.array([videos["event_time"][0].as_py()] * 15, TIMESTAMP))
    own.put("embedding_visual", "ingested_at", pa.array(later, TIMESTAMP))
    assert read_tables(own.path).tables["embedding_visual"]["ingested_at"].to_pylist() == later


def test_a_second_revision_is_named_after_its_digest(own: Any, hand_spec: Any) -> None:
    second = hand_spec.model_copy(update={"revision": "2"})
    name = f"embedding_visual@{second.digest[:8]}"
    own.write(name, own.read("embedding_visual"))
    own.write_spec(name, revision="2")
    raw = read_tables(own.path)
    assert raw.specs[name.removeprefix("embedding_")] == second
    own.write_spec(name, revision="3")
    assert "a name that its entity video and modality visual do not have" in only(own).problem


# ── the split ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _parts(raw: Any) -> list[int]:
    times = pa.concat_arrays([raw.tables[n]["event_time"].combine_chunks() for n in ("interactions", "listens")])
    cuts = (raw.split.train_until, raw.split.validation_until)
    below = [pc.sum(pc.less(times, pa.scalar(cut, TIMESTAMP))).as_py() for cut in cuts]
    return [below[0], below[1] - below[0], len(times) - below[1]]


def test_shares_and_instants(own: Any) -> None:
    assert _parts(read_tables(own.path)) == [640, 80, 80]
    assert _parts(read_tables(own.path, split=Shares(0.5, 0.25))) == [400, 200, 200]
    first = own.read("interactions")["event_time"][0].as_py()
    chosen = SplitInstants(train_until=first + HOUR, validation_until=first + 3 * HOUR, nominal=False)
    raw = read_tables(own.path, split=chosen)
    assert raw.split == chosen
    assert _parts(raw) == [2, 4, 794]


def test_events_of_one_moment_are_not_divided(own: Any) -> None:
    moment = own.read("interactions")["event_time"][0].as_py()
    own.put("interactions", "event_time", pa.array([moment] * 398 + [moment + HOUR, moment + 2 * HOUR], TIMESTAMP))
    own.put("interactions", "user_id", [f"u{n % 20}" for n in range(400)])
    own.put("interactions", "video_id", [f"v{n // 20 % 15}" for n in range(400)])
    own.put("interactions", "kind", ["view" if n < 300 else "like" for n in range(400)])
    (own.path / "listens.parquet").unlink()
    with pytest.raises(BadInput, match="found 0 training, 398 validation, 2 test events"):
        read_tables(own.path)
    chosen = SplitInstants(train_until=moment + HOUR, validation_until=moment + 2 * HOUR, nominal=False)
    raw = read_tables(own.path, split=chosen)
    assert raw.split == chosen


@pytest.mark.parametrize(
    ("first", "second", "shares", "message"),
    [
        (None, None, (0.9, 0.1), r"shares 0\.9 and 0\.1"),
        (None, None, (0.0, 0.1), "shares 0.0 and 0.1"),
        ("2026-01-01T00:00:00Z", None, (0.8, 0.1), "only one of --train-until and --validation-until"),
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", (0.8, 0.1), "training to end before validation does"),
        ("yesterday", "2026-01-01T00:00:00Z", (0.8, 0.1), "option --train-until: found 'yesterday'"),
        ("2026-01-01T00:00:00", "2026-01-02T00:00:00Z", (0.8, 0.1), "found no time zone"),
    ],
)
def test_options_that_make_no_split(first: str | None, second: str | None, shares: tuple, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse_split(first, second, Shares(*shares))


# ── what is wrong ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "column", "value", "problem"),
    [
        ("interactions", "kind", "stare", "an unknown kind"),
        ("interactions", "kind", None, "nothing (null)"),
        ("interactions", "weight", float("nan"), "NaN or infinite"),
        ("interactions", "weight", float("-inf"), "NaN or infinite"),
        ("interactions", "weight", 0.0, "a weight that is not positive"),
        ("interactions", "user_id", "nobody", "an id that users does not have"),
        ("interactions", "video_id", "nothing", "an id that videos does not have"),
        ("interactions", "event_time", utc_now() + timedelta(days=1), "in the future"),
        ("listens", "music_id", "silence", "an id that music does not have"),
        ("listens", "kind", "view", "an unknown kind"),
        ("videos", "author_id", "nobody", "an id that users does not have"),
        ("videos", "ingested_at", datetime(2000, 1, 1, tzinfo=UTC), "ingested before it happened"),
        ("videos", "ingested_at", utc_now() + timedelta(days=1), "in the future"),
        ("posts", "user_id", "nobody", "an id that users does not have"),
        ("posts", "images", ["../secret.png"], "a path that leads out of the media directory"),
        ("posts", "images", ["/etc/hostname"], "a path that leads out of the media directory"),
        ("posts", "images", ["a.png", "c.png"], "a file that is not there"),
        ("posts", "images", ["a.png", None], "null in a list"),
        ("edges", "target_id", "nobody", "an id that users does not have"),
        ("edges", "network", "", "an empty id"),
        ("embedding_visual", "video_id", "nothing", "an id that videos does not have"),
        ("embedding_visual", "video_id", "v0", "a second vector of the same id"),
        ("embedding_visual", "vector", [1.0] * 3, "another width than the 4 of the spec"),
        ("embedding_visual", "vector", [1.0, 2.0, 3.0, float("nan")], "NaN, infinity or null in a vector"),
        ("embedding_visual", "vector", [1.0, 2.0, 3.0, None], "NaN, infinity or null in a vector"),
        ("embedding_visual", "vector", None, "nothing (null)"),
    ],
)
def test_one_bad_value(own: Any, name: str, column: str, value: object, problem: str) -> None:
    own.spoil(name, column, 2, value)
    found = only(own)
    assert (found.file, found.table, found.column, found.problem) == (f"{name}.parquet", name, column, problem)
    assert (found.count, found.rows) == (1, [3])
    assert found.allowed
    assert found.hint


def test_ids_that_are_not_there(own: Any) -> None:
    own.spoil("users", "user_id", 2, " ")
    found = {(problem.file, problem.column, problem.problem): problem for problem in problems_of(own)}
    assert found["users.parquet", "user_id", "an empty id"].rows == [3]
    lost = found["posts.parquet", "user_id", "an id that users does not have"]
    assert (lost.rows, lost.values) == ([3], ["'u2'"])


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("users", "user_id, event_time"),
        ("videos", "video_id"),
        ("music", "music_id"),
        ("posts", "post_id"),
        ("interactions", "user_id, video_id, kind, event_time"),
        ("listens", "user_id, music_id, kind, event_time"),
        ("edges", "network, source_id, target_id, event_time"),
    ],
)
def test_a_key_twice(own: Any, name: str, key: str) -> None:
    table = own.read(name)
    own.write(name, pa.concat_tables([table, table.slice(1, 2)]))
    found = problems_of(own)[0]
    assert (found.problem, found.column) == ("a row whose key stands in an earlier row", key)
    assert (found.count, found.rows) == (2, [table.num_rows + 1, table.num_rows + 2])


def test_a_profile_may_change_and_a_like_may_come_with_the_view(own: Any) -> None:
    users = own.read("users")
    later = users.slice(0, 3).set_column(
        users.schema.get_field_index("event_time"), "event_time", own.read("interactions")["event_time"].slice(0, 3)
    )
    own.write("users", pa.concat_tables([users, later]))
    events = own.read("interactions")
    like = events.slice(0, 1).set_column(2, "kind", pa.array(["like"]))
    own.write("interactions", pa.concat_tables([events, like]))
    assert read_tables(own.path).tables["users"].num_rows == 23


@pytest.mark.parametrize(
    ("values", "problem", "allowed"),
    [
        (pa.array([0] * 20).cast(pa.timestamp("us")), "naive timestamps (timestamp[us])", "with a zone"),
        (pa.array(["2024-01-01T00:00:00"] * 20), "naive timestamps", "ISO 8601 with a zone"),
        (pa.array(["2024-01-01"] * 20), "naive timestamps", "ISO 8601 with a zone"),
        (pa.array(["2024-02-30T00:00:00Z"] * 20), "text that is no timestamp", "ISO 8601 with a zone"),
        (pa.array(["soon"] * 20), "text that is no timestamp", "ISO 8601 with a zone"),
        (pa.array(["2024-01-01T00:00:00.1234567Z"] * 20), "text that is no timestamp", "ISO 8601 with a zone"),
        (pa.array([1] * 20).cast(pa.timestamp("ns", "UTC")), "finer than a microsecond", "whole microseconds"),
        (pa.array([1_700_000_000] * 20), "type int64", "timestamps with a zone"),
        (pa.array([1] * 20, pa.int32()).cast(pa.date32()), "type date32[day]", "timestamps with a zone"),
        (pa.nulls(20), "nothing (null)", "a value in every row"),
    ],
    ids=str,
)
def test_times_that_say_no_instant(own: Any, values: pa.Array, problem: str, allowed: str) -> None:
    own.put("users", "event_time", values)
    found = only(own)
    assert (found.column, found.problem) == ("event_time", problem)
    assert allowed in found.allowed
    if "naive" in problem:
        assert "tz_localize" in found.hint, "says how to write a zone"


def test_only_the_bad_rows_of_a_long_column_are_named(own: Any) -> None:
    times = own.to_csv("interactions").read_text().splitlines()
    times[7] = times[7].replace("+00:00", "")
    times[301] = times[301].replace("2023-", "2023-13-")
    (own.path / "interactions.csv").write_text("\n".join(times))
    naive, broken = problems_of(own)
    assert (naive.problem, naive.rows, naive.count) == ("naive timestamps", [7], 1)
    assert (broken.problem, broken.rows, broken.count) == ("text that is no timestamp", [301], 1)


@pytest.mark.parametrize(
    ("name", "column", "values", "problem"),
    [
        ("users", "user_id", pa.array(np.arange(20.0)), "type double"),
        ("users", "gender", pa.array(range(20)), "type int64"),
        ("users", "age", pa.array(["20"] * 20), "type string"),
        ("users", "age", pa.array([20.5] * 20), "no whole number"),
        ("users", "age", pa.array([2**31] * 20), "too large for int32"),
        ("music", "tempo", pa.array([1e39] * 8), "too large for float"),
        ("music", "tempo", pa.array([float("nan")] * 8), "NaN or infinite"),
        ("music", "tempo", pa.array([True] * 8), "type bool"),
        ("posts", "images", pa.array(["a.png"] * 12), "type string"),
        ("embedding_visual", "vector", pa.array(["1 2 3 4"] * 15), "type string"),
        ("embedding_visual", "vector", pa.array([[1, 2, 3, 4]] * 15), "type list<element: int64>"),
        ("embedding_visual", "vector", pa.array([[1.0] * 4] * 15, pa.list_(pa.float16())), "dtype float16"),
        ("embedding_visual", "vector", pa.array([[1e39] * 4] * 15), "a component too large for float32"),
    ],
    ids=str,
)
def test_types_that_cannot_be_converted(own: Any, name: str, column: str, values: pa.Array, problem: str) -> None:
    own.put(name, column, values)
    found = [problem for problem in problems_of(own) if problem.table == name]
    assert [(one.column, one.problem) for one in found] == [(column, problem)]


def test_specs_and_their_vectors(own: Any) -> None:
    own.write_spec(dtype="float16")
    assert "values that float16 does not have" in only(own).problem
    own.write_spec(normalisation="l2")
    assert (only(own).problem, only(own).count) == ("vectors that are not of unit length, though the spec says l2", 15)
    vectors = np.stack(own.read("embedding_visual")["vector"].to_numpy())
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[3] = 0
    own.put("embedding_visual", "vector", list(vectors))
    assert read_tables(own.path).specs["visual"].normalisation == "l2"
    own.write_spec(width=5)
    assert (only(own).problem, only(own).values[0]) == ("another width than the 5 of the spec", "'4 components'")
    own.write_spec(width=0, modality="smell", colour="red")
    assert {problem.column for problem in problems_of(own)} == {"width", "modality", "colour"}
    (own.path / "embedding_visual.json").write_text("{")
    assert "Invalid JSON" in only(own).problem
    (own.path / "embedding_visual.json").unlink()
    assert only(own).problem == "vectors without a spec"
    own.write_spec()
    (own.path / "embedding_visual.parquet").unlink()
    assert only(own).problem == "a spec without vectors"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (np.ones((15, 3), np.float32), "width 3"),
        (np.ones((14, 4), np.float32), "14 rows"),
        (np.ones((15, 4), np.float16), "dtype float16"),
        (np.ones((15, 4), np.int64), "shape (15, 4) of int64"),
        (np.ones(15, np.float32), "shape (15,) of float32"),
        (np.full((15, 4), np.inf, np.float32), "NaN, infinity or null in a vector"),
        (np.array([{}]), "cannot be read: "),
    ],
    ids=str,
)
def test_npy_files_that_do_not_fit(own: Any, content: np.ndarray, problem: str) -> None:
    (own.path / "embedding_visual.parquet").unlink()
    np.save(own.path / "embedding_visual.npy", content, allow_pickle=True)
    assert only(own).problem.startswith(problem)


def test_columns_that_are_missing_surplus_or_misnamed(own: Any) -> None:
    own.write("users", own.read("users").rename_columns({"gender": "Gender", "event_time": "event time"}))
    own.drop("interactions", "kind")
    own.put("videos", "colour", ["red"] * 15)
    own.drop("embedding_visual", "video_id")
    found = {(problem.file, problem.column): problem for problem in problems_of(own)}
    assert found["users.parquet", "Gender"].hint == "rename it to gender"
    assert found["users.parquet", "event time"].hint == "rename it to event_time"
    assert found["users.parquet", "event_time"].problem == "a missing column"
    assert found["interactions.parquet", "kind"].problem == "a missing column"
    assert found["videos.parquet", "colour"].hint == "leave it out"
    assert found["embedding_visual.parquet", "video_id"].problem == "a missing column"


def test_files_that_cannot_be_read(own: Any) -> None:
    (own.path / "users.parquet").write_bytes(b"PAR1 not at all PAR1")
    (own.path / "music.parquet").unlink()
    (own.path / "music.csv").write_bytes(
        "music_id,title,event_time\nm0,caf\xe9,2024-01-01T00:00:00Z\n".encode("latin-1")
    )
    whole = (own.path / "posts.parquet").read_bytes()
    (own.path / "posts.parquet").write_bytes(whole[: len(whole) // 2])
    own.to_csv("edges").write_text("network;source_id\nfollow;u1\n")
    found = {problem.file: problem for problem in problems_of(own)}
    assert set(found) == {"users.parquet", "music.csv", "posts.parquet", "edges.csv"}, "what names them is not blamed"
    assert found["users.parquet"].problem.startswith("cannot be read: ")
    assert "UTF-8" in found["music.csv"].hint
    assert "separated by commas" in found["edges.csv"].problem
    (own.path / "edges.csv").write_text("")
    assert "an empty file" in {problem.problem for problem in problems_of(own)}


def test_rows_of_a_csv_file_that_are_too_short(own: Any) -> None:
    file = own.to_csv("edges")
    lines = file.read_text().splitlines()
    lines[3] = "follow,u1"
    lines[9] += ",x"
    lines[20] = lines[20].replace('"follow"', '"follow "').replace("u", "nobody")
    file.write_text("\n".join(lines))
    short, *others = problems_of(own)
    assert (short.rows, short.values) == ([3, 9], ["'2 values'", "'6 values'"])
    assert {row for problem in others for row in problem.rows} == {20}, "rows keep the numbers they have in the file"


def test_files_of_other_names_and_formats(own: Any) -> None:
    for name in ("interaction.csv", "posts.xlsx", "labels.csv", "README.md", ".hidden.csv"):
        (own.path / name).write_text("x")
    shutil.copy(own.path / "users.parquet", own.path / "users.csv")
    (own.path / "edges.parquet").rename(own.path / "part")
    (own.path / "edges").mkdir()
    (own.path / "part").rename(own.path / "edges" / "0.parquet")
    found = {problem.file: problem for problem in problems_of(own)}
    assert found["interaction.csv"].hint == "rename it to interactions.csv"
    assert found["labels.csv"].hint == "take it out of the directory"
    assert found["posts.xlsx"].problem == "format .xlsx"
    assert found["edges"].problem == "a directory"
    assert any("a second file of the same table" in problem.problem for problem in problems_of(own))
    assert not {"README.md", ".hidden.csv"} & set(found)


def test_tables_that_are_not_there(own: Any, tmp_path: Path) -> None:
    (own.path / "videos.parquet").unlink()
    named = {(problem.table, problem.column) for problem in problems_of(own)}
    assert named == {("interactions", "video_id"), ("embedding_visual", "video_id")}
    for name in ("interactions", "listens", "users"):
        (own.path / f"{name}.parquet").unlink()
    missing = [problem.file for problem in problems_of(own) if problem.problem == "a missing table"]
    assert missing == ["users", "interactions or listens"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="found no table in it"):
        read_tables(tmp_path / "empty")
    with pytest.raises(NotFound, match="found nothing there"):
        read_tables(tmp_path / "none")


def test_an_empty_table(own: Any) -> None:
    own.write("posts", own.read("posts").slice(0, 0))
    assert only(own).problem == "an empty table"


def test_everything_is_said_at_once(own: Any) -> None:
    for name, column, value in (
        ("users", "age", None),
        ("interactions", "weight", -1.0),
        ("interactions", "kind", "stare"),
        ("listens", "music_id", "silence"),
        ("edges", "weight", float("inf")),
        ("embedding_visual", "vector", [0.0]),
    ):
        own.spoil(name, column, 0, value)
    with pytest.raises(TablesRefused, match="found 5 problems in 4 files; the first: ") as caught:
        read_tables(own.path)
    document = json.loads(json.dumps(caught.value.as_dict()))
    assert document["error"]["code"] == "bad_input"
    found = {f"{problem['table']} {problem['column']}" for problem in document["problems"]}
    assert found == {
        "interactions weight", "interactions kind", "listens music_id", "edges weight", "embedding_visual vector"
    }  # fmt: skip
    fields = {"file", "table", "column", "problem", "count", "rows", "values", "allowed", "hint"}
    assert all(set(problem) == fields for problem in document["problems"])


def test_many_bad_rows_are_counted_and_five_shown(own: Any) -> None:
    own.put("interactions", "weight", pa.array([-1.0] * 400))
    found = only(own)
    assert (found.count, found.rows, found.values) == (400, [1, 2, 3, 4, 5], ["-1.0"] * 5)


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 1000)) == 60
    assert shown(pa.scalar(None, pa.string())) == "null"
    assert shown(np.float32(0.5)) == "0.5"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chance=st.randoms(use_true_random=False))
def test_damage_of_any_kind_is_refused_or_harmless(own: Any, chance: random.Random) -> None:
    """Bytes changed, cut off, put in or taken out, anywhere in any file: a report, or a snapshot, nothing else."""
    for name in {"users", "posts", "interactions", "music"}:
        if (own.path / f"{name}.parquet").is_file():
            own.to_csv(name)
    file = chance.choice(sorted(path for path in own.path.iterdir() if path.is_file()))
    whole = file.read_bytes()
    at = chance.randrange(len(whole))
    damaged = chance.choice(
        [
            whole[:at],
            whole[:at] + bytes([chance.randrange(256)]) + whole[at + 1 :],
            whole[:at] + bytes(chance.choices(b'",\n;-0Z:\x00\xff', k=3)) + whole[at:],
            whole[:at] + whole[at + chance.randrange(1, 40) :],
        ]
    )
    file.write_bytes(damaged)
    try:
        raw = read_tables(own.path)
        for name, table in raw.tables.items():
            check_table(name, table)
    except BadInput:
        pass
    finally:
        file.write_bytes(whole)


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def backbeat(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "backbeat", "ingest", *arguments], capture_output=True, text=True)


def run(*arguments: str) -> dict[str, Any]:
    """The command in this process; what it raises is passed on."""
    result = CliRunner().invoke(ingest, [*arguments, "--json"])
    if isinstance(result.exception, BackbeatError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_check_reports_and_writes_nothing(own: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    document = run("tables", str(own.path), "--check", "--home", str(home))
    assert (document["problems"], document["tables"]["edges"]) == ([], 400)
    own.spoil("interactions", "kind", 4, "[red]stare")
    done = backbeat("tables", str(own.path), "--check", "--home", str(home))
    assert (done.returncode, done.stdout) == (2, "")
    assert "interactions.parquet, column kind: an unknown kind in 1 row (row 5: '[red]stare')" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    done = backbeat("tables", str(own.path), "--json", "--home", str(home))
    assert (done.returncode, done.stderr) == (2, "")
    assert [problem["rows"] for problem in json.loads(done.stdout)["problems"]] == [[5]]
    assert not home.exists()


def test_sound_files_become_a_snapshot(own: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    document = run("tables", str(own.path), "--name", "mine", "--home", str(home))
    assert (document["dataset"], document["outcome"], document["tables"]["posts"]) == ("mine", "created", 12)
    again = run("tables", str(own.path), "--name", "mine", "--home", str(home))
    assert (again["snapshot"], again["outcome"]) == (document["snapshot"], "unchanged")


def _naive(own: Any) -> None:
    own.put("interactions", "event_time", pa.array(range(400)).cast(pa.timestamp("us")))


def _half(own: Any) -> None:
    own.put("embedding_visual", "vector", pa.array([[1.0] * 4] * 15, pa.list_(pa.float16())))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda own: own.spoil("embedding_visual", "vector", 0, [1.0]), "another width than the 4 of the spec"),
        (_half, "dtype float16"),
        (_naive, "naive timestamps"),
        (lambda own: own.spoil("posts", "event_time", 0, utc_now() + timedelta(hours=1)), "in the future"),
        (lambda own: own.spoil("listens", "user_id", 0, "nobody"), "an id that users does not have"),
    ],
    ids=["width", "dtype", "naive", "future", "unknown"],
)
def test_hostile_input_through_the_command(own: Any, tmp_path: Path, spoil: Callable[[Any], None], words: str) -> None:
    spoil(own)
    with pytest.raises(BadInput, match=words):
        run("tables", str(own.path), "--home", str(tmp_path / "home"))
    assert not (tmp_path / "home").exists()


def test_the_report_on_a_terminal_is_a_table(
    own: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from feature_repo.readers.own.report import print_problems

    own.spoil("interactions", "kind", 4, "[red]stare")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "160")
    print_problems(problems_of(own))
    said = capsys.readouterr().err
    assert "Allowed, and what to do" in said
    assert "5: '[red]stare'" in said
