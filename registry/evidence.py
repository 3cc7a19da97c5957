"""Gathering what the gates look at."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from contracts.database import Database
from contracts.errors import BadInput, NotFound
from contracts.manifest import verify
from contracts.reports import latest_report
from contracts.surfaces import Tag
from registry.gates import Evidence, PackageFacts, Rival
from registry.metric import is_share
from registry.store import ModelStore, ModelVersion

__all__ = ["ReplayFault", "gather", "replay_in_clean_process"]

ReplayFault = Callable[[Path], str | None]
"""Says what is wrong with a package that is loaded and asked its golden requests; None where all is well."""

_PATIENCE_S = 300


def replay_in_clean_process(package: Path) -> str | None:
    """Load a package and replay its golden requests where nothing else has been loaded.

    Returns:
        The fault, or None.
    """
    # Without -P a folder named `training` in the working directory would be run instead of ours.
    command = [sys.executable, "-P", "-m", "training.check", str(package)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        return f"the package did not load and answer within {_PATIENCE_S} seconds"
    if done.returncode == 0:
        return None
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode} without a word"]
    return last[0].removeprefix("error: ")


def gather(store: ModelStore, database: Database, version: ModelVersion, replay: ReplayFault) -> Evidence:
    """Everything the gates look at for one version.

    Args:
        store: The model registry.
        database: The platform's tables, for the validation report.
        version: The version that would move.
        replay: How to prove that a package works.
    """
    return Evidence(
        version=version.version,
        model=version.model,
        package=_package_facts(store, version, replay),
        snapshot=version.snapshot,
        report=latest_report(database, version.snapshot),
        metric=version.primary_metric,
        protocol=version.protocol,
        champion=_rival(store.versions(version.surface), version),
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


def _rival(versions: list[ModelVersion], version: ModelVersion) -> Rival | None:
    """The champion, or, where that was measured by another protocol, its model's best training by this one."""
    champion = next((v for v in versions if v.state == "champion"), None)
    if champion is None:
        return None
    if champion.protocol != version.protocol:
        same_model = [
            v
            for v in versions
            if (v.model, v.variant, v.protocol) == (champion.model, champion.variant, version.protocol)
            and is_share(v.primary_metric)
        ]
        if same_model:
            best = max(same_model, key=lambda v: v.primary_metric or 0.0)
            return _as_rival(best, stands_in_for=champion.version)
    return _as_rival(champion)


def _as_rival(version: ModelVersion, stands_in_for: str | None = None) -> Rival:
    return Rival(version.version, version.model, version.primary_metric, version.protocol, stands_in_for)
