"""Say which versions hold ``champion`` and ``shadow``: ``python -m registry.champions``.

For rooms that may not load the registry. The home is that of the environment's settings. Writes one JSON list to
standard output, an object per holder: ``surface``, ``alias``, ``version``, ``model`` and ``package`` (its directory,
null where that is gone). The list is empty where nothing was ever registered, and then nothing heavy is loaded. Exit
code 0; otherwise the fault's own code, with its paragraph on standard error.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.errors import NotFound
from contracts.process import answer_as_module
from contracts.surfaces import SURFACES

if TYPE_CHECKING:
    from contracts.home import Home
    from contracts.settings import Settings
    from registry.store import ModelStore, ModelVersion

__all__ = ["champions", "main"]

_IN_USE = ("champion", "shadow")


def champions(settings: "Settings", home: "Home") -> list[dict[str, Any]]:
    """The holders of both aliases, surface by surface.

    Raises:
        ServiceUnavailable: MLflow's database does not answer.
    """
    from registry.store import ModelStore

    store = ModelStore(settings, home)
    return [
        {
            "surface": surface,
            "alias": alias,
            "version": version.version,
            "model": version.model,
            "package": None if (package := _package(store, version)) is None else str(package),
        }
        for surface in SURFACES
        for version in store.versions(surface)
        for alias in version.aliases
        if alias in _IN_USE
    ]


def _package(store: "ModelStore", version: "ModelVersion") -> Path | None:
    try:
        return store.package_path(version)
    except NotFound:
        return None


def main(arguments: Sequence[str]) -> int:
    """Print the holders; returns the exit code."""
    return answer_as_module(
        "python -m registry.champions", arguments, lambda settings, home, _: champions(settings, home)
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
