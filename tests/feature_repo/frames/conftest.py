"""Homes with one simulated snapshot each, whose features are applied."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from contracts.home import Home
from contracts.settings import Settings, load_settings
from contracts.snapshot import Snapshot
from feature_repo.apply import apply_features
from feature_repo.frame import TrainingFrame, load_unjudged_frame
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables


@dataclass(frozen=True)
class World:
    settings: Settings
    home: Home
    snapshot: Snapshot
    tables: dict[str, pa.Table]

    def frame(self, service: str, snapshot: Snapshot | None = None) -> TrainingFrame:
        return load_unjudged_frame(self.settings, self.home, service, snapshot or self.snapshot)

    def rows(self, name: str) -> list[dict[str, object]]:
        """Rows of a table, instants in microseconds."""
        table = self.tables[name]
        for column in ("event_time", "ingested_at"):
            table = table.set_column(table.schema.get_field_index(column), column, table[column].cast(pa.int64()))
        rows: list[dict[str, object]] = table.to_pylist()
        return rows


@pytest.fixture(scope="session")
def make_world(tmp_path_factory: pytest.TempPathFactory) -> Callable[[RawTables], World]:
    """Writes tables into a home of their own and applies their features."""

    def make(raw: RawTables) -> World:
        path: Path = tmp_path_factory.mktemp("world") / "home"
        settings = load_settings(home=path, device="cpu")
        home = Home.open(settings)
        with home.writing("test"):
            snapshot, _ = write_snapshot(home, raw)
            apply_features(settings, home)
        return World(settings, home, snapshot, raw.tables)

    return make
