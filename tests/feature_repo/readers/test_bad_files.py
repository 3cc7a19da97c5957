"""What is wrong with a team's files: their specs, columns, formats and names; damage; and all of it at once."""

import json
import random
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import BadInput, NotFound
from contracts.tables import check_table
from feature_repo.readers.own.problems import TablesRefused, shown
from feature_repo.readers.tables import read_tables

HOUR = timedelta(hours=1)


def test_specs_and_their_vectors(own: Any) -> None:
    own.write_spec(dtype="float16")
    assert "values that float16 does not have" in own.only().problem
    own.write_spec(normalisation="l2")
    assert (own.only().problem, own.only().count) == (
        "vectors that are not of unit length, though the spec says l2",
        15,
    )
    vectors = np.stack(own.read("embedding_visual")["vector"].to_numpy())
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[3] = 0
    own.put("embedding_visual", "vector", list(vectors))
    assert read_tables(own.path).specs["visual"].normalisation == "l2"
    own.write_spec(width=5)
    assert (own.only().problem, own.only().values[0]) == ("another width than the 5 of the spec", "'4 components'")
    own.write_spec(width=0, modality="smell", colour="red")
    assert {problem.column for problem in own.problems()} == {"width", "modality", "colour"}
    (own.path / "embedding_visual.json").write_text("{")
    assert "Invalid JSON" in own.only().problem
    (own.path / "embedding_visual.json").unlink()
    assert own.only().problem == "vectors without a spec"
    own.write_spec()
    (own.path / "embedding_visual.parquet").unlink()
    assert own.only().problem == "a spec without vectors"


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
    assert own.only().problem.startswith(problem)


def test_columns_that_are_missing_surplus_or_misnamed(own: Any) -> None:
    own.write("users", own.read("users").rename_columns({"gender": "Gender", "event_time": "event time"}))
    own.drop("interactions", "kind")
    own.put("videos", "colour", ["red"] * 15)
    own.drop("embedding_visual", "video_id")
    found = {(problem.file, problem.column): problem for problem in own.problems()}
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
    found = {problem.file: problem for problem in own.problems()}
    assert set(found) == {"users.parquet", "music.csv", "posts.parquet", "edges.csv"}, "what names them is not blamed"
    assert found["users.parquet"].problem.startswith("cannot be read: ")
    assert "UTF-8" in found["music.csv"].hint
    assert "separated by commas" in found["edges.csv"].problem
    (own.path / "edges.csv").write_text("")
    assert "an empty file" in {problem.problem for problem in own.problems()}


def test_rows_of_a_csv_file_that_are_too_short(own: Any) -> None:
    file = own.to_csv("edges")
    lines = file.read_text().splitlines()
    lines[3] = "follow,u1"
    lines[9] += ",x"
    lines[20] = lines[20].replace('"follow"', '"follow "').replace("u", "nobody")
    file.write_text("\n".join(lines))
    short, *others = own.problems()
    assert (short.rows, short.values) == ([3, 9], ["'2 values'", "'6 values'"])
    assert {row for problem in others for row in problem.rows} == {20}, "rows keep the numbers they have in the file"


def test_files_of_other_names_and_formats(own: Any) -> None:
    for name in ("interaction.csv", "posts.xlsx", "labels.csv", "README.md", ".hidden.csv"):
        (own.path / name).write_text("x")
    shutil.copy(own.path / "users.parquet", own.path / "users.csv")
    (own.path / "edges.parquet").rename(own.path / "part")
    (own.path / "edges").mkdir()
    (own.path / "part").rename(own.path / "edges" / "0.parquet")
    found = {problem.file: problem for problem in own.problems()}
    assert found["interaction.csv"].hint == "rename it to interactions.csv"
    assert found["labels.csv"].hint == "take it out of the directory"
    assert found["posts.xlsx"].problem == "format .xlsx"
    assert found["edges"].problem == "a directory"
    assert any("a second file of the same table" in problem.problem for problem in own.problems())
    assert not {"README.md", ".hidden.csv"} & set(found)


def test_tables_that_are_not_there(own: Any, tmp_path: Path) -> None:
    (own.path / "videos.parquet").unlink()
    named = {(problem.table, problem.column) for problem in own.problems()}
    assert named == {("interactions", "video_id"), ("embedding_visual", "video_id")}
    for name in ("interactions", "listens", "users"):
        (own.path / f"{name}.parquet").unlink()
    missing = [problem.file for problem in own.problems() if problem.problem == "a missing table"]
    assert missing == ["users", "interactions or listens"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="found no table in it"):
        read_tables(tmp_path / "empty")
    with pytest.raises(NotFound, match="found nothing there"):
        read_tables(tmp_path / "none")


def test_an_empty_table(own: Any) -> None:
    own.write("posts", own.read("posts").slice(0, 0))
    assert own.only().problem == "an empty table"


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
    found = own.only()
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
