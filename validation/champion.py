"""Who is champion, as far as the judgement of data needs to know.

This room may not load the registry; a process of the registry's own is asked.
"""

import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, ServiceUnavailable
from contracts.home import Home
from contracts.manifest import read_manifest
from contracts.process import fault_of, run_module
from contracts.settings import Settings, environment_of_child
from feature_repo.offline import read_snapshot

__all__ = ["Holder", "expected_specs", "holders", "specs_digest"]

_PATIENCE_S = 300


@dataclass(frozen=True)
class Holder:
    """A registered version that is in use."""

    surface: str
    alias: str
    """``champion`` or ``shadow``."""
    version: str
    model: str
    package: Path | None
    """Its directory; None where that is gone."""

    @property
    def name(self) -> str:
        """How people call it."""
        return f"{self.alias} {self.version} of {self.surface}"


def holders(settings: Settings, home: Home) -> list[Holder]:
    """Champions and shadows of all surfaces; none where there is no registry yet, and then no process is started.

    Raises:
        ServiceUnavailable: The registry cannot be read.
    """
    if settings.profile == "local":
        if not home.mlflow_database.exists():
            return []
    elif settings.mlflow_url is None:
        return []
    try:
        done = run_module("registry.champions", patience=_PATIENCE_S, environment=environment_of_child(settings))
        fault = fault_of(done)
    except subprocess.TimeoutExpired:
        fault = f"no answer within {_PATIENCE_S} seconds"
    if fault is not None:
        raise ServiceUnavailable(
            "model registry",
            found=fault,
            expected="the versions in use, whose embedding specs the data must have",
            next_step="run `backbeat models list` and mend what it names",
        )
    return [
        Holder(
            surface=found["surface"],
            alias=found["alias"],
            version=found["version"],
            model=found["model"],
            package=None if found["package"] is None else Path(found["package"]),
        )
        for found in json.loads(done.stdout)
    ]


def expected_specs(settings: Settings, home: Home, dataset: str) -> dict[str, dict[str, EmbeddingSpec]]:
    """The embedding specs that the versions in use were trained on.

    Args:
        settings: Name the home and the registry.
        home: Holds the snapshots they were trained on.
        dataset: Name of the data set in question; what was trained on another expects nothing of it.

    Returns:
        Who expects (``champion 3 of video-feed``) → modality → spec; versions that read no embeddings, and those
        whose package is gone or damaged or whose snapshot is gone, are left out.

    Raises:
        ServiceUnavailable: The registry cannot be read.
    """
    expected: dict[str, dict[str, EmbeddingSpec]] = {}
    for holder in holders(settings, home):
        if holder.package is None:
            continue
        try:
            manifest = read_manifest(holder.package)
            trained_on = read_snapshot(home, manifest.snapshot).dataset
        except BadInput:  # damaged or gone: the gates of the registry name it
            continue
        if manifest.embedding_specs and trained_on == dataset:
            expected[holder.name] = manifest.embedding_specs
    return expected


def specs_digest(expected: Mapping[str, Mapping[str, EmbeddingSpec]]) -> str:
    """Twelve hexadecimal digits that name who expects which specs."""
    named = {who: {modality: spec.digest for modality, spec in specs.items()} for who, specs in expected.items()}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:12]
