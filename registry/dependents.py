"""The other way round: which versions and indexes depend on an encoder, a snapshot or a validation report."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from contracts.errors import BadInput
from contracts.home import Home
from contracts.manifest import ModelManifest
from contracts.settings import Settings
from contracts.surfaces import SURFACES, Tag
from registry.opening import open_registry
from registry.store import ModelStore, ModelVersion

__all__ = ["Dependent", "Kind", "dependents_of"]

Kind = Literal["encoder", "snapshot", "report"]


@dataclass(frozen=True)
class Dependent:
    """One version that would not be what it is without the thing that was asked about."""

    surface: str
    version: str
    model: str
    state: str
    index: str | None
    """Kind of the index that holds its items; None where its package is gone or damaged."""
    through: tuple[str, ...]
    """By what it depends: the tag, or the names of the vectors."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def dependents_of(settings: Settings, home: Home, kind: Kind, name: str) -> list[Dependent]:
    """All versions that depend on something, surface by surface, newest first.

    Args:
        settings: Name MLflow.
        home: Holds it in the local profile.
        kind: What is asked about.
        name: Id of the snapshot or report; of an encoder its name, with ``@REVISION`` where only one revision is meant,
            of which the first characters are enough.

    Raises:
        BadInput: The name is empty.
        ServiceUnavailable: MLflow does not answer.
    """
    encoder, _, revision = name.partition("@")
    if not encoder:
        raise BadInput(
            f"name of the {kind}",
            found=repr(name),
            expected="a name" + (", or NAME@REVISION" if kind == "encoder" else ""),
            next_step="`backbeat models show VERSION` names what a version was made of",
        )
    with open_registry(settings, home) as registry:
        store = registry.store
        if kind == "encoder":
            return list(_by_encoder(store, encoder, revision))
        tag = Tag.SNAPSHOT if kind == "snapshot" else Tag.VALIDATION_REPORT
        return [
            _dependent(version, store.manifest(version), (tag.removeprefix("backbeat."),))
            for version in _versions(store)
            if version.tags.get(tag) == name
        ]


def _by_encoder(store: ModelStore, encoder: str, revision: str) -> Iterator[Dependent]:
    for version in _versions(store):
        manifest = store.manifest(version)
        specs = manifest.embedding_specs.values() if manifest is not None else ()
        through = [s.name for s in specs if s.encoder == encoder and s.revision.startswith(revision)]
        if through:
            yield _dependent(version, manifest, tuple(through))


def _versions(store: ModelStore) -> Iterator[ModelVersion]:
    for surface in SURFACES:
        yield from store.versions(surface)


def _dependent(version: ModelVersion, manifest: ModelManifest | None, through: tuple[str, ...]) -> Dependent:
    index = None if manifest is None else manifest.index.kind
    return Dependent(version.surface, version.version, version.model, version.state, index, through)
