"""What is wrong with the values of a team's own tables: where, how often, and what is allowed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts.clock import utc_now
from feature_repo.readers.tables import read_tables

HOUR = timedelta(hours=1)


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
        ("edges", "network", "", "a name that a network cannot have"),
        ("edges", "network", "../follow", "a name that a network cannot have"),
        ("edges", "network", "co_like", "a name that a network cannot have"),
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
    found = own.only()
    assert (found.file, found.table, found.column, found.problem) == (f"{name}.parquet", name, column, problem)
    assert (found.count, found.rows) == (1, [3])
    assert found.allowed
    assert found.hint


def test_ids_that_are_not_there(own: Any) -> None:
    own.spoil("users", "user_id", 2, " ")
    found = {(problem.file, problem.column, problem.problem): problem for problem in own.problems()}
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
    found = own.problems()[0]
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
        (pa.array([2**60] * 20).cast(pa.timestamp("us", "UTC")), "in the future", "moments until now"),
        (pa.array([2**60] * 20).cast(pa.timestamp("ms", "UTC")), "moments that no calendar has", "moments until now"),
        (pa.array([-(2**60)] * 20).cast(pa.timestamp("us", "UTC")), "too early", "moments from 1800 on"),
        (pa.nulls(20), "nothing (null)", "a value in every row"),
    ],
)
def test_times_that_say_no_instant(own: Any, values: pa.Array, problem: str, allowed: str) -> None:
    own.put("users", "event_time", values)
    found = own.only()
    assert (found.column, found.problem) == ("event_time", problem)
    assert allowed in found.allowed
    if "naive" in problem:
        assert "tz_localize" in found.hint, "says how to write a zone"


def test_only_the_bad_rows_of_a_long_column_are_named(own: Any) -> None:
    times = own.to_csv("interactions").read_text().splitlines()
    times[7] = times[7].replace("+00:00", "")
    times[301] = times[301].replace("2023-", "2023-13-")
    (own.path / "interactions.csv").write_text("\n".join(times))
    naive, broken = own.problems()
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
    found = [problem for problem in own.problems() if problem.table == name]
    assert [(one.column, one.problem) for one in found] == [(column, problem)]
