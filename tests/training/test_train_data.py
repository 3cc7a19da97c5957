"""Trainings on data that lack something: vectors, histories, items, tables."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import scipy.sparse as sp
from mlflow.tracking import MlflowClient

from backbeat.cli import invoke
from contracts.addresses import mlflow_tracking_url
from contracts.errors import NotFound
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.apply import apply_features
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables
from feature_repo.readers.mmssl import read_mmssl
from feature_repo.readers.restricted_pickle import load_restricted
from tests.verdicts import judge
from training.golden import check_golden
from training.packages import load_package
from training.train import train

Prepare = Callable[[Path, Callable[[RawTables], RawTables]], str]


@pytest.fixture
def prepare(settings: Settings, home: Home) -> Prepare:
    """Ingest, apply and pass data in the MMSSL layout, changed on the way; returns the snapshot's id."""

    def prepared(folder: Path, change: Callable[[RawTables], RawTables]) -> str:
        with home.writing("tests"):
            snapshot, _ = write_snapshot(home, change(read_mmssl(folder, "blocks")))
            apply_features(settings, home)
        judge(settings, home, snapshot.id, success=True)
        return snapshot.id

    return prepared


def first_package(settings: Settings, home: Home) -> Path:
    url = mlflow_tracking_url(settings, home)
    version = MlflowClient(tracking_uri=url, registry_uri=url).get_model_version("video-feed", "1")
    return Path(version.source.removeprefix("file://"))


def test_a_modality_that_items_lack_is_masked_and_said(
    prepare: Prepare,
    make_mmssl: Callable[..., Path],
    tmp_path: Path,
    settings: Settings,
    home: Home,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def without(raw: RawTables) -> RawTables:
        visual, acoustic = (raw.tables[f"embedding_{name}"] for name in ("visual", "acoustic"))
        kept = {"embedding_visual": visual.slice(8), "embedding_acoustic": acoustic.slice(0, 0)}
        return replace(raw, tables={**raw.tables, **kept})

    prepare(make_mmssl(tmp_path / "blocks"), without)
    typed = ["train", "m3csr", "--set", "dimension=8", "--epochs", "2", "--home", str(home.root)]
    metrics = invoke(typed)["metrics"]
    said = capsys.readouterr().out
    assert "  visual missing for 8 of 64 items (12.5%); masked\n" in said
    assert "  acoustic missing for 64 of 64 items (100.0%); masked\n" in said
    assert (metrics["share_missing_visual"], metrics["share_missing_acoustic"]) == (0.125, 1)
    assert metrics["test_missing_visual_events"] > 0
    assert 0 <= metrics["test_missing_visual_recall_at_20"] <= 1
    assert metrics["test_missing_acoustic_recall_at_20"] == metrics["test_recall_at_20"]
    assert check_golden(load_package(first_package(settings, home))) == 10


def test_users_without_history_and_fewer_items_than_places(
    prepare: Prepare, make_mmssl: Callable[..., Path], tmp_path: Path, settings: Settings, home: Home
) -> None:
    folder = make_mmssl(tmp_path / "blocks", users=40, videos=16)
    training = load_restricted(folder / "trnMat.pkl")
    known = training.row >= 3
    matrix = sp.coo_matrix((training.data[known], (training.row[known], training.col[known])), shape=training.shape)
    (folder / "trnMat.pkl").write_bytes(pickle.dumps(matrix))
    prepare(folder, lambda raw: raw)
    for model in ("m3csr", "popularity"):
        metrics = train(settings, home, model, {"dimension": 8, "max_epochs": 3} if model == "m3csr" else {}).metrics
        assert (metrics["items"], metrics["users_without_history"]) == (16, 3)
        assert metrics["test_cold_users_events"] == 3
        assert 0 <= metrics["test_cold_users_recall_at_20"] <= metrics["test_recall_at_20"] + 1e-9
        assert metrics["test_recall_at_20"] > 0.9, "20 places hold all 16 items"
    assert check_golden(load_package(first_package(settings, home))) == 10


def test_features_that_the_snapshot_lacks_are_named(
    prepare: Prepare, make_mmssl: Callable[..., Path], tmp_path: Path, settings: Settings, home: Home
) -> None:
    def without(raw: RawTables) -> RawTables:
        tables = {name: table for name, table in raw.tables.items() if not name.startswith("embedding_")}
        return replace(raw, tables=tables, specs={})

    prepare(make_mmssl(tmp_path / "blocks"), without)
    with pytest.raises(NotFound, match=r"feature service 'dl_bgm_v1' of snapshot \w+: found no table .*music"):
        train(settings, home, "dl-bgm")
    with pytest.raises(
        NotFound, match=r"feature service 'm3csr_v1' of snapshot \w+: found no feature view video_<modal"
    ):
        train(settings, home, "m3csr")
    with pytest.raises(NotFound, match="feature service 'm3scr_v1'"):
        train(settings, home, "mf", service="m3scr_v1")
