"""One table's rows by themselves, as they are pushed."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from contracts.embeddings import EmbeddingSpec
from contracts.tables import POSTS, check_table
from feature_repo.readers.own.single import convert_table, read_table_file


@pytest.mark.parametrize("name", ["users", "videos", "music", "interactions", "listens", "posts", "edges"])
def test_a_sound_table_is_converted(own: Any, name: str) -> None:
    found, problems = convert_table(name, own.read(name))
    assert problems == []
    assert found is not None
    check_table(name, found)
    from_file, problems = read_table_file(own.to_csv(name), name)
    assert problems == []
    assert from_file is not None
    assert from_file.num_rows == found.num_rows


def test_ids_are_looked_up_where_they_are_given(own: Any) -> None:
    table = own.read("posts")
    found, problems = convert_table("posts", table, file="drop", known={"user_id": pa.array(["u0", "u1"])})
    assert found is None
    (problem,) = problems
    assert (problem.file, problem.column, problem.problem) == ("drop", "user_id", "an unknown id")
    assert (problem.count, problem.rows) == (10, [3, 4, 5, 6, 7])


def test_every_problem_is_found(own: Any) -> None:
    own.spoil("posts", "post_id", 1, "p0")
    own.put("posts", "event_time", ["2024-01-01T00:00:00"] * 12)
    own.put("posts", "mood", ["glad"] * 12)
    _, problems = convert_table("posts", own.read("posts"))
    assert {problem.column for problem in problems} == {"post_id", "event_time", "mood"}
    _, problems = read_table_file(own.path / "posts.parquet", "posts")
    assert {problem.column for problem in problems} == {"post_id", "event_time", "mood"}


def test_vectors_are_held_against_their_spec(own: Any, hand_spec: EmbeddingSpec) -> None:
    own.put("embedding_visual", "event_time", own.read("videos")["event_time"].combine_chunks())
    table = own.read("embedding_visual")
    found, problems = convert_table("embedding_visual", table, spec=hand_spec)
    assert problems == []
    assert found is not None
    check_table("embedding_visual", found)
    wide = hand_spec.model_copy(update={"width": 5})
    _, problems = convert_table("embedding_visual", table, spec=wide)
    assert [problem.problem for problem in problems] == ["another width than the 5 of the spec"]
    _, problems = read_table_file(own.path / "embedding_visual.parquet", "embedding_visual", spec=wide)
    assert [problem.problem for problem in problems] == ["another width than the 5 of the spec"]
    doubled = pa.concat_tables([table.drop_columns(["event_time"]), table.drop_columns(["event_time"])])
    _, problems = convert_table("embedding_visual", doubled, spec=hand_spec)
    assert [problem.problem for problem in problems] == ["a missing column", "a second vector of the same id"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "posts.parquet").write_bytes(b"nothing")
    found, (problem,) = read_table_file(tmp_path / "posts.parquet", "posts")
    assert found is None
    assert problem.problem.startswith("cannot be read")
    found, (problem,) = read_table_file(tmp_path / "none.csv", "posts")
    assert found is None
    assert "No such file" in problem.problem


def test_no_rows() -> None:
    found, (problem,) = convert_table("posts", POSTS.empty_table())
    assert found is None
    assert problem.problem == "an empty table"
