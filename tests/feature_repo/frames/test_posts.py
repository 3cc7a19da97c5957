"""Frames of listens after posts: what is in a context was known before the event, and nothing else is."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts.errors import NotFound
from contracts.tables import TIMESTAMP
from feature_repo.frame import (
    TrainingFrame,
    load_all_events,
)
from feature_repo.raw_tables import RawTables, microseconds
from feature_repo.simulator import generate, plan_of

DAY = 24 * 3_600_000_000
MODALITIES = ("textual", "textual_handcrafted", "visual", "visual_handcrafted")


def moved(raw: RawTables, owners: str, key: str, times: dict[str, int]) -> pa.Table:
    """A table with some entities' rows at other instants, known at once."""
    table = raw.tables[owners]
    ids = table[key].to_pylist()
    for column in ("event_time", "ingested_at"):
        old = table[column].cast(pa.int64()).to_pylist()
        new = [times.get(each, moment) for each, moment in zip(ids, old, strict=True)]
        at = table.schema.get_field_index(column)
        table = table.set_column(at, table.schema.field(column), pa.array(new, pa.int64()).cast(TIMESTAMP))
    return table


@pytest.fixture(scope="module")
def raw() -> RawTables:
    """Rows arrive late; posts lie at the microsecond of a listen, and just before and after it."""
    plan = plan_of("amae", 0.0001, seed=2, late=0.3, users=16, music=20, videos=50, events=120, follows=50)
    raw, _ = generate(plan)
    posts, listens = raw.tables["posts"].to_pylist(), raw.tables["listens"].to_pylist()
    written = set(raw.tables["embedding_post_textual"]["post_id"].to_pylist())
    times = {}
    for event in listens[200:1200:100]:
        own = [p["post_id"] for p in posts if p["user_id"] == event["user_id"] and p["post_id"] in written]
        own = [post for post in own if post not in times][:3]
        times |= {post: microseconds(event["event_time"]) + shift for post, shift in zip(own, (-1, 0, 1), strict=True)}
    names = [f"embedding_post_{modality}" for modality in MODALITIES]
    tables = {name: moved(raw, name, "post_id", times) for name in ("posts", *names)}
    return replace(raw, tables=raw.tables | tables)


@pytest.fixture(scope="module")
def world(make_world: Callable[[RawTables], Any], raw: RawTables) -> Any:
    return make_world(raw)


@pytest.fixture(scope="module")
def frame(world: Any) -> TrainingFrame:
    loaded: TrainingFrame = world.frame("amae_v1")
    return loaded


def listens_of(world: Any) -> list[dict[str, Any]]:
    """Listens in order of arrival, each once."""
    found = {}
    for row in world.rows("listens"):
        if row["kind"] == "listen":
            found.setdefault((row["user_id"], row["music_id"], row["event_time"]), row)
    return sorted(found.values(), key=lambda row: row["ingested_at"])


def pairs_of(frame: TrainingFrame, rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    users = frame.users.rows([row["user_id"] for row in rows]).tolist()
    return list(zip(users, frame.items.rows([row["music_id"] for row in rows]).tolist(), strict=True))


def test_every_listen_is_in_the_part_in_which_it_arrived(world: Any, frame: TrainingFrame) -> None:
    rows, split = listens_of(world), world.snapshot.split
    cuts = [0, microseconds(split.train_until), microseconds(split.validation_until), 2**62]
    test = load_all_events(world.home, frame).parts(frame.snapshot.split)[2]
    late = 0
    for number, found in enumerate((frame.train, frame.validation, test.pairs)):
        wanted = [row for row in rows if cuts[number] <= row["ingested_at"] < cuts[number + 1]]
        late += sum(row["event_time"] < cuts[number] for row in wanted)
        assert Counter(map(tuple, found.tolist())) == Counter(pairs_of(frame, wanted))
        assert len(wanted) > 50
    assert late > 0, "some happened before a cut and came in after it"
    assert len(set(map(tuple, frame.train.tolist()))) < len(frame.train), "a pair stands again"
    everything = load_all_events(world.home, frame)
    assert np.array_equal(everything.pairs, np.concatenate([frame.train, frame.validation, test.pairs]))
    assert frame.train_context is not None
    assert frame.validation_context is not None
    contexts = np.concatenate([frame.train_context, frame.validation_context, test.context])
    assert np.array_equal(everything.context, contexts)


class Oracle:
    """Means over the posts of a user, by a plain look through all of them."""

    def __init__(self, world: Any, modality: str) -> None:
        vectors = {row["post_id"]: row for row in world.rows(f"embedding_post_{modality}")}
        posts: dict[str, list[tuple[int, int, list[float]]]] = {}
        for post in world.rows("posts"):
            if post["post_id"] in vectors:
                vector = vectors[post["post_id"]]
                known = max(post["event_time"], post["ingested_at"], vector["event_time"], vector["ingested_at"])
                posts.setdefault(post["user_id"], []).append((post["event_time"], known, vector["vector"]))
        self.posts = {user: tuple(map(np.array, zip(*own, strict=True))) for user, own in posts.items()}
        self.width = world.snapshot.embeddings[f"post_{modality}"].width

    def __call__(self, user: str, event: int) -> tuple[Any, Any, int]:
        """Global and recent mean before an event, and how many posts the latter is of."""
        if user not in self.posts:
            return np.zeros(self.width), np.zeros(self.width), 0
        times, known, vectors = self.posts[user]
        before = (times < event) & (known < event)
        day = before & (times > event - 1 - DAY)
        everything = vectors[before].mean(axis=0) if before.any() else np.zeros(self.width)
        return everything, vectors[day].mean(axis=0) if day.any() else everything, int(day.sum())


@pytest.mark.parametrize("modality", MODALITIES)
def test_contexts_are_what_was_known_just_before_the_event(world: Any, frame: TrainingFrame, modality: str) -> None:
    oracle, events = Oracle(world, modality), load_all_events(world.home, frame)
    assert events.context is not None
    asked = list(zip(frame.users.ids(events.pairs[:, 0]), events.times.tolist(), strict=True))
    rows = dict(zip(events.context.tolist(), asked, strict=True))
    assert all(rows[row] == who for row, who in zip(events.context.tolist(), asked, strict=True))
    assert len(rows) == len(set(asked)) == len(frame.contexts[f"{modality}_global"]), "a row for each user and instant"
    everything, day, posts = zip(*(oracle(*who) for who in asked), strict=True)
    for name, wanted in (("global", everything), ("recent", day)):
        found = frame.contexts[f"{modality}_{name}"]
        assert found.dtype == np.float32
        assert np.allclose(found[events.context], wanted, atol=1e-5)
    assert 0 < sum(count > 0 for count in posts) < len(events)
    if modality.startswith("textual"):
        at_once = [oracle(user, time + 1)[0] for user, time in asked]
        assert not np.allclose(at_once, everything, atol=1e-5), "a post at the instant of the event would have shown"


def test_a_user_without_posts_has_zeros(world: Any, raw: RawTables, make_world: Callable[[RawTables], Any]) -> None:
    posts = raw.tables["posts"]
    silent = raw.tables["listens"]["user_id"][0].as_py()
    others = posts.filter(pa.array([user != silent for user in posts["user_id"].to_pylist()]))
    frame = make_world(replace(raw, tables=raw.tables | {"posts": others})).frame("amae_v1")
    row = int(frame.users.rows([silent])[0])
    own = frame.train_context[frame.train[:, 0] == row]
    assert len(own)
    for name, matrix in frame.contexts.items():
        assert not matrix[own].any(), name
        assert matrix.any(), name


def test_history_and_counts_stand_as_of_the_cut(world: Any, frame: TrainingFrame) -> None:
    cut = microseconds(world.snapshot.split.train_until)
    early = [row for row in world.rows("listens") if row["ingested_at"] < cut]
    user = early[0]["user_id"]
    own = sorted((row for row in early if row["user_id"] == user), key=lambda row: row["event_time"])
    wanted = frame.items.rows([row["music_id"] for row in own[-50:]])
    found = frame.history[frame.users.rows([user])[0]]
    assert Counter(found[found >= 0].tolist()) == Counter(wanted.tolist())
    counts = Counter(pairs_of(frame, [row for row in early if row["kind"] == "listen"]))
    assert frame.popularity.sum() == sum(counts.values())
    item = int(np.argmax(frame.popularity))
    assert frame.popularity[item] == sum(count for (_, music), count in counts.items() if music == item)


def test_the_surface_says_what_items_and_contexts_are(world: Any, frame: TrainingFrame) -> None:
    assert len(frame.items) == world.snapshot.tables["music"].rows
    assert frame.modalities == frame.specs == frame.networks == {}
    assert frame.texts is None
    assert sorted(frame.contexts) == sorted(f"{m}_{which}" for m in MODALITIES for which in ("global", "recent"))
    assert frame.context_specs == {
        name: spec for name, spec in world.snapshot.embeddings.items() if spec.entity == "post"
    }


def test_posts_that_nobody_encoded(world: Any) -> None:
    embeddings = {name: spec for name, spec in world.snapshot.embeddings.items() if spec.entity != "post"}
    snapshot = world.snapshot.model_copy(update={"embeddings": embeddings})
    with pytest.raises(
        NotFound,
        match=r"'amae_v1'.*no feature view user_social_<modality>_… or user_context_<modality>_… with feature vector",
    ):
        world.frame("amae_v1", snapshot)


def test_what_a_model_cannot_do_without_is_named(frame: TrainingFrame) -> None:
    frame.require("model amae", contexts=["visual_global", "visual_recent"])
    with pytest.raises(
        NotFound,
        match=r"model amae: found .*amae_v1 without modality acoustic \(feature view music_acoustic_…\), modality "
        r"tempo \(music_content:tempo\), context audio_recent \(feature view user_context_audio_…\), "
        r"context audio_global \(feature view user_social_audio_…\), context visual \(feature view video_visual_…\), "
        r"context video \(table videos\), network follow \(feature view user_network_follow\), titles \(table music\)",
    ):
        frame.require(
            "model amae",
            modalities=["acoustic", "tempo"],
            contexts=["audio_recent", "audio_global", "visual", "video", "visual_recent"],
            networks=["follow"],
            texts=True,
        )
