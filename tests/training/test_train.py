"""The whole way from a snapshot to a registered version, with the real Feast, MLflow and disk."""

import errno
import json
import platform
import shutil
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from contracts.errors import BadInput, NotFound, StorageFull, TrainingDiverged, ValidationFailed
from contracts.home import Home
from contracts.manifest import IndexInfo, verify
from contracts.protocol import ProtocolFingerprint
from contracts.settings import Settings, load_settings
from contracts.surfaces import OTHER_STUDY, OWN_STUDY, Tag
from contracts.user_figures import USER_FIGURES, UserFigures
from contracts.vocabulary import Vocabulary
from feature_repo.apply import apply_features
from feature_repo.offline import current_snapshot, write_snapshot
from feature_repo.readers.mmssl import read_mmssl
from tests.training.tracked import client, fingerprint_of, only_run, versions, without_time
from tests.verdicts import judge
from training import indexes, serving_cost
from training.golden import check_golden
from training.models.mf import MfConfig
from training.on_ray import train_on_ray
from training.packages import load_package
from training.protocols import FULL_20, Protocol
from training.questions import QUESTIONS, question_of
from training.retrieval import ExactIndex
from training.splits import LeaveOneOut
from training.studies import Study, study_of
from training.tracking import TrackedRun
from training.train import TrainedVersion, train, training_key

SMALL = {"dimension": 8, "max_epochs": 3}


@pytest.fixture(scope="module")
def prepared(make_mmssl: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with the block data ingested, applied and passed; and the snapshot's id."""
    root = tmp_path_factory.mktemp("prepared")
    settings = load_settings(home=root / "home", device="cpu")
    home = Home.open(settings)
    with home.writing("tests"):
        snapshot, _ = write_snapshot(home, read_mmssl(make_mmssl(root / "blocks"), "blocks"))
        apply_features(settings, home)
        judge(settings, home, snapshot.id, success=True)
    return root / "home", snapshot.id


@pytest.fixture
def ready(prepared: tuple[Path, str], settings: Settings, home: Home) -> str:
    """The test's own copy of that home; its snapshot's id."""
    shutil.copytree(prepared[0], home.root)
    return prepared[1]


def test_a_large_catalogue_is_packed_with_the_graph_that_was_measured(
    ready: str, settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(home=home.root, device="cpu", index_most_exact=63)
    monkeypatch.setattr(serving_cost, "_TOLERANCE", -1.0)  # no item is as good as itself then
    trained = train(settings, home, "mf", SMALL)
    version = client(settings, home).get_model_version(trained.surface, trained.version)
    package = load_package(Path(version.source.removeprefix("file://")))
    assert package.manifest.index == IndexInfo(kind="hnsw", recall=0.0)
    assert package.index is not None
    assert package.item_vectors is not None
    vector = package.item_vectors[7]
    assert package.index.search(vector, 5)[0].tolist() == ExactIndex(package.item_vectors).search(vector, 5)[0].tolist()


def test_a_graph_that_finds_too_little_is_not_packed(
    ready: str, settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(home=home.root, device="cpu", index_most_exact=63)
    monkeypatch.setattr(indexes, "LEAST_RECALL", 1.01)  # more than there is to find
    trained = train(settings, home, "mf", SMALL)
    version = client(settings, home).get_model_version(trained.surface, trained.version)
    package = load_package(Path(version.source.removeprefix("file://")))
    assert package.manifest.index == IndexInfo(kind="exact", recall=1.0)
    assert package.index is None


@pytest.mark.parametrize("model", ["mf", "m3csr"])
def test_a_training_is_tracked_packed_and_registered(ready: str, settings: Settings, home: Home, model: str) -> None:
    trained = train(settings, home, model, SMALL, seed=3)

    assert (trained.surface, trained.version, trained.model, trained.reused) == ("video-feed", "1", model, False)
    run = only_run(settings, home)
    assert run.info.run_id == trained.run_id
    assert run.info.status == "FINISHED"
    assert run.data.params["dimension"] == "8"
    assert run.data.params["seed"] == "3"
    (dataset,) = [item.dataset for item in run.inputs.dataset_inputs]
    assert (dataset.name, dataset.digest) == ("blocks", ready)
    assert {name: run.data.metrics[name] for name in trained.metrics} == pytest.approx(trained.metrics)
    assert {
        f"{part}_{metric}_at_20" for part in ("validation", "test") for metric in ("recall", "precision", "ndcg")
    } < (set(trained.metrics))
    assert {"test_tail_items_recall_at_20", "test_cold_items_events", "test_coverage_at_20"} < set(trained.metrics)
    assert {
        "validation_tail_items_recall_at_20",
        "validation_cold_items_events",
        "validation_coverage_at_20",
        "validation_popularity_lift_at_20",
        "validation_recall_at_20_low",
        "index_recall_at_20",
        "score_latency_ms_p99",
    } < set(trained.metrics)
    assert trained.metrics["index_recall_at_20"] == 1
    assert ("share_missing_visual" in trained.metrics) == (model == "m3csr"), "of the modalities that it was given"

    mlflow = client(settings, home)
    steps = [point.step for point in mlflow.get_metric_history(trained.run_id, "validation_recall_at_20")]
    assert sorted(steps) == [1, 2, 3, 4]
    assert [point.step for point in mlflow.get_metric_history(trained.run_id, "loss")] == [1, 2, 3]
    version = mlflow.get_model_version("video-feed", "1")
    expected = {
        Tag.MODEL: model,
        Tag.SNAPSHOT: ready,
        Tag.SEED: "3",
        Tag.STATE: "registered",
        Tag.SURFACE: "video-feed",
    }
    assert expected.items() <= version.tags.items()
    assert {value for key, value in vars(Tag).items() if key.isupper()} == set(version.tags)

    directory = Path(version.source.removeprefix("file://"))
    manifest = verify(directory)
    assert manifest.package_sha256 == version.tags[Tag.PACKAGE_SHA256]
    assert manifest.protocol == QUESTIONS["videos"].fingerprint(current_snapshot(home))
    assert manifest.protocol.digest == version.tags[Tag.PROTOCOL]
    assert manifest.metrics == trained.metrics
    figures = UserFigures.load(directory / USER_FIGURES)
    assert figures.mean("validation_recall_at_20") == pytest.approx(trained.metrics["validation_recall_at_20"])
    assert len(figures) == 96
    low, high = (trained.metrics[f"validation_recall_at_20_{end}"] for end in ("low", "high"))
    assert low < trained.metrics["validation_recall_at_20"] < high
    assert manifest.validation_report == "report-True"
    assert manifest.feature_service == version.tags[Tag.FEATURE_SERVICE]
    assert check_golden(load_package(directory)) == 10


def test_the_same_training_is_not_done_twice(ready: str, settings: Settings, home: Home) -> None:
    first = train(settings, home, "popularity")
    again = train(settings, home, "popularity")
    assert again == TrainedVersion(**{**vars(first), "reused": True})
    assert len(versions(settings, home)) == 1

    assert train(settings, home, "popularity", seed=1).version == "2"
    forced = train(settings, home, "popularity", force=True)
    assert (forced.version, forced.reused) == ("3", False)
    assert train(settings, home, "popularity").version == "3"


def test_a_version_is_not_reused_by_other_code(
    ready: str, settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(settings, home, "popularity")
    monkeypatch.setattr("training.train.sources_digest", lambda: "other")
    trained = train(settings, home, "popularity")
    assert (trained.version, trained.reused) == ("2", False)


def test_everything_that_decides_the_outcome_is_in_the_key(
    ready: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = current_snapshot(home)
    service = "interactions_v1"
    rules = study_of(question_of(service)).fingerprint(snapshot)
    drawn = Study(LeaveOneOut(), FULL_20).fingerprint(snapshot)
    other = rules.model_copy(update={"snapshot": "other"})

    def keys() -> list[str]:
        return [
            training_key("mf", MfConfig(), 0, rules, service, device="cpu"),
            training_key("popularity", MfConfig(), 0, rules, service, device="cpu"),
            training_key("mf", MfConfig(dimension=8), 0, rules, service, device="cpu"),
            training_key("mf", MfConfig(), 1, rules, service, device="cpu"),
            training_key("mf", MfConfig(), 0, other, service, device="cpu"),
            training_key("mf", MfConfig(), 0, rules, "vbpr_v1", device="cpu"),
            training_key("mf", MfConfig(), 0, rules, service, device="cuda"),
            training_key("mf", MfConfig(), 0, drawn, service, device="cpu"),
        ]

    found = keys()
    assert len(set(found)) == len(found)
    assert keys() == found
    with monkeypatch.context() as patch:
        patch.setattr("training.train.sources_digest", lambda: "other")
        assert not set(keys()) & set(found)
    monkeypatch.setattr("training.train.library_versions", lambda: {"torch": "0"})
    assert not set(keys()) & set(found)


def test_a_study_decides_what_is_held_out_and_how_it_is_ranked(
    ready: str, settings: Settings, home: Home, tmp_path: Path
) -> None:
    among = Protocol(cutoffs=(3, 10), negatives=20, stopping="ndcg_at_10", seed=5)
    study = Study(LeaveOneOut(seed=4), among)
    own = train(settings, home, "popularity")
    trained = train(settings, home, "popularity", study=study)
    assert not trained.reused
    assert {"test_hr_at_3", "test_hr_at_10"} < set(trained.metrics)
    assert "test_recall_at_20" not in trained.metrics
    assert train(settings, home, "popularity", study=study).version == trained.version
    assert train(settings, home, "popularity").version == own.version
    found = fingerprint_of(settings, home, trained)
    assert found == study.fingerprint(current_snapshot(home))
    assert found.seeds == (4, 5)
    tags = [client(settings, home).get_model_version("video-feed", each.version).tags for each in (own, trained)]
    assert [each[Tag.STUDY] for each in tags] == [OWN_STUDY, OTHER_STUDY]
    usual = study_of(question_of("interactions_v1"))
    assert usual.fingerprint(current_snapshot(home)) == fingerprint_of(settings, home, own)


def test_two_runs_with_one_seed_give_identical_metrics(ready: str, settings: Settings, home: Home) -> None:
    first, second = (train(settings, home, "lightgcn", SMALL, force=True) for _ in range(2))
    assert without_time(first.metrics) == without_time(second.metrics)


def test_data_that_was_never_judged_is_refused(
    make_mmssl: Callable[..., Path], tmp_path: Path, settings: Settings, home: Home
) -> None:
    with home.writing("tests"):
        write_snapshot(home, read_mmssl(make_mmssl(tmp_path / "blocks"), "blocks"))
    with pytest.raises(ValidationFailed, match="found no validation report; expected a passed one"):
        train(settings, home, "popularity")
    assert not home.mlflow_database.exists()


def test_data_that_failed_is_refused(ready: str, settings: Settings, home: Home) -> None:
    judge(settings, home, ready, success=False)
    with pytest.raises(ValidationFailed, match="found report report-False with failed suites"):
        train(settings, home, "popularity")


def test_unknown_names_are_refused_before_anything_is_read(settings: Settings, home: Home) -> None:
    with pytest.raises(NotFound, match="model 'popularty'"):
        train(settings, home, "popularty")
    with pytest.raises(NotFound, match="popularity option 'depth'"):
        train(settings, home, "popularity", {"depth": 1})


def test_an_interrupt_ends_the_run_as_killed_and_registers_nothing(
    ready: str, settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrackedRun, "log_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(settings, home, "mf", SMALL)
    assert only_run(settings, home).info.status == "KILLED"
    assert versions(settings, home) == []
    assert train(settings, home, "mf", SMALL).version == "1"


def test_a_full_disk_leaves_nothing_behind(
    ready: str, settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Vocabulary, "save", full)
        with pytest.raises(StorageFull, match="no space left on the disk"):
            train(settings, home, "mf", SMALL)
    run = only_run(settings, home)
    assert run.info.status == "FAILED"
    assert versions(settings, home) == []
    left = {path.name for path in home.artifacts.rglob("*") if path.is_file()}
    assert left == {"environment.json", "protocol.json"}, "nothing of the package"
    assert train(settings, home, "mf", SMALL).version == "1"


def test_a_training_that_diverges_fails_the_run(ready: str, settings: Settings, home: Home) -> None:
    with pytest.raises(TrainingDiverged, match="MatrixFactorisation: scores: found"):
        train(settings, home, "mf", {"learning_rate": 1e30, "max_epochs": 1})
    assert only_run(settings, home).info.status == "FAILED"
    assert versions(settings, home) == []


def test_a_package_goes_to_a_remote_store_whole(ready: str, settings: Settings, home: Home, tmp_path: Path) -> None:
    """A store that is not a local path is filled by MLflow; the copy on its way is removed."""
    trained = train(settings, home, "popularity")
    run = TrackedRun(client(settings, home), trained.run_id, "mlflow-artifacts:/elsewhere", home.cache)

    def build(directory: Path) -> str:
        (directory / "note.json").write_text(json.dumps({"whole": True}))
        return "built"

    assert run.store_package(build) == ("mlflow-artifacts:/elsewhere/package", "built")
    stored = client(settings, home).download_artifacts(trained.run_id, "package/note.json", str(tmp_path))
    assert json.loads(Path(stored).read_text()) == {"whole": True}
    assert list((home.cache / "outgoing").iterdir()) == []


def test_a_model_that_does_not_fit_into_memory_is_refused(ready: str, settings: Settings, home: Home) -> None:
    with pytest.raises(BadInput, match=r"mf with dimension 99,999,999,999.*not enough memory"):
        train(settings, home, "mf", {"dimension": 99_999_999_999}, seed=0)


@pytest.mark.usefixtures("ray_cluster")
def test_a_training_on_a_cluster_is_the_same(ready: str, settings: Settings, home: Home) -> None:
    settings = settings.model_copy(update={"threads": 1})
    there = train_on_ray(settings, home, "mf", SMALL, seed=3)
    assert (there.version, there.reused) == ("1", False)
    assert only_run(settings, home).info.status == "FINISHED"
    here = train(settings, home, "mf", SMALL, seed=3)
    assert (here.version, here.reused) == ("1", True), "it has the key that a training here would have"
    again = train(settings, home, "mf", SMALL, seed=3, force=True)
    assert without_time(again.metrics) == without_time(there.metrics)
    with pytest.raises(NotFound, match="model 'no-such'"):
        train_on_ray(settings, home, "no-such")
    elsewhere = Home(home.root.with_name("elsewhere"))
    with pytest.raises(NotFound, match="elsewhere on a node of the cluster: found nothing there; expected the home of"):
        train_on_ray(settings, elsewhere, "mf", SMALL)


def test_a_run_holds_what_it_was_made_of(ready: str, settings: Settings, home: Home, tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    trained = train(settings, home, "mf", SMALL, seed=3)
    assert set(threading.enumerate()) <= threads, "nobody goes on watching"
    mlflow, run = client(settings, home), only_run(settings, home)
    expected = {"snapshot": ready, "feature_service": "interactions_v1", "validation_report": "report-True"}
    assert expected.items() <= run.data.params.items()
    read = {
        name: json.loads(Path(mlflow.download_artifacts(trained.run_id, name, str(tmp_path))).read_text())
        for name in ("environment.json", "protocol.json")
    }
    fingerprint = fingerprint_of(settings, home, trained)
    assert read["protocol.json"].pop("digest") == fingerprint.digest == run.data.params["protocol"]
    assert ProtocolFingerprint.model_validate(read["protocol.json"]) == fingerprint
    found = read["environment.json"]
    assert (found["device"], found["python"]) == ("cpu", platform.python_version())
    assert found["libraries"]["torch"] == version("torch")
    assert found["threads"] >= 1
    assert 0 <= run.data.metrics["system/cpu_utilization_percentage"] <= 100
    assert run.data.metrics["system/system_memory_usage_megabytes"] > 0
    assert not any(name.startswith("system/") for name in trained.metrics)
    again = train(settings, home, "mf", SMALL, seed=3)
    assert again == TrainedVersion(**{**vars(trained), "reused": True}), "nor in those of a version that is reused"


def test_the_machine_is_not_watched_where_nobody_asks(ready: str, settings: Settings, home: Home) -> None:
    train(settings.model_copy(update={"system_metrics": 0}), home, "popularity")
    assert not any(name.startswith("system/") for name in only_run(settings, home).data.metrics)


def test_figures_come_with_the_run(ready: str, settings: Settings, home: Home) -> None:
    trained = train(settings, home, "m3csr", SMALL)
    found = {entry.path for entry in client(settings, home).list_artifacts(trained.run_id, "figures")}
    names = ("curves", "intensity", "recall_at_n")  # and no map of so few items
    assert found == {f"figures/{name}.{kind}" for name in names for kind in ("json", "png")}


def test_a_figure_that_cannot_be_drawn_loses_no_training(
    ready: str, settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr("training.train.draw_figures", failing)
    trained = train(settings, home, "popularity")
    assert f"no figures of run {trained.run_id}: ValueError: no ink" in capsys.readouterr().err
    assert only_run(settings, home).info.status == "FINISHED"
    assert len(versions(settings, home)) == 1
