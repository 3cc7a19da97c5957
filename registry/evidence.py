"""Gathering what the gates look at."""

import json
import math
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import select

from contracts.clock import utc_now
from contracts.console import note
from contracts.database import Database
from contracts.errors import BadInput, NotFound
from contracts.manifest import ModelManifest, verify
from contracts.platform import ShadowReportRow
from contracts.process import fault_of, run_module
from contracts.reports import latest_report
from contracts.settings import Settings, environment_of_child
from contracts.surfaces import PRIMARY_METRICS, Tag
from contracts.user_figures import USER_FIGURES, UserFigures
from registry.facts import Evidence, PackageFacts, Rival, ShadowFacts
from registry.live_verdict import newest_verdict
from registry.store import ModelStore, ModelVersion
from registry.thresholds import SurfacePolicy

__all__ = [
    "Measurement",
    "Remeasure",
    "ReplayFault",
    "Tell",
    "gather",
    "remeasure_in_clean_process",
    "replay_in_clean_process",
    "users_of_package",
]


@dataclass(frozen=True)
class Measurement:
    """How a package did on some data."""

    protocol: str
    """Digest of the protocol."""
    metrics: Mapping[str, float]
    users: UserFigures | None = None
    """The same of each user."""


ReplayFault = Callable[[Path], str | None]
"""Says what is wrong with a package that is loaded and asked its golden requests; None where all is well."""

Remeasure = Callable[[Settings, Path, str], Measurement | str]
"""Measures a package on the snapshot of an id, in the home of the settings; a text says why it could not."""

Tell = Callable[[str], None]
"""Takes a sentence on what is being done."""

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
    with TemporaryDirectory() as scratch:
        figures = Path(scratch) / USER_FIGURES
        arguments = (str(package), snapshot, str(figures))
        try:
            done = run_module("training.remeasure", *arguments, patience=patience, environment=environment)
        except subprocess.TimeoutExpired:
            return f"the package was not measured within {patience} seconds"
        if (fault := fault_of(done)) is not None:
            return fault
        document = json.loads(done.stdout)
        return Measurement(document["protocol"], document["metrics"], UserFigures.load(figures))


def gather(
    settings: Settings,
    store: ModelStore,
    database: Database,
    version: ModelVersion,
    policy: SurfacePolicy,
    target: str,
    *,
    replay: ReplayFault = replay_in_clean_process,
    remeasure: Remeasure = remeasure_in_clean_process,
    author: str | None = None,
    approvers: Iterable[str] = (),
    tell: Tell = note,
) -> Evidence:
    """Everything that the gates of a move look at for one version.

    Args:
        settings: Name the home and the device.
        store: The model registry.
        database: The platform's tables, for reports and comparisons.
        version: The version that would move.
        policy: Names the gates and the metrics they are about.
        target: State that the version would take, or ``rollback``.
        replay: How to prove that a package works.
        remeasure: How to measure a champion whose own figures will not do.
        author: Who asked for the move.
        approvers: Who approved it.
        tell: Takes what is being done: proving and measuring take from seconds to many minutes.
    """
    gates = policy.move(target).gates
    tell(f"checking the package of {version.surface} version {version.version}: hashes, then golden requests")
    package, users = _package_facts(store, version, replay)
    champion = store.by_alias(version.surface, "champion")
    rival = None
    if champion is not None:
        rival = Rival(champion.version, champion.model, champion.metrics, champion.protocol)
        if "offline-quality" in gates or "guardrails" in gates:
            rival = _measured(settings, store, version, champion, policy, remeasure, tell)
    return Evidence(
        surface=version.surface,
        version=version.version,
        model=version.model,
        at=utc_now(),
        package=package,
        snapshot=version.snapshot,
        report=latest_report(database, version.snapshot),
        metrics=version.metrics,
        users=users,
        protocol=version.protocol,
        champion=rival,
        shadow=_shadow_facts(database, version, rival) if "shadow" in gates else None,
        author=author,
        approvers=tuple(approvers),
    )


def users_of_package(package: Path) -> UserFigures | None:
    """Figures of each user as they lie in a package; None where it has none that can be read."""
    try:
        return UserFigures.load(package / USER_FIGURES) if (package / USER_FIGURES).is_file() else None
    except BadInput:
        return None


def _package_facts(
    store: ModelStore, version: ModelVersion, replay: ReplayFault
) -> tuple[PackageFacts, UserFigures | None]:
    try:
        package = store.package_path(version)
        manifest = verify(package)
    except NotFound as error:
        return PackageFacts(present=False, files=0, fault=str(error)), None
    except BadInput as error:
        return PackageFacts(present=True, files=0, fault=str(error)), None
    fault = _unlike_registered(package, manifest, version) or replay(package)
    facts = PackageFacts(True, len(manifest.files), fault, manifest.shape, manifest.candidates)
    return facts, users_of_package(package)


def _unlike_registered(package: Path, manifest: ModelManifest, version: ModelVersion) -> str | None:
    registered = version.tags.get(Tag.PACKAGE_SHA256)
    if manifest.package_sha256 != registered:
        found, expected = manifest.package_sha256[:12], (registered or "none")[:12]
        return f"the manifest at {package} has hash {found}…, the version was registered with {expected}"
    for name, sealed in sorted(manifest.metrics.items()):
        said = version.metrics.get(name)
        if said is not None and math.isfinite(sealed) and not math.isclose(said, sealed, rel_tol=1e-9, abs_tol=1e-12):
            return f"{name} is {said:g} in MLflow and {sealed:g} in the sealed package: one of them was altered"
    return None


def _measured(
    settings: Settings,
    store: ModelStore,
    version: ModelVersion,
    champion: ModelVersion,
    policy: SurfacePolicy,
    remeasure: Remeasure,
    tell: Tell,
) -> Rival:
    """The champion with figures by the version's protocol: its own, or those of measuring it on the version's data."""
    rival = Rival(champion.version, champion.model, champion.metrics, champion.protocol)
    try:
        package = store.package_path(champion)
    except NotFound as error:
        return Rival(champion.version, champion.model, {}, "", measured_on=version.snapshot, fault=str(error))
    if champion.protocol == version.protocol:
        users = users_of_package(package)
        wanted = {PRIMARY_METRICS[version.surface], *_guarded(policy, version)} & version.metrics.keys()
        if users is not None and wanted <= champion.metrics.keys():
            return Rival(rival.version, rival.model, rival.metrics, rival.protocol, users)
    tell(f"measuring champion {champion.version} ({champion.model}) on snapshot {version.snapshot}")
    found = remeasure(settings, package, version.snapshot)
    if isinstance(found, str):
        return Rival(rival.version, rival.model, {}, "", measured_on=version.snapshot, fault=found)
    return Rival(rival.version, rival.model, found.metrics, found.protocol, found.users, measured_on=version.snapshot)


def _guarded(policy: SurfacePolicy, version: ModelVersion) -> set[str]:
    """Metrics of the version that guardrails compare with the champion's."""
    patterns = [each.metric for each in policy.guardrails.values()]
    return {name for name in version.metrics if any(fnmatchcase(name, pattern) for pattern in patterns)}


def _shadow_facts(database: Database, version: ModelVersion, champion: Rival | None) -> ShadowFacts | None:
    """The newest comparison with the present champion, or else with any."""
    rows = select(ShadowReportRow).filter_by(surface=version.surface, shadow=version.version)
    with database.session() as session:
        found = session.scalars(rows.order_by(ShadowReportRow.at.desc())).all()
        if not found:
            return None
        row = next((row for row in found if champion is not None and row.champion == champion.version), found[0])
        body, k = row.body, row.body.get("k")
        # Lists that both filled with what is popular agree without merit.
        overlap = body.get(f"ranked_overlap@{k}")
        told = newest_verdict(session, version.surface, row.champion, version.version, row.at, body)
        return ShadowFacts(
            at=row.at,
            champion=row.champion,
            requests=_number(body.get("requests")),
            errors=_number(body.get("errors")),
            p99_ms=_number((body.get("shadow_latency") or {}).get("p99_ms")),
            overlap=_number(body.get(f"overlap@{k}") if overlap is None else overlap),
            live_verdict=told.verdict,
            live_fault=told.fault,
            live_source=told.source,
        )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
