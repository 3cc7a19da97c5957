"""Training runs and registered versions in MLflow."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlparse

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from contracts.addresses import mlflow_artifact_url, mlflow_tracking_url, require_answer
from contracts.files import directory_written_whole
from contracts.home import Home
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.surfaces import EXPERIMENT, PACKAGE_ARTIFACT, SURFACES, Tag
from training.machine import watched
from training.recommender import EpochReport

__all__ = ["TrackedRun", "Tracker"]

Built = TypeVar("Built")


class TrackedRun:
    """One training run while it lasts.

    Args:
        client: MLflow.
        run_id: Its id there.
        artifact_uri: Where its artifacts go.
        cache: Directory for a package on its way to a remote store.
    """

    def __init__(self, client: MlflowClient, run_id: str, artifact_uri: str, cache: Path) -> None:
        self._client = client
        self.run_id = run_id
        self._artifact_uri = artifact_uri
        self._cache = cache

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record the resolved configuration."""
        self._client.log_batch(self.run_id, params=[Param(name, str(value)) for name, value in params.items()])

    def log_document(self, name: str, document: Mapping[str, object]) -> None:
        """Make a JSON document an artifact of the run."""
        self._client.log_dict(self.run_id, dict(document), name)

    def log_input(self, snapshot: Snapshot, location: str) -> None:
        """Record the data: its name, and its id as the digest."""
        rows = {name: table.rows for name, table in snapshot.tables.items()}
        dataset = Dataset(
            name=snapshot.dataset,
            digest=snapshot.id,
            source_type="local",
            source=json.dumps({"uri": location}),
            profile=json.dumps(rows),
        )
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def log_epoch(self, report: EpochReport) -> None:
        """Record an epoch's losses (their sum as ``loss``) and validation metrics, the epoch as step."""
        metrics = {f"loss_{term}": value for term, value in report.losses.items()}
        if metrics:
            metrics["loss"] = sum(metrics.values())
        metrics |= {f"validation_{name}": value for name, value in report.validation.items()}
        self.log_metrics(metrics, step=report.epoch)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record metrics; MLflow shows those of the highest step as the run's own."""
        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, metrics=[Metric(name, value, now, step) for name, value in metrics.items()])

    def store_package(self, build: Callable[[Path], Built]) -> tuple[str, Built]:
        """Make the run's package artifact appear whole, or not at all.

        Args:
            build: Writes the package into an empty directory.

        Returns:
            The package's address, and what ``build`` returned.

        Raises:
            StorageFull: The disk ran out of space; nothing of the package is left.
        """
        address = urlparse(self._artifact_uri)
        if address.scheme in ("", "file"):
            with directory_written_whole(Path(unquote(address.path)) / PACKAGE_ARTIFACT) as scratch:
                built = build(scratch)
        else:
            waiting = self._cache / "outgoing" / self.run_id
            with directory_written_whole(waiting) as scratch:
                built = build(scratch)
            try:
                self._client.log_artifacts(self.run_id, str(waiting), PACKAGE_ARTIFACT)
            finally:
                shutil.rmtree(waiting, ignore_errors=True)
        return f"{self._artifact_uri}/{PACKAGE_ARTIFACT}", built

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags that were not known at the start."""
        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def store_files(self, directory: Path) -> None:
        """Make the files of a directory artifacts of the run."""
        self._client.log_artifacts(self.run_id, str(directory))

    def adopt(self, run_id: str) -> None:
        """Show another run below this one, unless it is below another already."""
        if MLFLOW_PARENT_RUN_ID not in self._client.get_run(run_id).data.tags:
            self._client.set_tag(run_id, MLFLOW_PARENT_RUN_ID, self.run_id)

    def register(self, surface: str, package: str, tags: Mapping[str, str]) -> str:
        """Make the package a version of a surface; returns the version."""
        try:
            self._client.create_registered_model(surface, description=SURFACES[surface])
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = self._client.create_model_version(surface, source=package, run_id=self.run_id, tags=dict(tags))
        return str(version.version)


class Tracker:
    """MLflow of a home, or of the production profile; connects on first use.

    Args:
        settings: Name the MLflow of the production profile.
        home: Holds the one of the local profile.

    Raises:
        NotFound: The production profile has no address for it.
        ServiceUnavailable: On first use, where MLflow's database does not answer.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self._url = mlflow_tracking_url(settings, home)
        self._artifacts = mlflow_artifact_url(settings, home)
        self._cache = home.cache
        self._interval = settings.system_metrics

    @cached_property
    def _client(self) -> MlflowClient:
        require_answer(self._url, "mlflow_url")
        # MLflow sets its own level when it loads, and would tell of every migration of a new database.
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        return MlflowClient(tracking_uri=self._url, registry_uri=self._url)

    @contextmanager
    def run(self, name: str, tags: Mapping[str, str], again: str | None = None) -> Iterator[TrackedRun]:
        """Record a run from start to end: FINISHED, FAILED, or KILLED by an interrupt.

        Args:
            name: What it is called.
            tags: Of it.
            again: Id of a run that is gone on with, whatever it ended as; a new one if None.
        """
        if again is None:
            run = self._client.create_run(self._experiment(), run_name=name, tags=dict(tags))
        else:
            self._client.update_run(again, status="RUNNING")
            run = self._client.get_run(again)
        outcome = "FAILED"
        try:
            yield TrackedRun(self._client, run.info.run_id, run.info.artifact_uri, self._cache)
            outcome = "FINISHED"
        except KeyboardInterrupt:
            outcome = "KILLED"
            raise
        finally:
            self._client.set_terminated(run.info.run_id, outcome)

    def end(self, run_id: str, outcome: str, tags: Mapping[str, str]) -> None:
        """Close a run whose process was killed: FINISHED, FAILED or KILLED."""
        self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        self._client.set_terminated(run_id, outcome)

    def watched(self, run: TrackedRun) -> AbstractContextManager[None]:
        """Log what the machine does meanwhile as metrics of a run, as often as the setting ``system_metrics`` says."""
        return watched(run.run_id, self._url, self._interval)

    def find(self, surface: str, training_key: str) -> tuple[str, str, dict[str, float]] | None:
        """The newest version that a training key has already made.

        Returns:
            Version, run id and the run's metrics, or None.
        """
        found: list[Any] = self._client.search_model_versions(
            f"name = '{surface}' and tags.`{Tag.TRAINING_KEY}` = '{training_key}'"
        )
        if not found:
            return None
        newest = max(found, key=lambda version: int(version.version))
        return str(newest.version), newest.run_id, dict(self._client.get_run(newest.run_id).data.metrics)

    def _experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return str(experiment.experiment_id)
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=self._artifacts))
