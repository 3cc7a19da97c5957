"""Frames made without a feature store are those of the feature store."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts.errors import NotFound
from contracts.home import Home
from contracts.settings import load_settings
from contracts.snapshot import Snapshot
from contracts.vocabulary import Vocabulary
from feature_repo.frame import TrainingFrame, common_vocabularies, frame_of_tables, load_unjudged_frame
from feature_repo.offline import write_snapshot


def of_tables(home: Home, snapshot: Snapshot, **options: Any) -> TrainingFrame:
    users, items = common_vocabularies(home, snapshot)
    names = {name: name for name in snapshot.video_modalities}
    return frame_of_tables(home, snapshot, "m3csr_v1", names, **({"users": users, "items": items} | options))


def test_a_frame_of_tables_is_what_the_feature_store_gives(featured: Any) -> None:
    wanted = load_unjudged_frame(featured.settings, featured.home, "m3csr_v1", featured.snapshot)
    found = of_tables(featured.home, featured.snapshot)
    assert (found.users, found.items, found.specs) == (wanted.users, wanted.items, wanted.specs)
    assert (wanted.history >= 0).any()
    assert wanted.popularity.any()
    assert len(wanted.validation)
    for name in ("train", "validation", "history", "popularity"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name)), name
    assert list(found.modalities) == list(wanted.modalities) == ["acoustic", "textual", "visual"]
    for modality, vectors in wanted.modalities.items():
        assert np.array_equal(found.modalities[modality], vectors)
        assert np.array_equal(found.missing[modality], wanted.missing[modality])


def test_rows_are_those_of_the_vocabularies_given(featured: Any) -> None:
    home, snapshot = featured.home, featured.snapshot
    plain = of_tables(home, snapshot)
    behind = Vocabulary(["stranger", *plain.items.ids(range(1, len(plain.items)))])
    found = of_tables(home, snapshot, items=behind)
    assert found.missing["visual"][0]
    assert np.array_equal(found.modalities["visual"][1:], plain.modalities["visual"][1:])
    assert not (found.history == 0).any()
    assert (found.history >= 0).sum() == (plain.history > 0).sum()


def test_events_are_cut_where_another_split_says(featured: Any) -> None:
    home, snapshot = featured.home, featured.snapshot
    earlier = snapshot.split.model_copy(update={"train_until": snapshot.split.train_until - timedelta(days=3)})
    cut = of_tables(home, snapshot, split=earlier)
    plain = of_tables(home, snapshot)
    assert 0 < len(cut.train) < len(plain.train)
    assert 0 < cut.popularity.sum() < plain.popularity.sum()
    nothing = snapshot.split.model_copy(update={"train_until": snapshot.split.train_until - timedelta(days=3000)})
    none = of_tables(home, snapshot, split=nothing)
    assert len(none.train) == 0
    assert none.popularity.sum() == 0
    assert (none.history == -1).all()


def test_vectors_that_no_suite_would_pass(featured: Any, tmp_path: Path) -> None:
    raw = featured.raw
    table = raw.tables["embedding_visual"]
    vectors = table["vector"].to_pylist()
    width = len(vectors[0])
    vectors[0], vectors[1], vectors[2] = [1.0], [], [float("nan")] * width
    broken = table.set_column(1, table.schema.field(1), pa.array(vectors, table.schema.field(1).type))
    home = Home.open(load_settings(home=tmp_path / "home"))
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, replace(raw, tables={**raw.tables, "embedding_visual": broken}))
    before = sorted(path for path in home.root.rglob("*"))
    frame = of_tables(home, snapshot)
    assert sorted(path for path in home.root.rglob("*")) == before
    rows = frame.items.rows(table["video_id"].to_pylist()[:4])
    assert frame.missing["visual"][rows].tolist() == [True, True, False, False]
    assert np.isnan(frame.modalities["visual"][rows[2]]).all()
    assert frame.modalities["visual"][rows[3]].tolist() == vectors[3]


def test_data_without_interactions(featured: Any) -> None:
    tables = {name: info for name, info in featured.snapshot.tables.items() if name != "interactions"}
    with pytest.raises(NotFound, match="no interactions with videos"):
        of_tables(featured.home, featured.snapshot.model_copy(update={"tables": tables}))
