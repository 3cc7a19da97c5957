"""A real MLflow registry in the test's home, filled with tiny sealed packages."""

import json
import shutil
import uuid
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from contracts.addresses import mlflow_artifact_url, mlflow_tracking_url
from contracts.clock import utc_now
from contracts.database import Database
from contracts.home import Home
from contracts.manifest import IndexInfo, ModelManifest, seal
from contracts.protocol import ProtocolFingerprint
from contracts.reports import ValidationReport, store_report
from contracts.settings import Settings, load_settings
from contracts.surfaces import EXPERIMENT, PACKAGE_ARTIFACT, PRIMARY_METRICS, Tag
from contracts.user_figures import USER_FIGURES, UserFigures
from registry.evidence import Measurement
from registry.moves import Promotion
from registry.promotion import promote, rollback
from registry.store import ModelStore

PRIMARY = PRIMARY_METRICS["video-feed"]

SURFACE = "video-feed"


MEASURED = {
    "validation_cold_items_events": 0.0,
    "validation_coverage_at_20": 0.5,
    "validation_popularity_lift_at_20": 1.0,
    "index_recall_at_20": 1.0,
    "score_latency_ms_p99": 2.0,
}
"""What gates ask for beside the primary metric."""


class Shelf:
    """What training, validation and ingest would have left in a home."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self.settings, self.home = settings, home
        self.store = ModelStore(settings, home)
        self.measured: list[tuple[Path, str]] = []
        """Packages that were measured again, and on which data."""
        self.client = MlflowClient(
            tracking_uri=mlflow_tracking_url(settings, home), registry_uri=mlflow_tracking_url(settings, home)
        )
        self.experiment = self.client.create_experiment(EXPERIMENT, mlflow_artifact_url(settings, home))
        self.client.create_registered_model(SURFACE)
        with home.writing("test"):
            self.point_at("snap-1")

    def point_at(self, snapshot: str) -> None:
        """Make a snapshot the current one."""
        self.home.offline.mkdir(parents=True, exist_ok=True)
        (self.home.offline / "current.json").write_text(json.dumps({"snapshot": snapshot}))

    def register(
        self, model: str = "mf", metric: float | None = 0.1, snapshot: str = "snap-1", measured: bool = True
    ) -> str:
        """Train nothing, register a version as training does.

        Args:
            model: Its name.
            metric: The primary metric, which every user has; None where it was not measured.
            snapshot: Data it says it was trained on.
            measured: Whether all else that promotion asks for was measured, as it was not before there were gates.

        Returns:
            Its number.
        """
        run = self.client.create_run(self.experiment)
        for name, value in (MEASURED if measured else {}).items():
            self.client.log_metric(run.info.run_id, name, value)
        if metric is not None:
            self.client.log_metric(run.info.run_id, PRIMARY, metric)
        protocol = _protocol(snapshot)
        package = self.home.root / "made"
        package.mkdir()
        (package / "weights.safetensors").write_bytes(model.encode())
        (package / "golden.json").write_text("[]")
        if measured and metric is not None:
            users_with(metric).save(package / USER_FIGURES)
        manifest = seal(package, _manifest(model, snapshot, protocol))
        self.client.log_artifacts(run.info.run_id, str(package), PACKAGE_ARTIFACT)
        shutil.rmtree(package)
        tags = {
            Tag.MODEL: model,
            Tag.VARIANT: model,
            Tag.SNAPSHOT: snapshot,
            Tag.PROTOCOL: protocol.digest,
            Tag.PACKAGE_SHA256: manifest.package_sha256,
            Tag.STATE: "registered",
        }
        source = f"{run.info.artifact_uri}/{PACKAGE_ARTIFACT}"
        return str(self.client.create_model_version(SURFACE, source, run.info.run_id, tags).version)

    def judge(self, success: bool = True, snapshot: str = "snap-1") -> str:
        """Store a validation report; returns its id."""
        database = Database(self.settings, self.home)
        report = ValidationReport(
            id=uuid.uuid4().hex,
            snapshot=snapshot,
            created_at=utc_now(),
            success=success,
            suites=[],
            data_docs="index.html",
        )
        store_report(database, report)
        database.close()
        return report.id

    def package(self, version: str) -> Path:
        """Where a version's package lies."""
        return self.store.package_path(self.store.get(SURFACE, version))

    def states(self) -> dict[str, str]:
        """Version → state."""
        return {v.version: v.state for v in self.store.versions(SURFACE)}

    def promote(
        self,
        selector: str,
        to: str = "champion",
        reason: str = "test",
        fault: str | None = None,
        again: float | str | None = None,
    ) -> Promotion:
        """Promote with a replay of the package that finds the given fault.

        Args:
            selector: Which version.
            to: What it shall be.
            reason: Why.
            fault: Of its package.
            again: What a champion of other data has when it is measured again, or why it cannot be; None where
                nobody may ask.
        """

        def remeasure(settings: Settings, package: Path, snapshot: str) -> Measurement | str:
            assert again is not None, "nobody was to be measured again"
            assert settings == self.settings
            self.measured.append((package, snapshot))
            if isinstance(again, str):
                return again
            return Measurement(_protocol(snapshot).digest, {**MEASURED, PRIMARY: again}, users_with(again))

        return promote(
            self.settings, self.home, SURFACE, selector, to, reason, "tester", lambda _: fault, remeasure=remeasure
        )

    def rollback(self, reason: str = "test", fault: str | None = None) -> Promotion:
        """Roll back likewise."""
        return rollback(self.settings, self.home, SURFACE, reason, "tester", replay=lambda _: fault)


def users_with(metric: float) -> UserFigures:
    """Figures of 120 users who all have the same."""
    ids = [f"u{row}" for row in range(120)]
    return UserFigures.of(ids, np.ones(120, np.int64), {PRIMARY: np.full(120, metric)})


def _protocol(snapshot: str) -> ProtocolFingerprint:
    return ProtocolFingerprint(snapshot=snapshot, split="given", candidates="all", cutoffs=(20,))


def _manifest(model: str, snapshot: str, protocol: ProtocolFingerprint) -> ModelManifest:
    return ModelManifest(
        model=model,
        variant=model,
        surface=SURFACE,
        shape="two-tower",
        config={},
        seed=0,
        code_revision="test",
        feature_service="interactions_v1",
        snapshot=snapshot,
        validation_report="report-0",
        embedding_specs={},
        vocabularies={},
        protocol=protocol,
        metrics={},
        index=IndexInfo(kind="exact", recall=1.0),
        library_versions={},
        created_at=utc_now(),
    )


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database without a row; making one takes longer than most tests."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def shelf(tmp_path: Path, empty_mlflow: Path) -> Shelf:
    """An empty registry whose data has no validation report yet."""
    settings = load_settings(home=tmp_path / "home")
    home = Home.open(settings)
    with home.writing("test"):
        shutil.copyfile(empty_mlflow, home.mlflow_database)
    return Shelf(settings, home)
