"""Pushed rows reach the offline store once, whatever is repeated or interrupted."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import INTERACTIONS, USERS, embedding_schema
from feature_repo.offline import newest_snapshot_of, read_table, write_snapshot
from feature_repo.raw_tables import RawTables, microseconds, table_of, vector_lists
from feature_repo.stream.batch import Batch
from feature_repo.stream.landing import Landing, merge

NOON = datetime(2025, 3, 2, 12, tzinfo=UTC)


def events(*rows: tuple[str, str, timedelta], known: timedelta = timedelta(0)) -> pa.Table:
    times = np.array([microseconds(NOON + after) for _, _, after in rows], np.int64)
    return table_of(
        INTERACTIONS,
        times,
        times + known // timedelta(microseconds=1),
        user_id=pa.array([user for user, _, _ in rows], pa.string()),
        video_id=pa.array([video for _, video, _ in rows], pa.string()),
        kind=pa.array(["view"] * len(rows)),
        weight=pa.array([1.0] * len(rows), pa.float32()),
    )


S = timedelta(seconds=1)


@pytest.fixture
def base(home: Home, make_platform: Callable[..., RawTables]) -> Snapshot:
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, make_platform([(0, 0, -S), (1, 1, -S)]))
    return snapshot


def test_a_batch_lands_once(home: Home, base: Snapshot) -> None:
    landing = Landing(home, "a/b")
    batch = Batch("one", "a/b", "interactions", events(("user-0", "video-1", S)))
    assert landing.tables(base) == {}
    assert landing.land(batch) is batch
    assert landing.land(replace(batch, rows=batch.rows.slice(0, 0))) == batch, "the first to land stays"
    landing.land(Batch("two", "a/b", "interactions", events(("user-1", "video-1", S))))
    assert landing.tables(base)["interactions"]["user_id"].to_pylist() == ["user-0", "user-1"]
    assert Landing(home, "a").files() == []
    assert all(path.is_relative_to(home.stream) for path in landing.files())


def test_merging_adds_what_is_new_and_only_that(home: Home, base: Snapshot) -> None:
    landing = Landing(home, base.dataset)
    old = read_table(home, base, "interactions")
    landing.land(Batch("b1", base.dataset, "interactions", events(("user-0", "video-1", S), ("user-2", "video-1", S))))
    # A producer that heard no answer pushed the same event again under another id, and an old event as well.
    landing.land(Batch("b2", base.dataset, "interactions", events(("user-0", "video-1", S), known=5 * S)))
    landing.land(Batch("b3", base.dataset, "interactions", old[:1]))
    with home.writing("test"):
        snapshot, added, created = merge(home, base.dataset)
    assert (added, created) == ({"interactions": 2}, True)
    merged = read_table(home, snapshot, "interactions")
    assert merged.slice(0, old.num_rows).equals(old)
    assert (
        merged.slice(old.num_rows).to_pylist() == events(("user-0", "video-1", S), ("user-2", "video-1", S)).to_pylist()
    )
    assert newest_snapshot_of(home, base.dataset).id == snapshot.id
    assert (snapshot.split, snapshot.dataset, snapshot.embeddings) == (base.split, base.dataset, base.embeddings)
    assert snapshot.source == f"{base.source}, and what was pushed"
    assert landing.files() == []


def test_an_interrupted_merge_can_be_repeated(home: Home, base: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    landing = Landing(home, base.dataset)
    landing.land(Batch("b1", base.dataset, "interactions", events(("user-0", "video-2", S))))
    with home.writing("test"):
        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.unlink", lambda *_args, **_kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                merge(home, base.dataset)
        assert len(landing.files()) == 1
        first = newest_snapshot_of(home, base.dataset)
        snapshot, added, created = merge(home, base.dataset)
    assert (snapshot.id, added, created) == (first.id, {"interactions": 0}, False)
    assert landing.files() == []


def test_new_tables_and_vectors_merge(home: Home, base: Snapshot) -> None:
    name, spec = next(iter(base.embeddings.items()))
    assert isinstance(spec, EmbeddingSpec)
    width = spec.width
    vectors = table_of(
        embedding_schema(),
        np.array([microseconds(NOON)]),
        video_id=pa.array(["video-new"]),
        vector=vector_lists(np.ones((1, width), np.float32)),
    )
    landing = Landing(home, base.dataset)
    landing.land(Batch("b1", base.dataset, f"embedding_{name}", vectors, spec.digest))
    landing.land(
        Batch("b2", base.dataset, "users", table_of(USERS, np.array([microseconds(NOON)]), user_id=pa.array(["new"])))
    )
    with home.writing("test"):
        snapshot, added, _ = merge(home, base.dataset)
    assert added == {f"embedding_{name}": 1, "users": 1}
    assert read_table(home, snapshot, f"embedding_{name}")["vector"][-1].as_py() == [1.0] * width
    assert read_table(home, snapshot, "users")["user_id"][-1].as_py() == "new"


def test_merging_can_move_the_split(home: Home, base: Snapshot) -> None:
    Landing(home, base.dataset).land(Batch("b1", base.dataset, "interactions", events(("user-0", "video-2", S))))
    with home.writing("test"):
        with pytest.raises(BadInput, match=r"end of training: found 2025-03-09.*--train-until"):
            merge(home, base.dataset, train_until=NOON + 7 * timedelta(days=1), validation_until=NOON)
        snapshot, _, _ = merge(home, base.dataset, train_until=NOON, validation_until=NOON + S)
    assert (snapshot.split.train_until, snapshot.split.validation_until) == (NOON, NOON + S)


def test_a_data_set_nobody_knows(home: Home, base: Snapshot) -> None:
    with home.writing("test"):
        with pytest.raises(NotFound, match=rf"data set 'other': found snapshots of {base.dataset}"):
            merge(home, "other")


def test_refused_rows_are_kept_with_the_reason(home: Home) -> None:
    reason = BadInput("batch b1", found="user 'x'", expected="a known user", next_step="push users first")
    Landing(home, "d").refuse("b1", b"bytes", reason)
    assert (home.stream / "refused" / "b1.parquet").read_bytes() == b"bytes"
    assert "push users first" in (home.stream / "refused" / "b1.json").read_text()


def test_vectors_go_to_the_table_of_their_own_encoder(home: Home, make_platform: Callable[..., RawTables]) -> None:
    raw = make_platform([(0, 0, -S), (1, 1, -S)])
    old = raw.specs["visual"]
    new = old.model_copy(update={"encoder": "newer"})
    switched = replace(
        raw,
        specs={**raw.specs, "visual": new, f"visual@{old.digest[:8]}": old},
        tables={**raw.tables, f"embedding_visual@{old.digest[:8]}": raw.tables["embedding_visual"]},
    )
    with home.writing("test"):
        base, _ = write_snapshot(home, switched)
    landing = Landing(home, base.dataset)
    for number, digest in enumerate([old.digest, new.digest, "0" * 12]):
        rows = table_of(
            embedding_schema(),
            np.array([microseconds(NOON)]),
            video_id=pa.array([f"video-{number + 10}"]),
            vector=vector_lists(np.full((1, 2), number, np.float32)),
        )
        landing.land(Batch(f"b{number}", base.dataset, "embedding_visual", rows, digest))
    with home.writing("test"):
        snapshot, added, _ = merge(home, base.dataset)
    assert added == {"embedding_visual": 1, f"embedding_visual@{old.digest[:8]}": 1}
    assert read_table(home, snapshot, "embedding_visual")["video_id"][-1].as_py() == "video-11"
    assert read_table(home, snapshot, f"embedding_visual@{old.digest[:8]}")["video_id"][-1].as_py() == "video-10"
    reason = (home.stream / "refused" / "b2.json").read_text()
    assert "vectors of the spec 000000000000" in reason
    assert landing.files() == []


def test_a_merge_may_take_files_away_while_they_are_read(
    home: Home, base: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = Landing(home, base.dataset)
    for number in range(3):
        landing.land(Batch(f"b{number}", base.dataset, "interactions", events((f"user-{number}", "video-1", S))))
    real, gone = landing.files, iter([True, False])

    def listed_before_one_went() -> list[Path]:
        files = real()
        if next(gone):
            files[1].unlink()
        return files

    monkeypatch.setattr(landing, "files", listed_before_one_went)
    assert landing.tables(base)["interactions"]["user_id"].to_pylist() == ["user-0", "user-2"]
