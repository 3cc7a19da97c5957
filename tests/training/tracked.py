"""What MLflow holds after a training."""

from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from contracts.addresses import mlflow_tracking_url
from contracts.home import Home
from contracts.manifest import verify
from contracts.protocol import ProtocolFingerprint
from contracts.settings import Settings
from contracts.surfaces import EXPERIMENT
from training.train import TrainedVersion


def client(settings: Settings, home: Home) -> MlflowClient:
    url = mlflow_tracking_url(settings, home)
    return MlflowClient(tracking_uri=url, registry_uri=url)


def only_run(settings: Settings, home: Home) -> Run:
    mlflow = client(settings, home)
    (run,) = mlflow.search_runs([mlflow.get_experiment_by_name(EXPERIMENT).experiment_id])
    return run


def fingerprint_of(settings: Settings, home: Home, trained: TrainedVersion) -> ProtocolFingerprint:
    version = client(settings, home).get_model_version(trained.surface, trained.version)
    return verify(Path(version.source.removeprefix("file://"))).protocol


def versions(settings: Settings, home: Home) -> list[object]:
    return list(client(settings, home).search_model_versions("name='video-feed'"))


def without_time(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name != "train_seconds" and "latency" not in name}
