"""Frames of videos that get their music: every video is an event, and what it is like is its context."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts.errors import NotFound
from feature_repo.frame import TrainingFrame, load_all_events, load_unjudged_frame
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables, microseconds
from feature_repo.simulator import generate, plan_of


@pytest.fixture(scope="module")
def raw() -> RawTables:
    """One video has no music, one no visual vector; some music lacks facts, and some has facts of its own."""
    sizes = {"users": 12, "music": 20, "videos": 240, "events": 120, "posts": 12, "listens": 12, "follows": 20}
    raw, _ = generate(plan_of("bgm", 0.001, seed=3, **sizes))
    videos, music, vectors = (raw.tables[name] for name in ("videos", "music", "embedding_visual"))
    chosen = videos["music_id"].to_pylist()
    counts, first = Counter(chosen), videos.sort_by("event_time")["music_id"][0].as_py()
    rare = min((m for m in counts if m != first), key=lambda m: counts[m])
    chosen = [first if each == rare else each for each in chosen]  # so that nobody takes the rare one
    chosen[4] = None
    videos = videos.set_column(videos.schema.get_field_index("music_id"), videos.schema.field("music_id"), [chosen])
    facts = music.to_pydict()
    of = {each: row for row, each in enumerate(facts["music_id"])}
    facts["genre"][of[rare]], facts["pitch"][of[rare]] = "unheard-of", 1e6
    facts["mood"][of[first]] = facts["tempo"][of[first]] = None
    music = pa.table(facts, schema=music.schema)
    changed = {"videos": videos, "music": music, "embedding_visual": vectors[1:]}
    return replace(raw, tables=raw.tables | changed)


@pytest.fixture(scope="module")
def world(make_world: Callable[[RawTables], Any], raw: RawTables) -> Any:
    return make_world(raw)


@pytest.fixture(scope="module")
def frame(world: Any) -> TrainingFrame:
    loaded: TrainingFrame = world.frame("dl_bgm_v1")
    return loaded


def videos_of(world: Any) -> list[dict[str, Any]]:
    """Videos with music in order of arrival."""
    rows = [row for row in world.rows("videos") if row["music_id"] is not None]
    return sorted(rows, key=lambda row: max(row["event_time"], row["ingested_at"]))


def test_every_video_with_music_is_an_event_of_its_author(world: Any, frame: TrainingFrame) -> None:
    rows, split = videos_of(world), world.snapshot.split
    events = load_all_events(world.home, frame)
    test = events.parts(frame.snapshot.split)[2]
    assert len(events) == len(rows) == world.snapshot.tables["videos"].rows - 1
    users = frame.users.rows([row["author_id"] for row in rows])
    items = frame.items.rows([row["music_id"] for row in rows])
    assert np.array_equal(events.pairs, np.stack([users, items], axis=1))
    assert np.array_equal(events.times, [row["event_time"] for row in rows])
    early = sum(row["event_time"] < microseconds(split.train_until) for row in rows)
    later = sum(row["event_time"] < microseconds(split.validation_until) for row in rows)
    assert [len(frame.train), len(frame.validation), len(test)] == [early, later - early, len(rows) - later]
    assert min(early, later - early, len(rows) - later) > 0
    assert len(set(map(tuple, frame.train.tolist()))) < len(frame.train), "an author takes the same music again"


def test_a_frame_knows_the_titles_of_the_videos(world: Any, frame: TrainingFrame) -> None:
    titles = [row["title"] for row in videos_of(world)]
    assert None in titles
    assert frame.context_texts == tuple(titles)
    assert world.frame("listens_v1").context_texts is None


def test_a_context_is_the_video_and_its_content(world: Any, frame: TrainingFrame) -> None:
    rows, events = videos_of(world), load_all_events(world.home, frame)
    assert list(frame.contexts) == ["video", "textual", "visual"], "the acoustic modality is that of the music"
    assert frame.contexts["video"].tolist() == [[row] for row in range(len(rows))]
    for modality in ("textual", "visual"):
        vectors = {row["video_id"]: row["vector"] for row in world.rows(f"embedding_{modality}")}
        found = frame.contexts[modality][events.context]
        width = world.snapshot.embeddings[modality].width
        wanted = [vectors.get(row["video_id"], [0.0] * width) for row in rows]
        assert np.array_equal(found, np.array(wanted, np.float32))
    assert (~frame.contexts["visual"].any(axis=1)).sum() == 1
    assert sorted(frame.context_specs) == ["textual", "visual"]


def test_what_authors_took_before_the_cut(world: Any, frame: TrainingFrame) -> None:
    cut = microseconds(world.snapshot.split.train_until)
    early = [row for row in videos_of(world) if row["event_time"] < cut]
    taken = Counter(frame.items.rows([row["music_id"] for row in early]).tolist())
    assert frame.popularity.tolist() == [taken[item] for item in range(len(frame.items))]
    for user in frame.users.ids(range(len(frame.users))):
        own = [row["music_id"] for row in early if row["author_id"] == user][-50:]
        history = frame.history[frame.users.rows([user])[0]]
        assert history[history >= 0].tolist() == frame.items.rows(own).tolist()


def test_facts_are_groups_that_know_training_music_only(world: Any, frame: TrainingFrame) -> None:
    assert list(frame.modalities) == ["acoustic", "genre", "language", "mood", "pitch", "tempo"]
    assert list(frame.specs) == ["acoustic"]
    music = world.rows("music")
    rows = frame.items.rows([row["music_id"] for row in music])
    trained = set(frame.train[:, 1].tolist())
    known = [row for row, item in zip(music, rows, strict=True) if item in trained]
    for name in ("genre", "language", "mood"):
        values = sorted({row[name] for row in known} - {None})
        wanted = [[float(row[name] == value) for value in values] for row in music]
        assert frame.modalities[name][rows].tolist() == wanted
        assert frame.missing[name][rows].tolist() == [row[name] not in values for row in music]
    assert "unheard-of" in {row["genre"] for row in music} - {row["genre"] for row in known}
    for name in ("pitch", "tempo"):
        numbers = np.array([row[name] for row in known if row[name] is not None])
        wanted = [0 if row[name] is None else (row[name] - numbers.mean()) / numbers.std() for row in music]
        assert np.allclose(frame.modalities[name][rows, 0], wanted, rtol=1e-5, atol=1e-6)
        assert frame.missing[name][rows].tolist() == [row[name] is None for row in music]
    assert frame.missing["tempo"].sum() == frame.missing["mood"].sum() == 1


def test_services_of_one_surface_have_the_same_events(world: Any, frame: TrainingFrame) -> None:
    plain, features = world.frame("adoptions_v1"), world.frame("fm_bgm_v1")
    for other in (plain, features):
        assert np.array_equal(other.train, frame.train)
        assert np.array_equal(other.train_context, frame.train_context)
        assert np.array_equal(other.validation, frame.validation)
        assert np.array_equal(other.popularity, frame.popularity)
    assert plain.modalities == plain.context_specs == {}
    assert list(plain.contexts) == ["video"]
    assert list(features.modalities) == list(frame.modalities)


def test_videos_that_nobody_encoded(world: Any) -> None:
    embeddings = {name: spec for name, spec in world.snapshot.embeddings.items() if spec.entity != "video"}
    with pytest.raises(NotFound, match=r"'mf_bgm_v1'.*no feature view video_<modality>_… with feature vector.*encode"):
        world.frame("mf_bgm_v1", world.snapshot.model_copy(update={"embeddings": embeddings}))


def test_videos_without_music(settings: Any, home: Any, raw: RawTables) -> None:
    videos = raw.tables["videos"]
    silent = videos.set_column(2, videos.schema.field(2), pa.nulls(len(videos), pa.string()))
    tables = {"users": raw.tables["users"], "videos": silent, "music": raw.tables["music"]}
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, replace(raw, tables=tables, specs={}))
    with pytest.raises(
        NotFound, match=r"'adoptions_v1'.*no row of table videos .*with a known author_id and a known music_id"
    ):
        load_unjudged_frame(settings, home, "adoptions_v1", snapshot)
