"""`features push`, `consume` and `merge` as somebody runs them; what is wrong is said before anything is sent."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.database import Database
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.settings import Settings, environment_of_child
from contracts.snapshot import Snapshot
from feature_repo.apply import apply_features
from feature_repo.materialize import materialize
from feature_repo.offline import write_snapshot
from feature_repo.online import OnlineFeatures
from feature_repo.raw_tables import RawTables
from feature_repo.stream.inbox import open_inbox
from feature_repo.stream.landing import Landing
from feature_repo.stream.push import push, push_file, push_lines

NOW = datetime.now(UTC) - timedelta(minutes=1)


@pytest.fixture
def base(home: Home, make_platform: Callable[..., RawTables]) -> Snapshot:
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, make_platform([(0, 0, timedelta(0)), (1, 1, timedelta(0))]))
    return snapshot


def event(**changes: object) -> dict[str, object]:
    return {"user_id": "user-0", "video_id": "video-1", "kind": "view", "weight": 1.0, "event_time": NOW, **changes}


def table(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows))


def test_a_push_is_one_batch_for_the_current_data_set(settings: Settings, home: Home, base: Snapshot) -> None:
    batch = push(settings, home, "interactions", table(event(), event(user_id="user-1")))
    (delivery,) = open_inbox(settings, home, base.dataset).waiting(0)
    assert delivery.batch is not None
    assert (delivery.batch.id, delivery.batch.dataset) == (batch.id, base.dataset)
    rows = delivery.batch.rows.to_pylist()
    assert [row["user_id"] for row in rows] == ["user-0", "user-1"]
    assert all(row["event_time"] == NOW for row in rows)


def test_lines_and_files_make_the_same_rows(settings: Settings, home: Home, base: Snapshot, tmp_path: Path) -> None:
    line = json.dumps(event(event_time=NOW.isoformat()))
    push_lines(settings, home, "interactions", io.BytesIO(f"{line}\n\n{line.replace('video-1', 'video-2')}\n".encode()))
    pq.write_table(table(event(), event(video_id="video-2")), tmp_path / "events.parquet")
    push_file(settings, home, "interactions", tmp_path / "events.parquet")
    csv = f"user_id,video_id,kind,weight,event_time\nuser-0,video-1,view,1,{NOW.isoformat()}\n"
    (tmp_path / "events.csv").write_text(csv + csv.splitlines()[1].replace("video-1", "video-2") + "\n")
    push_file(settings, home, "interactions", tmp_path / "events.csv")
    found = [
        delivery.batch.rows.drop_columns("ingested_at")
        for delivery in open_inbox(settings, home, base.dataset).waiting(0)
    ]
    assert len(found) == 3
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([event(event_time=NOW.replace(tzinfo=None))], "naive timestamps"),
        ([event(event_time=NOW + timedelta(days=1))], "in the future"),
        ([event(kind="glance")], "an unknown kind"),
        ([event(weight=float("nan"))], "NaN or infinite"),
        ([event(user="x")], "a column that the table does not have"),
        ([{"user_id": "user-0"}], "a missing column"),
    ],
)
def test_what_breaks_the_contract_is_not_sent(
    settings: Settings, home: Home, base: Snapshot, rows: list[dict[str, object]], said: str
) -> None:
    with pytest.raises(BadInput, match=rf"{said}.*nothing of them was sent"):
        push(settings, home, "interactions", table(*rows))
    assert open_inbox(settings, home, base.dataset).waiting(0) == []


def test_vectors_must_be_of_the_spec(settings: Settings, home: Home, base: Snapshot) -> None:
    row = {"video_id": "video-1", "event_time": NOW}
    with pytest.raises(BadInput, match="another width than the 2 of the spec"):
        push(settings, home, "embedding_visual", table({**row, "vector": [1.0, 2.0, 3.0]}))
    push(settings, home, "embedding_visual", table({**row, "vector": [1.0, 2.0]}))
    with pytest.raises(NotFound, match=r"'embedding_textual'.*'embedding_visual'.*backbeat features encode"):
        push(settings, home, "embedding_textual", table({**row, "vector": [1.0, 2.0]}))


def test_tables_and_lines_nobody_can_read(settings: Settings, home: Home, base: Snapshot) -> None:
    with pytest.raises(NotFound, match=r"table 'interaction'.*'interactions'"):
        push(settings, home, "interaction", table(event()))
    with pytest.raises(BadInput, match=r"-, line 2: found \[1\]"):
        push_lines(settings, home, "interactions", io.BytesIO(b"{}\n[1]\n"))
    with pytest.raises(BadInput, match="-: found no rows"):
        push_lines(settings, home, "interactions", io.BytesIO(b"\n"))
    mixed = [event(event_time=NOW.isoformat(), weight=weight) for weight in (1.0, "x")]
    with pytest.raises(BadInput, match="column weight") as refused:
        push_lines(settings, home, "interactions", io.BytesIO("\n".join(map(json.dumps, mixed)).encode()))
    assert len(refused.value.as_dict()["problems"]) == 2, "a second event at the same instant as well"


def run(settings: Settings, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "backbeat", *arguments]
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command, env=environment_of_child(settings), capture_output=True, text=True, timeout=300, **options
    )


def test_pushed_consumed_killed_and_merged_on_the_command_line(
    settings: Settings, home: Home, database: Database, base: Snapshot, passed: Callable[..., None]
) -> None:
    with home.writing("test"):
        apply_features(settings, home)
    passed(database, base.id)
    materialize(settings, home)
    consumer = subprocess.Popen(
        [sys.executable, "-m", "backbeat", "features", "consume"],
        env=environment_of_child(settings),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert consumer.stderr is not None
    while "waiting for rows" not in consumer.stderr.readline():
        assert consumer.poll() is None
    sent = run(settings, "features", "push", "interactions", input=json.dumps(event(event_time=NOW.isoformat())))
    assert sent.returncode == 0, sent.stderr
    assert "pushed 1 rows of interactions" in sent.stdout
    online = OnlineFeatures(settings, home, base.id)
    until = time.monotonic() + 60
    while online.user_history(["user-0"]) != [["video-0", "video-1"]]:
        assert time.monotonic() < until, "the pushed event never came online"
        time.sleep(0.05)
    os.kill(consumer.pid, signal.SIGKILL)
    consumer.wait()
    # While nobody consumes, rows wait; the next consumer takes over the dead one's lock.
    again = event(event_time=(NOW + timedelta(seconds=1)).isoformat(), video_id="video-2")
    for _ in range(2):
        sent = run(
            settings, "features", "push", "interactions", "--batch-id", "twice", "--json", input=json.dumps(again)
        )
        assert json.loads(sent.stdout)["batch"] == "twice"
    done = run(settings, "features", "consume", "--once", "--json")
    assert done.returncode == 0, done.stderr
    assert online.user_history(["user-0"]) == [["video-0", "video-1", "video-2"]]
    assert Landing(home, base.dataset).tables(base)["interactions"].num_rows == 2
    merged = run(settings, "features", "merge", "--json")
    assert json.loads(merged.stdout)["added"] == {"interactions": 2}
