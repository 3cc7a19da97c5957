"""Small worlds full of ties, late arrivals and repeated rows, and how the views' rows are read in the tests."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from contracts.embeddings import EmbeddingSpec
from contracts.snapshot import Snapshot, SplitInstants, TableInfo
from contracts.tables import ENTITY_KEYS, schema_of
from feature_repo.raw_tables import microseconds, table_of
from feature_repo.views.builder import BuildContext
from feature_repo.views.builders import BUILDERS
from feature_repo.views.catalogue import FAMILIES, View

CUT = datetime(2025, 3, 1, tzinfo=UTC)
ZERO = microseconds(CUT)
HOUR, DAY = 3_600_000_000, 86_400_000_000

Row = dict[str, Any]


def instants() -> st.SearchStrategy[int]:
    """A few instants around hours, midnights and the edge of a week, and one microsecond either side of them."""
    steps = st.sampled_from([0, HOUR, 2 * HOUR, DAY, 2 * DAY, 7 * DAY, 7 * DAY + HOUR])
    return st.builds(lambda step, edge: ZERO + step + edge, steps, st.sampled_from([-1, 0, 0, 1]))


def delays() -> st.SearchStrategy[int]:
    """How late a row is known: mostly at once, else by one microsecond up to a back-fill after eight days."""
    return st.sampled_from([0, 0, 0, 1, HOUR, DAY, 8 * DAY])


def rows_of(chunks: Iterator[pa.Table], key: str) -> list[Row]:
    """All rows, the instant as microseconds ``at``; sorted, and one for each key and instant."""
    rows: list[Row] = []
    for chunk in chunks:
        times, known = (chunk[name].cast(pa.int64()).to_pylist() for name in ("event_time", "ingested_at"))
        assert times == known
        for row, at in zip(chunk.drop_columns(["event_time", "ingested_at"]).to_pylist(), times, strict=True):
            rows.append({"key": row.pop(key), "at": at, **row})
    keys = [(row["key"], row["at"]) for row in rows]
    assert keys == sorted(set(keys)), "sorted, and one row for each key and instant"
    return rows


class Worlds:
    """What the tests of views share."""

    instants = staticmethod(instants)
    delays = staticmethod(delays)
    ZERO, HOUR, DAY, CUT = ZERO, HOUR, DAY, CUT

    @staticmethod
    def events(
        users: str = "user_id",
        items: str = "video_id",
        kinds: tuple[str | None, ...] = ("view", "like"),
        most: int = 14,
    ) -> st.SearchStrategy[list[Row]]:
        """Rows of events, some of them twice; a duplicate may be known at another time."""

        def row(user: int, item: int, kind: str | None, happened: int, late: int) -> Row:
            named = {users: f"u{user}", items: f"i{item}", "event_time": happened, "ingested_at": happened + late}
            return named if kind is None else named | {"kind": kind, "weight": 1.0}

        def repeat(rows: list[Row], copies: list[tuple[int, int]]) -> list[Row]:
            again = [rows[n % len(rows)] for n, _ in copies] if rows else []
            return rows + [
                r | {"ingested_at": r["event_time"] + late} for r, (_, late) in zip(again, copies, strict=False)
            ]

        one = st.builds(row, st.integers(0, 2), st.integers(0, 3), st.sampled_from(kinds), instants(), delays())
        copies = st.lists(st.tuples(st.integers(0, 99), delays()), max_size=3)
        return st.builds(repeat, st.lists(one, max_size=most), copies)

    @staticmethod
    @contextmanager
    def limits(chunk: int = 2, history: int = 3, recent: int = 2, neighbours: int = 3) -> Iterator[None]:
        """Bounds so low that a small world reaches them, and chunks whose borders fall everywhere."""
        found = "feature_repo.views."
        values = {
            "sequences.CHUNK_ROWS": chunk,
            "sequences._ENTRIES": 2 * chunk,
            "history.HISTORY_LENGTH": history,
            "neighbours.RECENT": recent,
            "neighbours.NEIGHBOURS": neighbours,
            "networks.NEIGHBOURS": neighbours,
            "two_hop._USERS": chunk,
            "clusters._ROWS": chunk,
            "adoption.CHUNK_ROWS": chunk,
            "profiles.CHUNK_ROWS": chunk,
        }
        with ExitStack() as stack:
            for name, value in values.items():
                stack.enter_context(patch(found + name, value))
            yield

    @staticmethod
    def table(name: str, rows: list[Row]) -> pa.Table:
        """An offline table of plain rows, each with ``event_time`` and ``ingested_at`` in microseconds."""
        schema = schema_of(name)
        times, known = (np.array([row[column] for row in rows], np.int64) for column in ("event_time", "ingested_at"))
        columns = {
            field.name: pa.array([row.get(field.name) for row in rows], field.type)
            for field in schema
            if field.name not in ("event_time", "ingested_at")
        }
        return table_of(schema, times, known, **columns)

    @staticmethod
    def snapshot(tables: Mapping[str, pa.Table], specs: Mapping[str, EmbeddingSpec] | None = None) -> Snapshot:
        """The manifest of a world."""
        return Snapshot(
            id="world",
            dataset="world",
            source="test",
            created_at=CUT,
            tables={name: TableInfo(rows=table.num_rows, sha256="") for name, table in tables.items()},
            embeddings=dict(specs or {}),
            split=SplitInstants(
                train_until=CUT + timedelta(days=2), validation_until=CUT + timedelta(3), nominal=False
            ),
        )

    def build(
        self,
        family: str,
        tables: Mapping[str, pa.Table],
        specs: Mapping[str, EmbeddingSpec] | None = None,
        name: str | None = None,
        centres: Path = Path("nowhere"),
        newest: bool = False,
    ) -> list[Row]:
        """Rows of a view of a world; those of the newest alone where a builder can do that and is told so."""
        entity, features = FAMILIES[family].entity, dict(FAMILIES[family].features)
        if family == "music_adoption":
            features |= dict.fromkeys(specs or {}, "list<float32>")
        view = View(name or family, entity, features, Path(), derived=True, family=family)
        snapshot = self.snapshot(tables, specs)
        builder = BUILDERS[family](view, snapshot)
        needed = {table: tables[table] for table in builder.needs}
        return rows_of(builder.build(needed, BuildContext(snapshot, centres, newest)), ENTITY_KEYS[entity])

    @staticmethod
    def newest_of(rows: list[Row]) -> list[Row]:
        """The newest row of each key."""
        return list({row["key"]: row for row in rows}.values())

    @staticmethod
    def value_at(rows: list[Row], key: str, moment: int) -> Row | None:
        """What a point-in-time join finds."""
        known = [row for row in rows if row["key"] == key and row["at"] <= moment]
        return known[-1] if known else None

    @staticmethod
    def probes(arrivals: list[int]) -> list[int]:
        """Every instant at which something arrives, and one microsecond either side."""
        return sorted({arrival + edge for arrival in arrivals for edge in (-1, 0, 1)})

    @staticmethod
    def spec(modality: str, width: int) -> EmbeddingSpec:
        """The spec of vectors made by hand."""
        return EmbeddingSpec(
            modality=modality,  # type: ignore[arg-type]
            encoder="hand",
            revision="1",
            preprocessing="none",
            width=width,
            dtype="float32",
            normalisation="none",
        )


@pytest.fixture(scope="session")
def worlds() -> Worlds:
    """Tables of small worlds, and the rows that builders make of them."""
    return Worlds()
