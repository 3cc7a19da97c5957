"""The manifest that seals a model package: what it is, what made it, and the hash of every file in it."""

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from contracts.files import file_sha256, write_text_whole
from contracts.protocol import ProtocolFingerprint

__all__ = ["MANIFEST", "IndexInfo", "ModelManifest", "read_manifest", "seal", "verify"]

MANIFEST = "manifest.json"


class IndexInfo(BaseModel):
    """How candidates are retrieved from the item table, and what that costs in recall."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["exact", "hnsw"]
    recall: float
    """Share of the exact top-k that the index returns; 1 for an exact one. Of a scorer with candidates, the share of
    what it ranks best of all items that is among them."""


class ModelManifest(BaseModel):
    """Facts about one model package."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    format: Literal[1] = 1
    model: str
    variant: str
    surface: str
    shape: Literal["two-tower", "scorer"]
    config: dict[str, Any]
    seed: int
    code_revision: str
    feature_service: str
    snapshot: str
    validation_report: str
    embedding_specs: dict[str, EmbeddingSpec]
    widths: dict[str, int] = {}
    """Modality of the items → number of components; those of the specs where nothing is said."""
    contexts: dict[str, int] = {}
    """Name of what a request brings → number of its components."""
    vocabularies: dict[str, str]
    """SHA-256 of the ``users`` and ``items`` vocabularies."""
    protocol: ProtocolFingerprint
    metrics: dict[str, float]
    index: IndexInfo
    candidates: int = Field(default=0, ge=0)
    """How many items a scorer ranks for a request; 0 where it ranks all, and of two-tower models."""
    library_versions: dict[str, str]
    created_at: AwareDatetime
    files: dict[str, str] = {}
    """Relative path → SHA-256, of everything but the manifest."""

    @property
    def package_sha256(self) -> str:
        """One hash for the whole package: over the manifest, which holds the hash of every file."""
        # Packages sealed before these fields keep the hash they were registered with.
        later = {name for name in ("widths", "contexts", "candidates") if not getattr(self, name)}
        return hashlib.sha256(self.model_dump_json(exclude=later).encode()).hexdigest()


def _hashes(directory: Path) -> dict[str, str]:
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != MANIFEST)
    return {str(p.relative_to(directory)): file_sha256(p) for p in files}


def seal(directory: Path, manifest: ModelManifest) -> ModelManifest:
    """Hash every file of the package and write the manifest beside them.

    Args:
        directory: The package, complete but for its manifest.
        manifest: The facts; ``files`` is filled in here.
    """
    sealed = manifest.model_copy(update={"files": _hashes(directory)})
    write_text_whole(directory / MANIFEST, sealed.model_dump_json(indent=2))
    return sealed


def read_manifest(directory: Path) -> ModelManifest:
    """Read a package's manifest without checking the files.

    Raises:
        NotFound: There is none.
        BadInput: It is not a manifest of a format this code knows.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise NotFound(
            path,
            found="no manifest",
            expected="a model package written by `backbeat train`",
            next_step="train the version again, or restore its artifacts",
        )
    try:
        return ModelManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise BadInput(
            path,
            found=f"{'.'.join(map(str, first['loc'])) or 'the document'}: {first['msg']}",
            expected="a manifest of format 1",
            next_step="train the version again, or restore its artifacts",
        ) from None


def verify(directory: Path) -> ModelManifest:
    """Read the manifest and compare the hash of every file with it.

    Raises:
        BadInput: A file is missing, surplus or altered; the message names it.
    """
    manifest = read_manifest(directory)
    present = _hashes(directory)
    for name in sorted(manifest.files.keys() | present.keys()):
        expected, found = manifest.files.get(name), present.get(name)
        if found != expected:
            raise BadInput(
                directory / name,
                found=f"SHA-256 {found[:12]}…" if found else "no file",
                expected=f"SHA-256 {expected[:12]}… as sealed" if expected else "no such file in the package",
                next_step="train the version again, or restore its artifacts; do not promote it",
            )
    return manifest
