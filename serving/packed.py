"""What a packed service carries beside its code: champions, and the settings that it was packed with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from contracts.errors import ServiceUnavailable
from contracts.home import Home
from contracts.manifest import read_manifest
from contracts.settings import Settings, load_settings, settings_in_environment
from registry.store import ModelStore, ModelVersion

__all__ = ["PACKED", "PACKED_SETTINGS", "Packed", "PackedStore", "model_store", "served_settings"]

PACKED = "packed"
"""Directory beside the code that holds the packages of champions, ``<surface>/<version>``, and ``packed.json``."""

PACKED_SETTINGS = (
    "device",
    "index",
    "index_dtype",
    "index_most_exact",
    "serve_batch_longest_ms",
    "serve_batch_most",
    "serve_batch_wait_ms",
    "serve_features_ms",
    "serve_follow",
    "serve_gpus",
    "serve_network_ms",
    "serve_surfaces",
    "serve_timeout",
    "serve_workers",
    "threads",
)
"""Settings that say how it is served. Where its stores are it learns where it runs."""


@dataclass(frozen=True)
class Packed:
    """The document ``packed.json``, and where it lies."""

    root: Path
    champions: Mapping[str, str]
    """Surface → version."""
    settings: Mapping[str, Any]

    @classmethod
    def beside_the_code(cls) -> "Packed | None":
        """What this code was packed with; None where it runs from a checkout or an installation."""
        root = Path(__file__).resolve().parents[1] / PACKED
        return cls.read(root) if root.is_dir() else None

    @classmethod
    def read(cls, root: Path) -> "Packed":
        """What a directory holds."""
        document = json.loads((root / "packed.json").read_text(encoding="utf-8"))
        return cls(root, document["champions"], document["settings"])

    def package(self, surface: str) -> Path:
        """The champion of one of its surfaces."""
        return self.root / surface / self.champions[surface]


def served_settings(packed: Packed | None) -> Settings:
    """The environment's settings; where it says nothing, those that the service was packed with.

    Raises:
        NotFound: A ``BACKBEAT_`` variable that no setting has.
        BadInput: A value of the wrong type or outside its range.
    """
    if packed is None:
        return load_settings()
    said = settings_in_environment()
    return load_settings(**{name: value for name, value in packed.settings.items() if name not in said})


class PackedStore(ModelStore):
    """A registry whose champions at the time of packing are at hand when it does not answer.

    Args:
        settings: Names the MLflow of the production profile.
        home: Holds the one of the local profile.
        packed: The champions.
    """

    def __init__(self, settings: Settings, home: Home, packed: Packed) -> None:
        super().__init__(settings, home)
        self._packed = packed
        self._nowhere = settings.profile == "local" and not home.mlflow_database.exists()

    def champion(self, surface: str) -> str | None:
        """Number of the champion; of the packed one where the registry does not answer."""
        if self._nowhere:
            return self._packed.champions.get(surface)
        try:
            return super().champion(surface)
        except ServiceUnavailable:
            return self._packed.champions.get(surface)

    def get(self, surface: str, selector: str) -> ModelVersion:
        """As of the registry, which is not asked for the packed version."""
        if self._packed.champions.get(surface) != selector:
            return super().get(surface, selector)
        return self._versions[surface]

    @cached_property
    def _versions(self) -> dict[str, ModelVersion]:
        found = {}
        for surface, number in self._packed.champions.items():
            directory = self._packed.package(surface)
            manifest = read_manifest(directory)
            found[surface] = ModelVersion(
                surface=surface,
                version=number,
                model=manifest.model,
                variant=manifest.variant,
                state="champion",
                aliases=("champion",),
                tags={},
                metrics={},
                run_id="",
                created_at=manifest.created_at,
                source=str(directory),
            )
        return found


def model_store(settings: Settings, home: Home) -> ModelStore:
    """The registry, with what this code was packed with where it was."""
    packed = Packed.beside_the_code()
    return ModelStore(settings, home) if packed is None else PackedStore(settings, home, packed)
