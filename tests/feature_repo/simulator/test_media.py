"""Media files of a simulated platform: they can be read, and show what the rows say."""

import hashlib
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from contracts.errors import BackbeatError, BadInput
from contracts.home import Home
from feature_repo.commands import ingest
from feature_repo.offline import read_snapshot, read_table
from feature_repo.raw_tables import RawTables
from feature_repo.simulator import Plan, generate, media_of, plan_of
from feature_repo.simulator.media import RATE, MediaPlan, picture, sound

app = typer.Typer()
app.add_typer(ingest, name="ingest")
ITEMS = 8


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(users=40, videos=60, days=5, seed=1, events=300, posts=80)


@pytest.fixture(scope="module")
def made(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> tuple[RawTables, MediaPlan]:
    media = media_of(plan, tmp_path_factory.mktemp("media"), ITEMS)
    raw, write = generate(plan, media)
    done: list[int] = []
    assert write(lambda n=1, note="": done.append(n))
    assert sum(done) == 3 * ITEMS
    return raw, media


def read_wav(path: Path) -> tuple[np.ndarray[Any, Any], int]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        samples = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(stream)])
        return samples.astype(float) / 32768, stream.rate


def tempo_of(samples: np.ndarray[Any, Any]) -> float:
    """Beats per minute: the strongest period of the loudness between 50 and 200."""
    hop = RATE // 200
    loudness = np.abs(samples[: len(samples) // hop * hop]).reshape(-1, hop).mean(axis=1)
    rises = np.convolve(np.maximum(np.diff(loudness), 0), np.hanning(9))  # a period need not be whole in hops
    rises -= rises.mean()
    correlation = np.correlate(rises, rises, "full")[len(rises) - 1 :]
    lags = np.arange(len(correlation))
    allowed = (lags >= 200 * 60 / 200) & (lags <= 200 * 60 / 50)
    # Twice the period repeats as well: of what is nearly as strong, take the shortest.
    best = correlation[allowed].max()
    lag = lags[allowed & (correlation > 0.85 * best)][0]
    around = slice(lag, lag + 3)
    return float(60 * 200 / lags[around][correlation[around].argmax()])


def test_paths_are_of_files_and_nothing_else_has_paths(made: tuple[RawTables, MediaPlan]) -> None:
    raw, media = made
    assert raw.media == media.directory
    paths = [
        *raw.tables["videos"]["media"].drop_null().to_pylist(),
        *raw.tables["music"]["media"].drop_null().to_pylist(),
        *raw.tables["posts"]["video"].drop_null().to_pylist(),
        *(path for images in raw.tables["posts"]["images"].drop_null().to_pylist() for path in images),
    ]
    files = {str(path.relative_to(media.directory)) for path in media.directory.rglob("*.*")}
    assert {path for path in files if not path.endswith(".txt")} == set(paths)
    assert raw.tables["videos"]["media"].null_count == 60 - ITEMS
    shown = raw.tables["posts"].slice(0, ITEMS).to_pandas()
    seen = set(raw.tables["embedding_post_visual"]["post_id"].to_pylist())
    assert set(shown["post_id"][shown["images"].notna() | shown["video"].notna()]) == seen & set(shown["post_id"])


def test_clips_have_pictures_and_the_sound_of_their_music(made: tuple[RawTables, MediaPlan]) -> None:
    raw, media = made
    for path in raw.tables["videos"]["media"].to_pylist()[:3]:
        with av.open(str(media.directory / path)) as container:
            assert {stream.type for stream in container.streams} == {"video", "audio"}
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) == 30
        assert frames[0].shape == (48, 64, 3)
        assert np.abs(frames[0].astype(int) - frames[-1].astype(int)).mean() > 1  # it moves
        with av.open(str(media.directory / path)) as container:
            sound_s = sum(frame.samples for frame in container.decode(audio=0)) / RATE
        assert sound_s == pytest.approx(3, abs=0.2)


def test_music_has_the_tempo_and_pitch_of_its_row(made: tuple[RawTables, MediaPlan]) -> None:
    raw, media = made
    for row in raw.tables["music"].slice(0, ITEMS).to_pylist():
        samples, rate = read_wav(media.directory / row["media"])
        assert rate == RATE
        assert len(samples) == 8 * RATE
        assert tempo_of(samples) == pytest.approx(row["tempo"], rel=0.03)
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        frequencies = np.fft.rfftfreq(len(samples), 1 / rate)
        audible = frequencies > 75  # above the drum
        assert frequencies[audible][spectrum[audible].argmax()] == pytest.approx(row["pitch"], rel=0.02)


def test_images_show_content_and_mood(made: tuple[RawTables, MediaPlan]) -> None:
    raw, media = made
    paths = [path for images in raw.tables["posts"]["images"].drop_null().to_pylist() for path in images]
    with Image.open(media.directory / paths[0]) as image:
        assert (image.format, image.size) == ("PNG", (64, 48))
    one, other = np.eye(16, dtype=np.float32)[:2]
    bright, dark = np.array([2.0, 0.0], np.float32), np.array([-2.0, 0.0], np.float32)
    assert picture(one, bright).mean() > picture(one, dark).mean() + 40
    assert np.abs(picture(one, bright).astype(int) - picture(other, bright).astype(int)).mean() > 20
    assert np.array_equal(picture(one, bright), picture(one, bright))


def test_sound_stays_in_range() -> None:
    samples = sound(220.0, 120.0, np.zeros(6, np.float32), np.array([1.0, 3.0], np.float32), 2.0)
    assert samples.dtype == np.float32
    assert 0.5 < np.abs(samples).max() <= 0.9


def test_texts_are_those_of_the_rows(made: tuple[RawTables, MediaPlan]) -> None:
    raw, media = made
    for row in raw.tables["posts"].slice(0, ITEMS).to_pylist():
        path = media.directory / "posts" / f"{row['post_id']}.txt"
        assert (path.read_text(encoding="utf-8").rstrip("\n") if path.exists() else None) == row["text"]


def digests(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*.*"))
    }


def test_equal_arguments_equal_files(made: tuple[RawTables, MediaPlan], plan: Plan, tmp_path: Path) -> None:
    _, media = made
    again = media_of(plan, tmp_path, ITEMS)
    assert again.directory.name == media.directory.name
    _, write = generate(plan, again)
    assert write(lambda n=1, note="": None)
    assert digests(again.directory) == digests(media.directory)
    assert not write(lambda n=1, note="": None)  # they are there


def test_half_written_media_are_no_media(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media = media_of(plan, tmp_path, ITEMS)
    _, write = generate(plan, media)

    def fails(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr("feature_repo.encoders.media.write_wav", fails)
    with pytest.raises(OSError, match="the disk is gone"):
        write(lambda n=1, note="": None)
    assert list(tmp_path.iterdir()) == []


def run(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["ingest", "simulate", *arguments, "--json"])
    if isinstance(result.exception, BackbeatError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_the_command_with_media(home: Home) -> None:
    options = ("--preset", "small", "--scale", "0.5", "--music", "20", "--late", "0.1", "--media", "--media-items", "3")
    first = run(*options, "--home", str(home.root))
    assert (first["tables"]["users"], first["tables"]["music"], first["outcome"]) == (100, 20, "created")
    assert "late=0.1" in first["source"]
    snapshot = read_snapshot(home, first["snapshot"])
    assert snapshot.media is not None
    assert Path(snapshot.media).parent == home.root / "media"
    for path in read_table(home, snapshot, "videos", ["media"])["media"].drop_null().to_pylist():
        assert (Path(snapshot.media) / path).is_file()
    again = run(*options, "--home", str(home.root))
    assert (again["snapshot"], again["outcome"]) == (first["snapshot"], "unchanged")
    assert run(*options[:-3], "--home", str(home.root))["snapshot"] != first["snapshot"]


def test_bad_options_leave_no_home(home: Home, plan: Plan, tmp_path: Path) -> None:
    for options, message in (
        (("--media", "--media-items", "0"), "option --media-items: found 0; expected 1 to 100,000"),
        (("--media-items", "5"), "option --media-items: found 5 without --media; expected --media beside it"),
        (("--preset", "douyin"), "found no preset of that name"),
        (("--late", "0.9"), "option --late: found 0.9"),
        (("--post-images", "5"), "option --post-images: found 5.0"),
    ):
        with pytest.raises(BackbeatError, match=message):
            run(*options, "--home", str(home.root))
    assert not home.root.exists()
    with pytest.raises(BadInput, match="option --media-items: found 100001"):
        media_of(plan, tmp_path, 100_001)
