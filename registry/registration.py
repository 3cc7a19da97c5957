"""Packages that were trained elsewhere, made versions here."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.addresses import mlflow_artifact_url
from contracts.errors import unknown_name
from contracts.home import Home
from contracts.manifest import ModelManifest, verify
from contracts.settings import Settings
from contracts.surfaces import EXPERIMENT, OTHER_STUDY, OWN_STUDY, PACKAGE_ARTIFACT, SURFACES, Tag
from registry.mlflow_client import open_client
from registry.store import ModelVersion
from registry.writing import writing_registry

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["register_package"]


def register_package(settings: Settings, home: Home, package: Path, actor: str) -> tuple[ModelVersion, bool]:
    """Copy a sealed package into MLflow and make it a version of its surface, in state ``registered``.

    The caller holds the home's writer lock. Options, metrics and tags are those that the manifest seals; the same
    package is registered once. One that was measured by another protocol than the surface's own versions is none of
    those that ``best`` chooses among.

    Args:
        settings: The process's settings.
        home: Whose registry.
        package: The package's directory; it stays as it is.
        actor: Who, as the version's author.

    Returns:
        The version, and whether it is new.

    Raises:
        NotFound: There is no package, or no surface of the manifest's name.
        BadInput: A file is missing, surplus or altered; or this process may not write the home.
        ServiceUnavailable: MLflow does not answer.
    """
    manifest = verify(package)
    if manifest.surface not in SURFACES:
        raise unknown_name("surface", manifest.surface, SURFACES, next_step="package the model for one of these")
    with writing_registry(settings, home) as registry:
        known = registry.store.versions(manifest.surface)
        for version in known:
            if version.tags.get(Tag.PACKAGE_SHA256) == manifest.package_sha256:
                return version, False
        tags = _tags(manifest, known, actor)
        number = _stored(open_client(settings, home), mlflow_artifact_url(settings, home), package, manifest, tags)
        return registry.store.get(manifest.surface, number), True


def _stored(
    client: "MlflowClient", artifacts: str, package: Path, manifest: ModelManifest, tags: dict[str, str]
) -> str:
    from mlflow.entities import Metric, Param

    experiment = client.get_experiment_by_name(EXPERIMENT)
    where = experiment.experiment_id if experiment is not None else client.create_experiment(EXPERIMENT, artifacts)
    run = client.create_run(where, run_name=f"{manifest.model}-{manifest.variant}-seed{manifest.seed}", tags=tags).info
    outcome = "FAILED"
    try:
        at = int(manifest.created_at.timestamp() * 1000)
        client.log_batch(
            run.run_id,
            metrics=[Metric(name, value, at, 0) for name, value in manifest.metrics.items()],
            params=[Param(name, str(value)) for name, value in manifest.config.items()],
        )
        client.log_artifacts(run.run_id, str(package), PACKAGE_ARTIFACT)
        outcome = "FINISHED"
    finally:
        client.set_terminated(run.run_id, outcome)
    if not client.search_registered_models(f"name = '{manifest.surface}'"):
        client.create_registered_model(manifest.surface, description=SURFACES[manifest.surface])
    source = f"{run.artifact_uri}/{PACKAGE_ARTIFACT}"
    sealed = {Tag.PACKAGE_SHA256: manifest.package_sha256, Tag.STATE: "registered"}
    return str(client.create_model_version(manifest.surface, source, run.run_id, {**tags, **sealed}).version)


def _tags(manifest: ModelManifest, known: Sequence[ModelVersion], actor: str) -> dict[str, str]:
    protocol = manifest.protocol.digest
    # A manifest does not say whether it was judged as the surface's versions are; their protocol does.
    own = any(version.protocol == protocol and version.tags.get(Tag.STUDY) == OWN_STUDY for version in known)
    return {
        Tag.MODEL: manifest.model,
        Tag.VARIANT: manifest.variant,
        Tag.SURFACE: manifest.surface,
        Tag.SNAPSHOT: manifest.snapshot,
        Tag.FEATURE_SERVICE: manifest.feature_service,
        Tag.VALIDATION_REPORT: manifest.validation_report,
        Tag.PROTOCOL: protocol,
        Tag.CODE_REVISION: manifest.code_revision,
        Tag.SEED: str(manifest.seed),
        Tag.STUDY: OWN_STUDY if own else OTHER_STUDY,
        Tag.AUTHOR: actor,
    }
