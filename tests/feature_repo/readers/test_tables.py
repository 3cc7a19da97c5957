"""A team's own files: what arrives, what is converted, and that all that is wrong is found at once."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from typer.testing import CliRunner

from contracts.clock import utc_now
from contracts.errors import BackbeatError, BadInput
from contracts.snapshot import SplitInstants
from contracts.tables import TIMESTAMP, check_table
from feature_repo.commands import ingest
from feature_repo.readers.tables import Shares, parse_split, read_tables

HOUR = timedelta(hours=1)


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
    assert "a name that its entity video and modality visual do not have" in own.only().problem


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
        ("2026-01-01T00:00:00", "2026-01-02T00:00:00Z", (0.8, 0.1), "expected an instant with its zone"),
    ],
)
def test_options_that_make_no_split(first: str | None, second: str | None, shares: tuple, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse_split(first, second, Shares(*shares))


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
    print_problems(own.problems())
    said = capsys.readouterr().err
    assert "Allowed, and what to do" in said
    assert "5: '[red]stare'" in said
