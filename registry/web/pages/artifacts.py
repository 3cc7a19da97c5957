"""Files of a version's run that lie on this machine: its package's manifest, its figures and their numbers."""

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlparse

from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.addresses import mlflow_artifact_url
from contracts.errors import BadInput, NotFound, unknown_name
from contracts.manifest import ModelManifest, read_manifest
from contracts.surfaces import Tag
from registry.catalogue.catalogue import CataloguedVersion
from registry.web.site import Visit

__all__ = ["LineChart", "PackageFacts", "RunFiles", "package_facts"]

_FIGURES: Final = "figures"
_MOST_JSON: Final = 4_000_000


class PackageFacts(BaseModel):
    """What a version's package says of itself."""

    model_config = ConfigDict(frozen=True)

    fault: str | None
    """Why its manifest cannot be read; then the rest is empty."""
    sha256: str = ""
    """As it was registered."""
    unaltered: bool | None = None
    """Whether the manifest still has that hash; the gate `package` looks at every file."""
    shape: str = ""
    seed: int | None = None
    code_revision: str = ""
    feature_service: str = ""
    snapshot: str = ""
    validation_report: str = ""
    protocol: dict[str, Any] = {}
    index: str = ""
    index_recall: float | None = None
    candidates: int = 0
    """How many items a scorer ranks for a request; 0 where it ranks all."""
    embeddings: dict[str, str] = {}
    """Modality → encoder and revision."""
    libraries: dict[str, str] = {}
    files: int = 0


class LineChart(BaseModel):
    """Figures of a run over a common axis."""

    model_config = ConfigDict(frozen=True)

    title: str
    about: str
    x: str
    y: str
    at: list[float]
    lines: dict[str, list[float | None]]
    """Name → a value at each place; None where there is none."""


class RunFiles:
    """The artifacts of the run behind a version.

    Args:
        here: Names the home, outside whose artifacts nothing is read.
        version: Whose.
    """

    def __init__(self, here: Visit, version: CataloguedVersion) -> None:
        self._version = version
        address = urlparse(version.source)
        cached = here.home.cache / "packages" / version.tags.get(Tag.PACKAGE_SHA256, version.run_id)
        self.package: Path | None = None
        """Directory of the package; None where it is not on this machine."""
        if address.scheme in ("", "file"):
            self.package = _within(Path(unquote(address.path)), _roots(here))
        elif cached.is_dir():
            self.package = cached / Path(address.path).name
        self._directory = None if self.package is None else self.package.parent / _FIGURES

    def figures(self) -> dict[str, Path]:
        """Name → file of each picture."""
        if self._directory is None or not self._directory.is_dir():
            return {}
        root = self._directory.resolve()
        found = sorted(self._directory.glob("*.png"))
        return {path.stem: path for path in found if path.is_file() and path.resolve().is_relative_to(root)}

    def figure(self, name: str) -> Path:
        """The file of one picture.

        Raises:
            NotFound: The version has no such picture.
        """
        found = self.figures()
        if name not in found:
            what = f"figure of {self._version.surface} version {self._version.version}"
            raise unknown_name(what, name, found, next_step="open the version's page")
        return found[name]

    def charts(self) -> list[LineChart]:
        """What can be drawn of the run's numbers: how it learned, and recall by length of the list."""
        learned, found = self.numbers("curves") or {}, self.numbers("recall_at_n") or {}
        drafts = [
            ("Validation by epoch", "Metrics of the held-out part", "epoch", "", learned, "epoch", "validation"),
            ("Losses by epoch", "Terms of the loss", "epoch", "loss", learned, "epoch", "losses"),
            ("Recall by length of the list", "Held-out events among the first N", "N", "recall", found, "n", "recall"),
        ]
        charts = [_chart(*draft) for draft in drafts]
        return [chart for chart in charts if chart is not None]

    def numbers(self, name: str) -> dict[str, Any] | None:
        """The numbers behind a picture; None where there are none that can be read."""
        if self._directory is None:
            return None
        path = self._directory / f"{name}.json"
        try:
            if path.is_symlink() or path.stat().st_size > _MOST_JSON:
                return None
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) else None


def _chart(title: str, about: str, x: str, y: str, numbers: dict[str, Any], at: str, lines: str) -> LineChart | None:
    try:
        chart = LineChart(title=title, about=about, x=x, y=y, at=numbers.get(at), lines=numbers.get(lines))
    except ValidationError:  # not as training writes it
        return None
    alike = {name: values for name, values in chart.lines.items() if len(values) == len(chart.at)}
    return chart.model_copy(update={"lines": alike}) if alike else None


def _roots(here: Visit) -> list[Path]:
    artifacts = urlparse(mlflow_artifact_url(here.settings, here.home))
    roots = [here.home.artifacts]
    if artifacts.scheme in ("", "file"):
        roots.append(Path(unquote(artifacts.path)))
    return [root.resolve() for root in roots]


def _within(path: Path, roots: list[Path]) -> Path | None:
    # Whoever may write to MLflow names this path; it must not lead a reader out of the artifacts.
    return path if any(path.resolve().is_relative_to(root) for root in roots) else None


def package_facts(files: RunFiles, version: CataloguedVersion) -> PackageFacts:
    """Read the manifest of a version's package; no other file of it is looked at."""
    registered = version.tags.get(Tag.PACKAGE_SHA256, "")
    if files.package is None:
        return PackageFacts(fault=f"the package is not on this machine: {version.source}", sha256=registered)
    try:
        manifest = read_manifest(files.package)
    except (NotFound, BadInput) as error:
        return PackageFacts(fault=str(error), sha256=registered)
    return _facts(manifest, registered)


def _facts(manifest: ModelManifest, registered: str) -> PackageFacts:
    return PackageFacts(
        fault=None,
        sha256=registered,
        unaltered=manifest.package_sha256 == registered,
        shape=manifest.shape,
        seed=manifest.seed,
        code_revision=manifest.code_revision,
        feature_service=manifest.feature_service,
        snapshot=manifest.snapshot,
        validation_report=manifest.validation_report,
        protocol=manifest.protocol.model_dump(mode="json"),
        index=manifest.index.kind,
        index_recall=manifest.index.recall,
        candidates=manifest.candidates,
        embeddings={name: f"{spec.encoder} {spec.revision}" for name, spec in sorted(manifest.embedding_specs.items())},
        libraries=manifest.library_versions,
        files=len(manifest.files),
    )
