"""Builds the Bento: the code, the champions, the exact versions of what they need, and how they are served.

Nothing is fetched. The versions are those that are installed here, of everything that an installation with Redis and
Postgres needs; whoever makes a container of the Bento has them installed there.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from contracts.files import file_sha256
from contracts.home import Home
from contracts.process import answer_as_module
from contracts.settings import Settings
from registry.store import ModelStore
from serving.packed import PACKED, PACKED_SETTINGS
from serving.surface import no_champion

__all__ = ["build_bento", "exact_requirements", "stage"]

_ROOMS = ("backbeat", "contracts", "feature_repo", "registry", "serving", "training", "validation")
_EXTRAS = frozenset({"redis", "postgres"})
_TAG_DIGITS = 16
_PYTHON = "3.11"


def exact_requirements() -> list[str]:
    """``name==version`` of all that Backbeat needs to serve, with the versions that are installed, sorted."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, frozenset[str]]] = [("backbeat", _EXTRAS)]
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in done:
            continue
        done.add((name, extras))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue  # wanted on other machines only
        # A local version such as 2.13.0+cpu is of this machine's build.
        found[name] = installed.version.partition("+")[0]
        for line in installed.requires or ():
            wanted = Requirement(line)
            environments = [{"extra": extra} for extra in extras or ("",)]
            if wanted.marker is None or any(wanted.marker.evaluate(each) for each in environments):
                waiting.append((canonicalize_name(wanted.name), frozenset(wanted.extras)))
    found.pop("backbeat")
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def stage(settings: Settings, home: Home, into: Path) -> dict[str, str]:
    """Lay out what goes into the Bento: the rooms' code, and the champions with how they are served.

    Args:
        settings: Which registry, which surfaces, and how it is to be served.
        home: Holds the registry of the local profile, and cached packages.
        into: An empty directory.

    Returns:
        Surface → version of its champion.

    Raises:
        NotFound: No surface has a champion, or its package is gone.
        ServiceUnavailable: The registry does not answer.
    """
    code = Path(__file__).resolve().parents[1]
    for room in _ROOMS:
        shutil.copytree(code / room, into / room, ignore=shutil.ignore_patterns("__pycache__"))
    store = ModelStore(settings, home)
    champions: dict[str, str] = {}
    for surface in settings.surfaces:
        if (number := store.champion(surface)) is not None:
            package = store.package_path(store.get(surface, number))
            shutil.copytree(package, into / PACKED / surface / number)
            champions[surface] = number
    if not champions:
        raise no_champion(*settings.surfaces)
    said = settings.model_dump(mode="json", include=set(PACKED_SETTINGS), exclude_none=True)
    document = {"champions": champions, "settings": said}
    (into / PACKED / "packed.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return champions


def build_bento(settings: Settings, home: Home) -> dict[str, Any]:
    """Build it in the Bento store that ``BENTOML_HOME`` names; the same content has the same tag and is built once.

    Returns:
        ``tag``, ``path``, ``champions`` by surface, and the number of ``requirements``.

    Raises:
        NotFound: No surface has a champion, or its package is gone.
        ServiceUnavailable: The registry does not answer.
    """
    import bentoml
    from bentoml.exceptions import NotFound as NoSuchBento

    requirements = exact_requirements()
    with TemporaryDirectory() as scratch:
        context = Path(scratch)
        champions = stage(settings, home, context)
        tag = f"recommender:{_digest(context, requirements)}"
        try:
            bento = bentoml.get(tag)
        except NoSuchBento:
            bento = bentoml.build(
                "serving.service:RecommenderService",
                version=tag.partition(":")[2],
                build_ctx=str(context),
                include=["*"],
                python={"packages": requirements, "lock_packages": False},
                docker={"python_version": _PYTHON},
                labels={f"champion.{surface}": number for surface, number in champions.items()},
                description="Recommender service of Backbeat, with its champions.",
            )
    return {"tag": tag, "path": bento.path, "champions": champions, "requirements": len(requirements)}


def _digest(context: Path, requirements: Sequence[str]) -> str:
    hasher = hashlib.sha256("\n".join(requirements).encode())
    for path in sorted(context.rglob("*")):
        if path.is_file():
            hasher.update(f"\n{path.relative_to(context)} {file_sha256(path)}".encode())
    return hasher.hexdigest()[:_TAG_DIGITS]


def _work(settings: Settings, home: Home, _: Sequence[str]) -> Mapping[str, Any]:
    return build_bento(settings, home)


if __name__ == "__main__":
    sys.exit(answer_as_module("python -m serving.packaging", sys.argv[1:], _work))
