"""Gathering what the gates look at."""

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from contracts.database import Database
from contracts.errors import BadInput, NotFound
from contracts.manifest import verify
from contracts.process import fault_of, run_module
from contracts.reports import latest_report
from contracts.settings import Settings, environment_of_child
from contracts.surfaces import PRIMARY_METRICS, Tag
from registry.gates import Evidence, PackageFacts, Rival
from registry.store import ModelStore, ModelVersion

__all__ = [
    "MeasureOn",
    "Measurement",
    "Remeasure",
    "ReplayFault",
    "gather",
    "remeasure_in_clean_process",
    "replay_in_clean_process",
]


@dataclass(frozen=True)
class Measurement:
    """How a package did on some data."""

    protocol: str
    """Digest of the protocol."""
    metrics: Mapping[str, float]


ReplayFault = Callable[[Path], str | None]
"""Says what is wrong with a package that is loaded and asked its golden requests; None where all is well."""

MeasureOn = Callable[[Path, str], Measurement | str]
"""Measures a package on the snapshot of an id; a text says why it could not."""

Remeasure = Callable[[Settings, Path, str], Measurement | str]
"""The same, in the home of the settings."""

_PATIENCE_S = 300
_PATIENCE_OF_MEASURING_S = 3600


def replay_in_clean_process(package: Path) -> str | None:
    """Load a package and replay its golden requests where nothing else has been loaded.

    Returns:
        The fault, or None.
    """
    try:
        done = run_module("training.check", str(package), patience=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return f"the package did not load and answer within {_PATIENCE_S} seconds"
    return fault_of(done)


def remeasure_in_clean_process(settings: Settings, package: Path, snapshot: str) -> Measurement | str:
    """Load a package where nothing else has been loaded, and measure it as a training on the snapshot would be.

    Args:
        settings: Name the home that holds the snapshot, and the device.
        package: The package's directory.
        snapshot: Id of the data.

    Returns:
        The measurement, or the fault.
    """
    environment = environment_of_child(settings)
    patience = _PATIENCE_OF_MEASURING_S
    try:
        done = run_module("training.remeasure", str(package), snapshot, patience=patience, environment=environment)
    except subprocess.TimeoutExpired:
        return f"the package was not measured within {patience} seconds"
    if (fault := fault_of(done)) is not None:
        return fault
    document = json.loads(done.stdout)
    return Measurement(document["protocol"], document["metrics"])


def gather(
    store: ModelStore, database: Database, version: ModelVersion, replay: ReplayFault, measure: MeasureOn | None
) -> Evidence:
    """Everything the gates look at for one version.

    Args:
        store: The model registry.
        database: The platform's tables, for the validation report.
        version: The version that would move.
        replay: How to prove that a package works.
        measure: How to measure a champion that another protocol judged; None where no gate asks for the champion.
    """
    return Evidence(
        surface=version.surface,
        version=version.version,
        model=version.model,
        package=_package_facts(store, version, replay),
        snapshot=version.snapshot,
        report=latest_report(database, version.snapshot),
        metric=version.primary_metric,
        protocol=version.protocol,
        champion=_rival(store, version, measure) if measure is not None else None,
    )


def _package_facts(store: ModelStore, version: ModelVersion, replay: ReplayFault) -> PackageFacts:
    try:
        package = store.package_path(version)
        manifest = verify(package)
    except NotFound as error:
        return PackageFacts(present=False, files=0, fault=str(error))
    except BadInput as error:
        return PackageFacts(present=True, files=0, fault=str(error))
    registered = version.tags.get(Tag.PACKAGE_SHA256)
    if manifest.package_sha256 != registered:
        found, expected = manifest.package_sha256[:12], (registered or "none")[:12]
        fault = f"the manifest at {package} has hash {found}…, the version was registered with {expected}"
        return PackageFacts(present=True, files=len(manifest.files), fault=fault)
    return PackageFacts(present=True, files=len(manifest.files), fault=replay(package))


def _rival(store: ModelStore, version: ModelVersion, measure: MeasureOn) -> Rival | None:
    """The champion, with its figure by the version's protocol."""
    champion = store.by_alias(version.surface, "champion")
    if champion is None:
        return None
    rival = Rival(champion.version, champion.model, champion.primary_metric, champion.protocol)
    if rival.protocol == version.protocol:
        return rival
    rival = replace(rival, metric=None, measured_on=version.snapshot)
    try:
        measured = measure(store.package_path(champion), version.snapshot)
    except NotFound as error:
        return replace(rival, fault=str(error))
    if isinstance(measured, str):
        return replace(rival, fault=measured)
    return replace(rival, metric=measured.metrics.get(PRIMARY_METRICS[version.surface]), protocol=measured.protocol)
