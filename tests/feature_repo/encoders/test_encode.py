"""The job: what it encodes, skips, records, refuses and writes; and that a kill costs nothing but time."""

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.database import Database
from contracts.errors import BadInput, ItemsSkipped, NotFound
from contracts.home import Home
from contracts.jobs import find_job
from feature_repo.encoders.encode import encode_snapshot
from feature_repo.encoders.encode_part import encode_part
from feature_repo.encoders.encoding import EncoderOptions, Fault, MediaItem
from feature_repo.encoders.media import write_clip, write_wav
from feature_repo.encoders.registry import ENCODERS
from feature_repo.encoders.work import encoder_for
from feature_repo.offline import current_snapshot, read_table
from tests.feature_repo.encoders.small_world import (
    DAY,
    Grey,
    grey_encoder,
    level_of,
    vectors_of,
    write_media,
    write_world,
)


def test_a_snapshot_gets_embeddings_and_keeps_all_else(
    home: Home, database: Database, media: Path, asked: list[str]
) -> None:
    with home.writing("test"):
        before = write_world(home, media)
    done = encode_snapshot(home, database, "grey", EncoderOptions(batch=4, threads=2))
    after = current_snapshot(home)
    assert (done.snapshot, done.created, done.encoded, done.skipped, done.faults) == (after, True, 6, 0, [])
    assert after.id != before.id
    assert {name: info for name, info in after.tables.items() if name in before.tables} == before.tables
    assert (after.embeddings, after.media, after.split) == ({"visual": done.spec}, before.media, before.split)
    vectors = vectors_of(home, after, "visual")
    assert {key: grey for key, (grey, _) in vectors.items()} == pytest.approx(
        {f"v{n}": level_of(n) for n in range(6)}, abs=2
    )
    assert {count for _, count in vectors.values()} == {2}
    table, videos = read_table(home, after, "embedding_visual"), read_table(home, after, "videos")
    assert table["event_time"].equals(videos["event_time"])
    assert table["ingested_at"].equals(videos["ingested_at"])
    row = find_job(database, done.job)
    assert (row.kind, row.state, row.done, row.total, row.rows) == ("encode", "done", 6, 6, 6)


def test_what_is_encoded_is_skipped_and_what_is_new_is_not(
    home: Home, database: Database, media: Path, asked: list[str]
) -> None:
    with home.writing("test"):
        write_world(home, media, videos=4)
    first = encode_snapshot(home, database, "grey", EncoderOptions())
    again = encode_snapshot(home, database, "grey", EncoderOptions())
    assert asked == ["v0", "v1", "v2", "v3"]
    assert (again.encoded, again.skipped, again.created, again.snapshot) == (0, 4, False, first.snapshot)
    with home.writing("test"):
        write_world(home, media, videos=6)
    third = encode_snapshot(home, database, "grey", EncoderOptions())
    assert asked[4:] == ["v4", "v5"]
    assert (third.encoded, third.skipped) == (2, 4)
    os.utime(media / "v1.mp4", (1, 1))  # touched, but the same
    write_clip(media / "v2.mp4", [np.full((32, 32, 3), 200, np.uint8)] * 3)  # another film
    fourth = encode_snapshot(home, database, "grey", EncoderOptions())
    assert asked[6:] == ["v2"]
    assert vectors_of(home, fourth.snapshot, "visual")["v2"][0] == pytest.approx(200, abs=2)
    assert list(vectors_of(home, fourth.snapshot, "visual")) == [f"v{n}" for n in range(6)]


def test_the_cache_can_be_lost_or_damaged(home: Home, database: Database, media: Path, asked: list[str]) -> None:
    with home.writing("test"):
        write_world(home, media)
    first = encode_snapshot(home, database, "grey", EncoderOptions(), part_items=2)
    parts = sorted((home.cache / "encodings").rglob("*.parquet"))
    assert len(parts) == 1  # a batch is never split
    parts[0].write_bytes(parts[0].read_bytes()[:100])
    fresh, old = (parts[0].parent / f".{name}.parquet.0.partial" for name in ("fresh", "old"))
    fresh.touch(), old.touch()
    os.utime(old, (1, 1))
    again = encode_snapshot(home, database, "grey", EncoderOptions())
    assert (again.encoded, again.snapshot) == (6, first.snapshot)
    assert (fresh.exists(), old.exists()) == (True, False)  # another job may be writing the first


def test_posts_are_encoded_from_images_and_clips(home: Home, database: Database, media: Path, asked: list[str]) -> None:
    with home.writing("test"):
        write_world(home, media)
    done = encode_snapshot(home, database, "grey", EncoderOptions(), entity="post")
    assert (done.name, done.encoded, done.absent) == ("post_visual", 2, 1)
    vectors = vectors_of(home, done.snapshot, "post_visual", "post_id")
    assert vectors["p0"] == [120, 2]
    assert vectors["p1"] == pytest.approx([level_of(0), 3], abs=2)  # three screenshots


def test_vectors_are_known_once_entity_and_encoder_are(
    home: Home, database: Database, media: Path, asked: list[str]
) -> None:
    with home.writing("test"):
        write_world(home, media)
    trained = DAY + timedelta(hours=2, minutes=30)  # when v2 became known
    done = encode_snapshot(home, database, "grey", EncoderOptions(available_from=trained))
    table = read_table(home, done.snapshot, "embedding_visual")
    half = timedelta(minutes=30)
    expected = [max(DAY + timedelta(hours=n) + half, trained) for n in range(6)]
    assert table["ingested_at"].to_pylist() == expected
    assert table["event_time"].to_pylist() == [DAY + timedelta(hours=n) for n in range(6)]
    assert done.spec.available_from == trained


def test_the_date_of_the_weights_does_not_make_their_vectors_anew(
    home: Home, database: Database, media: Path, asked: list[str]
) -> None:
    with home.writing("test"):
        write_world(home, media)
    encode_snapshot(home, database, "grey", EncoderOptions())
    with pytest.raises(BadInput, match=r"found available_from datetime.*; expected available_from None"):
        encode_snapshot(home, database, "grey", EncoderOptions(available_from=DAY))
    dated = encode_snapshot(home, database, "grey", EncoderOptions(available_from=DAY), beside=True)
    assert (dated.encoded, dated.skipped) == (0, 6)


def test_damaged_media_are_recorded_and_skipped(home: Home, database: Database, media: Path, asked: list[str]) -> None:
    (media / "v1.mp4").write_bytes(b"no film")
    (media / "v3.mp4").unlink()
    with home.writing("test"):
        write_world(home, media, media=[f"v{n}.mp4" for n in range(5)] + [None])
    done = encode_snapshot(home, database, "grey", EncoderOptions(batch=2))
    assert (done.encoded, done.absent, done.items) == (3, 1, 6)
    assert list(vectors_of(home, done.snapshot, "visual")) == ["v0", "v2", "v4"]
    assert [(fault["id"], fault["path"]) for fault in done.faults] == [("v1", "v1.mp4"), ("v3", "v3.mp4")]
    assert done.faults_file is not None
    recorded = json.loads(done.faults_file.read_text())
    assert recorded["faults"] == done.faults
    assert recorded["faults"][1]["reason"] == "no such file"
    assert isinstance(done.error, ItemsSkipped)
    assert "2 of 6 items that cannot be read, the first v1: v1.mp4: a medium that cannot be read" in str(done.error)
    write_media(media, 6)
    asked.clear()
    repaired = encode_snapshot(home, database, "grey", EncoderOptions())
    assert asked == ["v1", "v3"]
    assert (repaired.error, repaired.skipped) == (None, 3)
    assert not done.faults_file.exists()


def test_nothing_is_written_where_nothing_could_be_encoded(
    home: Home, database: Database, media: Path, asked: list[str]
) -> None:
    with home.writing("test"):
        before = write_world(home, media, media=[None, None])
    with pytest.raises(NotFound, match="found nothing to encode in 2 rows"):
        encode_snapshot(home, database, "grey", EncoderOptions())
    with home.writing("test"):
        before = write_world(home, media, media=["none.mp4"])
    with pytest.raises(NotFound, match=r"found 1 of 1 items that cannot be read, the first v0: none\.mp4"):
        encode_snapshot(home, database, "grey", EncoderOptions())
    assert current_snapshot(home) == before


@pytest.mark.parametrize(
    "path", ["../secret.mp4", "a/../../secret.mp4", "/etc/passwd", "..\\secret.mp4", "C:\\secret.mp4", "a\x00.mp4"]
)
def test_paths_that_leave_the_media_directory_are_refused(
    home: Home, database: Database, media: Path, asked: list[str], path: str
) -> None:
    with home.writing("test"):
        write_world(home, media, media=["v0.mp4", path])
    with pytest.raises(BadInput, match=r"table 'videos', column media: found 1 paths that lead out"):
        encode_snapshot(home, database, "grey", EncoderOptions())
    assert asked == []


def test_links_that_leave_the_media_directory_are_faults(
    home: Home, database: Database, media: Path, asked: list[str]
) -> None:
    outside = media.parent / "secret.mp4"
    outside.write_bytes((media / "v0.mp4").read_bytes())
    (media / "link.mp4").symlink_to(outside)
    (media / "inner.mp4").symlink_to(media / "v1.mp4")
    with home.writing("test"):
        write_world(home, media, media=["v0.mp4", "link.mp4", "inner.mp4", "a..b.mp4"])
    done = encode_snapshot(home, database, "grey", EncoderOptions())
    assert [(fault["id"], fault["path"], fault["reason"]) for fault in done.faults] == [
        ("v1", "link.mp4", "a link that leads out of the media directory"),
        ("v3", "a..b.mp4", "no such file"),
    ]
    assert list(vectors_of(home, done.snapshot, "visual")) == ["v0", "v2"]


def test_data_without_media_are_refused(home: Home, database: Database, media: Path, asked: list[str]) -> None:
    with home.writing("test"):
        write_world(home, media)
    media.rename(media.with_name("moved"))
    with pytest.raises(NotFound, match=r"found no directory .*media; expected the directory the data were ingested"):
        encode_snapshot(home, database, "grey", EncoderOptions())


def test_a_snapshot_without_a_media_directory_is_refused(
    home: Home, database: Database, make_platform: Callable[..., Any], asked: list[str]
) -> None:
    from feature_repo.offline import write_snapshot

    with home.writing("test"):
        write_snapshot(home, make_platform([(0, 0, timedelta(0))]))
    with pytest.raises(BadInput, match="found no media directory"):
        encode_snapshot(home, database, "grey", EncoderOptions())
    with pytest.raises(NotFound, match="table 'posts' of snapshot"):
        encode_snapshot(home, database, "grey", EncoderOptions(), entity="post")


def test_unknown_encoders_and_entities_are_named() -> None:
    with pytest.raises(NotFound, match="encoder 'resnet5': found no encoder of that name; expected 'resnet50'"):
        encoder_for("resnet5", None)
    with pytest.raises(NotFound, match="entity of vggish 'post'"):
        encoder_for("vggish", "post")
    assert encoder_for("vggish", None)[1] == "music"
    for name, encoder in ENCODERS.items():
        assert encoder.name == name
    for name in ("handcrafted-image", "handcrafted-text", "music-content"):
        encoder = ENCODERS[name]
        encoding = encoder.build(EncoderOptions())
        for entity in encoder.entities:
            assert (encoding.spec(entity).entity, encoding.spec(entity).modality) == (entity, encoder.modality)


def test_specs_do_not_mix(home: Home, database: Database, media: Path, asked: list[str]) -> None:
    with home.writing("test"):
        write_world(home, media)
    first = encode_snapshot(home, database, "grey", EncoderOptions())
    asked.clear()
    with pytest.raises(BadInput, match=r"found revision '2'; expected revision '1'\. Next: .*--beside"):
        encode_snapshot(home, database, "grey-2", EncoderOptions())
    with pytest.raises(BadInput, match="found preprocessing '5 frames'; expected preprocessing '2 frames'"):
        encode_snapshot(home, database, "grey", EncoderOptions(frames=5))
    assert asked == []
    assert current_snapshot(home) == first.snapshot


def test_an_item_that_breaks_a_library_does_not_break_the_job(media: Path) -> None:
    class Fragile(Grey):
        def encode(self, batch: Sequence[MediaItem]) -> tuple[Any, list[Fault | None]]:
            if any(item.id == "v1" for item in batch):
                raise RuntimeError("decoder lost its mind")
            vectors, faults = super().encode(batch)
            vectors[[item.id == "v2" for item in batch]] = np.nan
            return vectors, faults

    items = [MediaItem("video", f"v{n}", clip=media / f"v{n}.mp4") for n in range(4)]
    encoder = grey_encoder([])
    part = encode_part(encoder, Fragile(EncoderOptions()), items, batch=3)
    assert part["id"].to_pylist() == ["v0", "v1", "v2", "v3"]
    assert [vector is None for vector in part["vector"].to_pylist()] == [False, True, True, False]
    assert part["reason"].to_pylist()[1:3] == [
        "RuntimeError: decoder lost its mind",
        "a vector with NaN or infinite values",
    ]
    assert part["path"].to_pylist()[1] == str(media / "v1.mp4")
    with pytest.raises(RuntimeError, match="lost its mind"):  # no item's fault: nothing passes
        encode_part(encoder, Fragile(EncoderOptions()), [items[1]] * 3, batch=3)
    assert encode_part(encoder, Fragile(EncoderOptions()), [], batch=3).num_rows == 0


def test_rows_that_came_otherwise_stay(home: Home, database: Database, media: Path, asked: list[str]) -> None:
    """A vector of an item without media, such as a pushed one, is of the same spec and is kept."""
    with home.writing("test"):
        write_world(home, media)
    first = encode_snapshot(home, database, "grey", EncoderOptions())
    from feature_repo.encoders.revisions import rewrite

    table = read_table(home, first.snapshot, "videos")
    gone = table["media"].to_pylist()
    gone[2] = None
    column = table.schema.get_field_index("media")
    import pyarrow as pa

    with home.writing("test"):
        rewrite(
            home,
            first.snapshot,
            {"videos": table.set_column(column, table.schema.field(column), pa.array(gone, pa.string()))},
            first.snapshot.embeddings,
        )
    again = encode_snapshot(home, database, "grey", EncoderOptions())
    assert (again.absent, again.skipped) == (1, 5)
    assert vectors_of(home, again.snapshot, "visual") == vectors_of(home, first.snapshot, "visual")


def test_music_content_fills_what_is_missing_and_no_more(
    home: Home, database: Database, media: Path, sine: Callable
) -> None:
    write_wav(media / "m0.wav", sine(440, 3, 22_050), 22_050)
    write_wav(media / "m1.wav", np.zeros(22_050, np.float32), 22_050)
    with home.writing("test"):
        before = write_world(home, media)
    with pytest.raises(BadInput, match="option --available-from of music-content"):
        encode_snapshot(
            home, database, "music-content", EncoderOptions(available_from=datetime(2025, 1, 1, tzinfo=UTC))
        )
    done = encode_snapshot(home, database, "music-content", EncoderOptions())
    assert (done.name, done.encoded, done.snapshot.embeddings) == ("mood, pitch, tempo", 2, {})
    music, old = read_table(home, done.snapshot, "music"), read_table(home, before, "music")
    assert music["mood"].to_pylist() == ["sad", None]  # the first was given, and silence has none
    assert music["pitch"].to_pylist() == [pytest.approx(440, rel=0.01), None]
    assert music["tempo"].to_pylist() == [99.0, 77.0]
    unchanged = [name for name in old.column_names if name not in ("mood", "pitch", "tempo")]
    assert music.select(unchanged).equals(old.select(unchanged))
    again = encode_snapshot(home, database, "music-content", EncoderOptions())
    assert (again.items, again.encoded, again.skipped, again.created) == (1, 0, 1, False)


def test_music_that_lacks_nothing_is_left_alone(home: Home, database: Database, media: Path, sine: Callable) -> None:
    from feature_repo.encoders.revisions import rewrite

    with home.writing("test"):
        first = write_world(home, media)
        table = read_table(home, first, "music")
        import pyarrow as pa

        for name, value in (("mood", "calm"), ("pitch", 1.0)):
            column = table.schema.get_field_index(name)
            kind = table.schema.field(name)
            table = table.set_column(column, kind, pa.array([value] * 2, kind.type))
        full, _ = rewrite(home, first, {"music": table}, {})
    done = encode_snapshot(home, database, "music-content", EncoderOptions())
    assert (done.items, done.created, done.snapshot) == (0, False, full)
