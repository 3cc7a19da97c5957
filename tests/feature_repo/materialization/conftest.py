"""A home whose features are applied and judged but not online, made once and copied for each test."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.database import Database
from contracts.home import Home
from contracts.settings import Settings, load_settings
from feature_repo.apply import apply_features
from feature_repo.offline import current_snapshot, write_snapshot
from feature_repo.simulator import simulate

Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, passed: Callable[..., None]) -> Home:
    """Copy it, do not write it."""
    settings = load_settings(home=tmp_path_factory.mktemp("template") / "home")
    home = Home.open(settings)
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, simulate(users=60, videos=80, days=10, seed=1, events=1000))
        apply_features(settings, home)
        database = Database(settings, home)
        passed(database, snapshot.id)
        database.close()
    return home


@pytest.fixture(scope="session")
def copied(template: Home) -> Callable[[Path], tuple[Settings, Home]]:
    """``copied(path)``: a home at that path like the template; its views read the template's Parquet files."""

    def copy(path: Path) -> tuple[Settings, Home]:
        shutil.copytree(template.root, path)
        marker = json.loads((path / "home.json").read_text())
        (path / "home.json").write_text(json.dumps(marker | {"root": str(path)}))  # a copy is refused otherwise
        settings = load_settings(home=path)
        return settings, Home.open(settings)

    return copy


@pytest.fixture
def ready(copied: Callable[[Path], tuple[Settings, Home]], tmp_path: Path) -> tuple[Settings, Home]:
    """Settings and home of a test's own."""
    return copied(tmp_path / "home")


@pytest.fixture
def tables(ready: tuple[Settings, Home]) -> Any:
    """The platform's tables of that home."""
    database = Database(*ready)
    yield database
    database.close()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut every view into several chunks."""
    monkeypatch.setattr("feature_repo.materialization.run.chunk_bytes_below", lambda *_: 4000)


@pytest.fixture(scope="session")
def online_rows() -> Callable[[Home], Rows]:
    """``online_rows(home)``: every row of the online store, by view."""

    def read(home: Home) -> Rows:
        path = home.feast / "online.db"
        if not path.exists():
            return {}
        project = f"backbeat_{current_snapshot(home).id}_"
        connection = sqlite3.connect(path)
        try:
            names = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
            found = {
                name.removeprefix(project): sorted(connection.execute(f'select * from "{name}"')) for name in names
            }
        finally:
            connection.close()
        return {name: rows for name, rows in found.items() if rows}

    return read
