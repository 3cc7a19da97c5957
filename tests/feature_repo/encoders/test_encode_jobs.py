"""Encoding beside other commands, stopped, killed, resumed and queued."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from contracts.database import Database
from contracts.errors import Conflict, HomeBusy
from contracts.home import Home
from contracts.jobs import cancel_job, find_job, list_jobs, pause_job, requeue_job
from contracts.settings import Settings, load_settings
from feature_repo.encoders import encode as job
from feature_repo.encoders.encode import encode_snapshot, resume_encoding
from feature_repo.encoders.encoding import EncoderOptions
from feature_repo.offline import current_snapshot
from tests.feature_repo.encoders.small_world import DAY, vectors_of, write_media, write_world

REPOSITORY = Path(__file__).resolve().parents[3]


def test_the_home_is_free_while_media_are_encoded_and_new_data_are_encoded_too(
    home: Home, database: Database, media: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.writing("test"):
        write_world(home, media, videos=3)
    real, rounds = job.encode_part, []

    def meanwhile(*arguments: Any) -> Any:
        if not rounds:
            with home.writing("an ingest"):
                write_world(home, media, videos=5)
        rounds.append(1)
        return real(*arguments)

    monkeypatch.setattr(job, "encode_part", meanwhile)
    done = encode_snapshot(home, database, "grey", EncoderOptions())
    assert asked == ["v0", "v1", "v2", "v3", "v4"]
    assert len(vectors_of(home, done.snapshot, "visual")) == 5
    assert (done.encoded, done.skipped) == (2, 3)


def test_a_busy_home_costs_no_work(home: Home, database: Database, media: Path, asked: list[str]) -> None:
    with home.writing("test"):
        write_world(home, media)
    with home.writing("an ingest"):
        with pytest.raises(HomeBusy, match="an ingest"):
            encode_snapshot(home, database, "grey", EncoderOptions())
    done = encode_snapshot(home, database, "grey", EncoderOptions())
    assert (done.encoded, done.skipped) == (0, 6)


def test_a_second_job_for_the_same_spec_is_refused(
    home: Home, database: Database, media: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.writing("test"):
        write_world(home, media)
    real = job.encode_part

    def meanwhile(*arguments: Any) -> Any:
        with pytest.raises(Conflict, match="at work on it"):
            encode_snapshot(home, database, "grey", EncoderOptions())
        return real(*arguments)

    monkeypatch.setattr(job, "encode_part", meanwhile)
    assert encode_snapshot(home, database, "grey", EncoderOptions()).encoded == 6


def test_a_paused_job_goes_on_where_it_stopped(
    home: Home, database: Database, media: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.writing("test"):
        before = write_world(home, media)
    real = job.encode_part

    def meanwhile(*arguments: Any) -> Any:
        if len(asked) == 2:
            pause_job(database, list_jobs(database)[0].id)
        return real(*arguments)

    monkeypatch.setattr(job, "encode_part", meanwhile)
    paused = encode_snapshot(home, database, "grey", EncoderOptions(batch=2), part_items=2)
    assert (paused.state, paused.document()["outcome"], current_snapshot(home)) == ("paused", "paused", before)
    assert asked == ["v0", "v1", "v2", "v3"]
    done = encode_snapshot(home, database, "grey", EncoderOptions(batch=2), part_items=2)
    assert asked == [f"v{n}" for n in range(6)]
    assert (done.encoded, done.skipped) == (2, 4)


SLOW = """
import sys, time
from pathlib import Path
from contracts.database import Database
from contracts.home import Home
from contracts.settings import load_settings
from feature_repo.encoders.encode import encode_snapshot
from feature_repo.encoders.encoding import EncoderOptions
from feature_repo.encoders.registry import ENCODERS
from feature_repo.encoders.work import encoder_for
from tests.feature_repo.encoders.small_world import grey_encoder

class Slow(list):
    def __iadd__(self, ids):
        time.sleep(0.2)
        return self

ENCODERS["grey"] = grey_encoder(Slow())
settings = load_settings(home=Path(sys.argv[1]))
home = Home.open(settings)
encode_snapshot(home, Database(settings, home), "grey", EncoderOptions(batch=2), part_items=2)
"""


@pytest.fixture
def killed(home: Home, tmp_path: Path, media: Path) -> int:
    """A home in which an encoding was killed; gives the number of items that were durable by then."""
    write_media(media, 24)
    with home.writing("test"):
        write_world(home, media, videos=24)
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(home.root)], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while len(list((home.cache / "encodings").rglob("*.parquet"))) < 3:
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline, "it wrote no parts"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    return sum(pq.read_metadata(path).num_rows for path in (home.cache / "encodings").rglob("*.parquet"))


def test_a_killed_job_goes_on_and_ends_as_if_it_had_not_been(
    home: Home, database: Database, media: Path, killed: int, asked: list[str], tmp_path: Path
) -> None:
    assert 6 <= killed < 24
    assert current_snapshot(home).embeddings == {}
    resumed = encode_snapshot(home, database, "grey", EncoderOptions(batch=2))
    assert (resumed.skipped, resumed.encoded) == (killed, 24 - killed)
    assert asked == [f"v{n}" for n in range(killed, 24)]
    settings = load_settings(home=tmp_path / "other")
    other = Home.open(settings)
    with other.writing("test"):
        write_world(other, media, videos=24)
    whole = encode_snapshot(other, Database(settings, other), "grey", EncoderOptions(batch=5))
    assert whole.snapshot.id == resumed.snapshot.id  # ids are hashes of all values


def _pause(home: Home, database: Database, monkeypatch: pytest.MonkeyPatch, **options: Any) -> str:
    """Begin an encoding of six videos and pause it after the first two; gives the job."""
    real = job.encode_part

    def once(*arguments: Any) -> Any:
        monkeypatch.setattr(job, "encode_part", real)
        pause_job(database, list_jobs(database)[0].id)
        return real(*arguments)

    monkeypatch.setattr(job, "encode_part", once)
    done = encode_snapshot(home, database, "grey", EncoderOptions(batch=2, **options), part_items=2)
    assert done.state == "paused"
    return done.job


def test_a_job_is_resumed_with_the_options_it_had(
    settings: Settings, home: Home, database: Database, media: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.writing("test"):
        write_world(home, media)
    paused = _pause(home, database, monkeypatch, frames=3, available_from=DAY, weights="some.pth")
    parameters = find_job(database, paused).parameters
    assert parameters["options"]["weights"] == str(Path("some.pth").absolute())  # it may be resumed from elsewhere
    done = resume_encoding(settings, home, database, paused)
    assert (done.job, done.state, done.encoded, done.skipped) == (paused, "done", 4, 2)
    assert asked == [f"v{n}" for n in range(6)]
    assert done.spec.preprocessing == "3 frames"
    assert done.spec.available_from == DAY
    assert find_job(database, paused).attempts == 2
    with pytest.raises(Conflict):
        resume_encoding(settings, home, database, paused)


def test_a_cancelled_job_writes_no_snapshot(
    home: Home, database: Database, media: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.writing("test"):
        before = write_world(home, media)
    real = job.encode_part

    def meanwhile(*arguments: Any) -> Any:
        cancel_job(database, list_jobs(database)[0].id)
        return real(*arguments)

    monkeypatch.setattr(job, "encode_part", meanwhile)
    done = encode_snapshot(home, database, "grey", EncoderOptions())
    assert (done.state, current_snapshot(home)) == ("cancelled", before)


def test_a_worker_does_an_encoding_that_waits(
    settings: Settings,
    home: Home,
    database: Database,
    media: Path,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from feature_repo.materialization.worker import work

    (media / "v5.mp4").write_bytes(b"no film")
    with home.writing("test"):
        write_world(home, media)
    paused = _pause(home, database, monkeypatch)
    requeue_job(database, paused)
    assert work(settings, home, once=True) == [(paused, "done")]
    assert list(vectors_of(home, current_snapshot(home), "visual")) == [f"v{n}" for n in range(5)]
    assert "error: encoding of video with grey: found 1 of 6 items that cannot be read" in capsys.readouterr().err
