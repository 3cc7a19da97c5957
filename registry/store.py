"""Model versions as MLflow holds them: look-up, selection, packages, and who holds which alias."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from contracts.addresses import mlflow_tracking_url
from contracts.current import current_snapshot_id
from contracts.errors import BadInput, NotFound, unknown_name
from contracts.files import directory_written_whole
from contracts.home import Home
from contracts.manifest import MANIFEST, ModelManifest, read_manifest
from contracts.settings import Settings
from contracts.surfaces import ALIASES, OTHER_STUDY, PRIMARY_METRICS, SURFACES, Tag
from registry.lifecycle import DISPLACED_TO, Standing
from registry.metric import is_share
from registry.mlflow_client import open_client

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["SELECTORS", "ModelStore", "ModelVersion"]

SELECTORS = ("best", "runner-up")
"""Names that choose among the versions trained on the current snapshot."""

_PAGE = 500

_NAMED = 50
"""Of so many versions, the newest, is told where one is asked for that is not there."""

_NO_SUCH = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class ModelVersion:
    """One registered version of a surface."""

    surface: str
    version: str
    model: str
    variant: str
    state: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    metrics: dict[str, float]
    """Of the run that made it."""
    run_id: str
    created_at: datetime
    source: str
    """Address of its package."""

    @property
    def snapshot(self) -> str:
        """Data it was trained on."""
        return self.tags.get(Tag.SNAPSHOT, "")

    @property
    def protocol(self) -> str:
        """Digest of the protocol its metrics were measured by."""
        return self.tags.get(Tag.PROTOCOL, "")

    @property
    def primary_metric(self) -> float | None:
        """What versions are selected by; None where it was not measured."""
        return self.metrics.get(PRIMARY_METRICS[self.surface])


class ModelStore:
    """The model registry of a home or of a production MLflow.

    Args:
        settings: Names the MLflow of the production profile.
        home: Holds the one of the local profile.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self._settings = settings
        self._home = home

    @property
    def _is_empty(self) -> bool:
        # Connecting would create MLflow's database, and reading must not write.
        return self._settings.profile == "local" and not self._home.mlflow_database.exists()

    @cached_property
    def _client(self) -> "MlflowClient":
        return open_client(self._settings, self._home)

    def versions(self, surface: str) -> list[ModelVersion]:
        """All versions of a surface, newest first.

        Raises:
            NotFound: There is no surface of that name.
            ServiceUnavailable: MLflow's database does not answer.
        """
        if surface not in SURFACES:
            raise unknown_name("surface", surface, SURFACES, next_step="choose one of these")
        if self._is_empty:
            return []
        holders = _by_version(self.holders(surface))
        found = list(self._pages("search_model_versions", filter_string=f"name='{surface}'", max_results=_PAGE))
        metrics = self._metrics({version.run_id for version in found})
        versions = [_translated(v, holders, metrics.get(v.run_id, {})) for v in found]
        return sorted(versions, key=lambda version: int(version.version), reverse=True)

    def by_alias(self, surface: str, alias: str) -> ModelVersion | None:
        """The version that holds an alias, or None."""
        holders = self.holders(surface)
        return self._one(surface, holders[alias], holders) if alias in holders else None

    def get(self, surface: str, selector: str) -> ModelVersion:
        """One version, by number, alias, ``best`` or ``runner-up``.

        ``best`` has the highest primary metric of the versions that are not retired and were measured by the
        protocol of the newest version on the current snapshot (equal values: the older version), those of a paper's
        study left out. ``runner-up`` follows it, the champion left out.

        Raises:
            NotFound: No version is meant by the selector.
        """
        if selector in SELECTORS:
            return self._ranked(surface, self.versions(surface), selector)
        holders = self.holders(surface)
        number = holders.get(selector, selector)
        if number.isascii() and number.isdigit() and not self._is_empty:
            found = self._one(surface, number, holders)
            if found is not None:
                return found
        versions = self.versions(surface)
        known = [*(v.version for v in versions[:_NAMED]), *holders, *SELECTORS]
        raise unknown_name(
            f"{surface} version", selector, known if versions else [], next_step="run `backbeat models list`"
        )

    def _one(self, surface: str, number: str, holders: Mapping[str, str]) -> ModelVersion | None:
        """One version without a look at the others."""
        from mlflow.exceptions import MlflowException

        try:
            found = self._client.get_model_version(surface, number)
        except MlflowException as error:
            if error.error_code in _NO_SUCH:
                return None
            raise
        metrics = self._metrics({found.run_id}) if found.run_id else {}
        return _translated(found, _by_version(holders), metrics.get(found.run_id, {}))

    def _ranked(self, surface: str, versions: list[ModelVersion], selector: str) -> ModelVersion:
        current = current_snapshot_id(self._home)
        own = [v for v in versions if v.tags.get(Tag.STUDY) != OTHER_STUDY]
        judged = [v for v in own if current in (None, v.snapshot) and is_share(v.primary_metric)]
        rivals = [v for v in judged if v.protocol == judged[0].protocol and v.state != "retired"]
        rivals.sort(key=lambda v: (-(v.primary_metric or 0.0), int(v.version)))
        if selector == "runner-up":
            rivals = [v for v in rivals[1:] if v.state != "champion"]
        if not rivals:
            raise NotFound(
                f"{selector} version of {surface}",
                found=f"{len(judged)} measured versions on the current data",
                expected="one" if selector == "best" else "two, so that one can follow the best",
                next_step="run `backbeat train MODEL`; `backbeat models list` shows what is registered",
            )
        return rivals[0]

    def package_path(self, version: ModelVersion) -> Path:
        """Local directory of a version's package; one that is elsewhere is fetched once and kept in the cache.

        Raises:
            NotFound: The package is gone.
        """
        address = urlparse(version.source)
        if address.scheme in ("", "file"):
            directory = Path(unquote(address.path))
            if directory.is_dir():
                return directory
            raise _package_gone(version, "no such directory")
        cached = self._home.cache / "packages" / version.tags.get(Tag.PACKAGE_SHA256, version.run_id)
        if not cached.exists():
            self._fetch(version, cached, version.source)
        return cached / Path(address.path).name

    def manifest(self, version: ModelVersion) -> ModelManifest | None:
        """What a version's package says of itself, its files unseen; None where it is gone or damaged."""
        try:
            address = urlparse(version.source)
            if address.scheme in ("", "file"):
                return read_manifest(Path(unquote(address.path)))
            kept = self._home.cache / "manifests" / version.tags.get(Tag.PACKAGE_SHA256, version.run_id)
            if not kept.exists():
                self._fetch(version, kept, f"{version.source}/{MANIFEST}")
            return read_manifest(kept)
        except BadInput:
            return None

    def _fetch(self, version: ModelVersion, into: Path, artifact: str) -> None:
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        url = mlflow_tracking_url(self._settings, self._home)
        with directory_written_whole(into) as scratch:
            try:
                download_artifacts(artifact_uri=artifact, dst_path=str(scratch), tracking_uri=url)
            except MlflowException as error:
                raise _package_gone(version, str(error).splitlines()[0]) from error

    def standing(self, surface: str, like: Standing) -> Standing:
        """How things are now, of all that ``like`` would change."""
        holders = self.holders(surface)
        found = {number: self._one(surface, number, holders) for number in like.states}
        return Standing(
            aliases={alias: holders.get(alias) for alias in like.aliases},
            states={number: version.state if version is not None else "gone" for number, version in found.items()},
        )

    def assign(self, surface: str, standing: Standing) -> None:
        """Write aliases and state tags."""
        for alias, version in standing.aliases.items():
            self.point(surface, alias, version)
        for version, state in standing.states.items():
            self.mark(surface, version, state)

    def point(self, surface: str, alias: str, version: str | None) -> None:
        """Give an alias to a version, in one call whoever has it now; None: to nobody."""
        if version is None:
            self._client.delete_registered_model_alias(surface, alias)
        else:
            self._client.set_registered_model_alias(surface, alias, version)

    def mark(self, surface: str, version: str, state: str) -> None:
        """Write the state tag of a version."""
        self._client.set_model_version_tag(surface, version, Tag.STATE, state)

    def holders(self, surface: str) -> dict[str, str]:
        """Alias → version; empty where nothing is registered under the surface.

        Raises:
            NotFound: There is no surface of that name.
            ServiceUnavailable: MLflow's database does not answer.
        """
        if surface not in SURFACES:
            raise unknown_name("surface", surface, SURFACES, next_step="choose one of these")
        if self._is_empty:
            return {}
        from mlflow.exceptions import MlflowException

        try:
            aliases = self._client.get_registered_model(surface).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        return {alias: str(version) for alias, version in sorted(aliases.items())}

    def champion(self, surface: str) -> str | None:
        """Number of the version that answers on a surface; None where no version does. Raises as :meth:`holders`."""
        return self.holders(surface).get("champion")

    def _metrics(self, run_ids: set[str]) -> dict[str, dict[str, float]]:
        """Run id → its metrics, in one query instead of one per run."""
        if not run_ids:
            return {}
        experiments = [e.experiment_id for e in self._pages("search_experiments", max_results=_PAGE)]
        wanted = ", ".join(f"'{run_id}'" for run_id in sorted(run_ids))
        runs = self._pages(
            "search_runs",
            experiment_ids=experiments,
            filter_string=f"attributes.run_id IN ({wanted})",
            max_results=_PAGE,
        )
        return {run.info.run_id: dict(run.data.metrics) for run in runs}

    def _pages(self, method: str, **query: Any) -> Iterator[Any]:
        page = getattr(self._client, method)(**query)
        yield from page
        while page.token:
            page = getattr(self._client, method)(**query, page_token=page.token)
            yield from page


def _by_version(holders: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for alias, version in holders.items():
        found.setdefault(version, []).append(alias)
    return found


def _translated(found: Any, holders: dict[str, list[str]], metrics: dict[str, float]) -> ModelVersion:
    number, tags = str(found.version), dict(found.tags)
    aliases = tuple(holders.get(number, ()))
    return ModelVersion(
        surface=found.name,
        version=number,
        model=tags.get(Tag.MODEL, "unknown"),
        variant=tags.get(Tag.VARIANT, ""),
        state=_state(aliases, tags.get(Tag.STATE, "registered")),
        aliases=aliases,
        tags=tags,
        metrics=metrics,
        run_id=found.run_id,
        created_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        source=found.source,
    )


def _state(aliases: tuple[str, ...], tag: str) -> str:
    # Aliases decide what is served, so they win over a tag that a killed process left behind.
    for alias in ALIASES:
        if alias in aliases:
            return alias
    return DISPLACED_TO.get(tag, tag)


def _package_gone(version: ModelVersion, found: str) -> NotFound:
    return NotFound(
        f"package of {version.surface} version {version.version} at {version.source}",
        found=found,
        expected="the package that training stored",
        next_step="restore the artifacts, or train the version again with --force",
    )
