"""Small sound directories in every layout, that tests spoil in one place each."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from contracts.embeddings import EmbeddingSpec
from contracts.tables import TIMESTAMP
from feature_repo.readers.own.problems import Problem, TablesRefused
from feature_repo.readers.tables import read_tables

START_US = 1_700_000_000_000_000
HOUR_US = 3_600_000_000
USERS, VIDEOS, MUSIC, POSTS, EVENTS = 20, 15, 8, 12, 400

SPEC = {
    "entity": "video",
    "modality": "visual",
    "encoder": "hand",
    "revision": "1",
    "preprocessing": "none",
    "width": 4,
    "dtype": "float32",
    "normalisation": "none",
}


def _ids(prefix: str, numbers: Any) -> pa.Array:
    return pa.array([f"{prefix}{number}" for number in numbers])


def _times(offsets: Any) -> pa.Array:
    return pa.array(START_US + np.asarray(offsets) * HOUR_US).cast(TIMESTAMP)


def sound_tables() -> dict[str, dict[str, Any]]:
    """Columns of a platform with every table, in the types of the contract."""
    rng = np.random.default_rng(4)
    ones = pa.array(np.ones(EVENTS, np.float32))
    edges = rng.permutation(USERS * USERS)[:EVENTS]
    times = _times(np.arange(EVENTS) + 1)
    return {
        "users": {
            "user_id": _ids("u", range(USERS)),
            "gender": pa.array(["f", None] * (USERS // 2)),
            "age": pa.array(range(USERS), pa.int32()),
            "event_time": _times(np.zeros(USERS, int)),
        },
        "music": {
            "music_id": _ids("m", range(MUSIC)),
            "title": _ids("song ", range(MUSIC)),
            "tempo": pa.array(np.arange(MUSIC) + 100, pa.float32()),
            "event_time": _times(np.zeros(MUSIC, int)),
        },
        "videos": {
            "video_id": _ids("v", range(VIDEOS)),
            "author_id": _ids("u", range(VIDEOS)),
            "music_id": _ids("m", np.arange(VIDEOS) % MUSIC),
            "title": pa.array(['a, "b"', "c\nd", "é"] * (VIDEOS // 3)),
            "event_time": _times(np.zeros(VIDEOS, int)),
            "ingested_at": _times(np.ones(VIDEOS, int)),
        },
        "interactions": {
            "user_id": _ids("u", rng.integers(0, USERS, EVENTS)),
            "video_id": _ids("v", rng.integers(0, VIDEOS, EVENTS)),
            "kind": pa.array(["view", "like"] * (EVENTS // 2)),
            "weight": ones,
            "event_time": times,
        },
        "listens": {
            "user_id": _ids("u", rng.integers(0, USERS, EVENTS)),
            "music_id": _ids("m", rng.integers(0, MUSIC, EVENTS)),
            "kind": pa.array(["listen", "share"] * (EVENTS // 2)),
            "weight": ones,
            "event_time": times,
        },
        "posts": {
            "post_id": _ids("p", range(POSTS)),
            "user_id": _ids("u", range(POSTS)),
            "text": _ids("text ", range(POSTS)),
            "images": pa.array([["a.png", "b.png"], []] * (POSTS // 2)),
            "event_time": _times(np.arange(POSTS)),
        },
        "edges": {
            "network": pa.array(["follow", "repost"] * (EVENTS // 2)),
            "source_id": _ids("u", edges // USERS),
            "target_id": _ids("u", edges % USERS),
            "weight": ones,
            "event_time": times,
        },
    }


@dataclass
class Own:
    """A team's directory of Parquet files: all tables, one embedding and two images."""

    path: Path

    def __post_init__(self) -> None:
        self.path.mkdir()
        for name, columns in sound_tables().items():
            self.write(name, pa.table(columns))
        (self.path / "media").mkdir()
        for image in ("a.png", "b.png"):
            (self.path / "media" / image).write_bytes(b"image")
        vectors = np.random.default_rng(5).normal(size=(VIDEOS, 4)).astype(np.float32)
        self.write("embedding_visual", pa.table({"video_id": _ids("v", range(VIDEOS)), "vector": list(vectors)}))
        self.write_spec()

    def problems(self) -> list[Problem]:
        """What is wrong with it, as its reader says."""
        with pytest.raises(TablesRefused) as caught:
            read_tables(self.path)
        return caught.value.problems

    def only(self) -> Problem:
        """The one thing that is."""
        (problem,) = self.problems()
        return problem

    def write(self, name: str, table: pa.Table) -> None:
        pq.write_table(table, self.path / f"{name}.parquet")

    def write_spec(self, name: str = "embedding_visual", **changes: Any) -> None:
        (self.path / f"{name}.json").write_text(json.dumps({**SPEC, **changes}))

    def read(self, name: str) -> pa.Table:
        return pq.read_table(self.path / f"{name}.parquet")

    def put(self, name: str, column: str, values: Any) -> None:
        """Replace a column, or add it."""
        table = self.read(name)
        values = values if isinstance(values, pa.Array) else pa.array(values)
        index = table.schema.get_field_index(column)
        table = table.append_column(column, values) if index < 0 else table.set_column(index, column, values)
        self.write(name, table)

    def spoil(self, name: str, column: str, row: int, value: Any) -> None:
        """Replace one value."""
        stored = self.read(name)[column]
        values = stored.to_pylist()
        values[row] = value
        self.put(name, column, pa.array(values, stored.type))

    def drop(self, name: str, column: str) -> None:
        self.write(name, self.read(name).drop_columns([column]))

    def to_csv(self, name: str) -> Path:
        """Turn a table into a CSV file with ISO 8601 times."""
        table = self.read(name)
        for column in ("event_time", "ingested_at"):
            if column in table.column_names:
                texts = [moment.isoformat() for moment in table[column].to_pylist()]
                table = table.set_column(table.schema.get_field_index(column), column, pa.array(texts))
        if "images" in table.column_names:
            joined = ["|".join(images) for images in table["images"].to_pylist()]
            table = table.set_column(table.schema.get_field_index("images"), "images", pa.array(joined))
        (self.path / f"{name}.parquet").unlink()
        pacsv.write_csv(table, self.path / f"{name}.csv")
        return self.path / f"{name}.csv"


@pytest.fixture
def own(tmp_path: Path) -> Own:
    """A sound directory of this test's own."""
    return Own(tmp_path / "own")


@pytest.fixture
def hand_spec() -> EmbeddingSpec:
    """The spec of those vectors."""
    return EmbeddingSpec.model_validate(SPEC)
