"""A home that is ready to train on, and a small table of it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.home import Home
from contracts.settings import load_settings
from feature_repo.apply import apply_features
from feature_repo.offline import write_snapshot
from feature_repo.readers.mmssl import read_mmssl
from tests.verdicts import judge
from training.experiments.tables import CHANCE, Column, Row, Table
from training.protocols import FULL_20
from training.splits import GlobalInstants
from training.studies import Study

TABLE = Table(
    name="small",
    title="Groups of users who see the same videos",
    source="A paper, Table 1",
    data="blocks",
    real=False,
    prepare=("backbeat ingest mmssl blocks", "backbeat features apply"),
    columns=(Column("R@20", "test_recall_at_20"), Column("N@20", "test_ndcg_at_20")),
    rows=(
        Row("Chance", CHANCE, service="interactions_v1"),
        Row("Popularity", "popularity"),
        Row("MF", "mf", {"dimension": 8, "max_epochs": 3}, paper={"R@20": 0.9, "N@20": 0.5}, tuned="by hand"),
        Row("Printed", None, paper={"R@20": 0.7, "N@20": 0.4}),
    ),
    study=Study(GlobalInstants(), FULL_20),
    orderings=(("MF", "Popularity"), ("MF", "Printed")),
    note="Made up.",
)


@pytest.fixture
def table() -> Table:
    return TABLE


@pytest.fixture(scope="session")
def _prepared(make_mmssl: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    settings = load_settings(home=root / "home", device="cpu")
    home = Home.open(settings)
    with home.writing("tests"):
        snapshot, _ = write_snapshot(home, read_mmssl(make_mmssl(root / "blocks"), "blocks"))
        apply_features(settings, home)
        judge(settings, home, snapshot.id, success=True)
    return root / "home"


@pytest.fixture
def ready(_prepared: Path, home: Home) -> Home:
    """The test's own copy of a home with the block data, applied and passed."""
    shutil.copytree(_prepared, home.root)
    return home


@pytest.fixture
def with_rows(table: Table) -> Callable[..., Table]:
    """The table with other rows: ``with_rows(row, ...)``."""
    return lambda *rows: replace(table, rows=rows)
