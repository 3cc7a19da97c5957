"""Model versions as MLflow holds them: look-up, selection, packages, and who holds which alias."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from contracts.addresses import mlflow_tracking_url, require_answer
from contracts.current import current_snapshot_id
from contracts.errors import NotFound, unknown_name
from contracts.files import directory_written_whole
from contracts.home import Home
from contracts.settings import Settings
from contracts.surfaces import ALIASES, PRIMARY_METRICS, SURFACES, Tag
from registry.lifecycle import DISPLACED_TO, Standing
from registry.metric import is_share

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["SELECTORS", "ModelStore", "ModelVersion"]

SELECTORS = ("best", "runner-up")
"""Names that choose among the versions trained on the current snapshot."""

_PAGE = 500


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
        url = mlflow_tracking_url(self._settings, self._home)
        require_answer(url, "mlflow_url")
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        return MlflowClient(tracking_uri=url, registry_uri=url)

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
        holders = self._holders(surface)
        found = list(self._pages("search_model_versions", filter_string=f"name='{surface}'", max_results=_PAGE))
        metrics = self._metrics({version.run_id for version in found})
        versions = [_translated(v, holders, metrics.get(v.run_id, {})) for v in found]
        return sorted(versions, key=lambda version: int(version.version), reverse=True)

    def by_alias(self, surface: str, alias: str) -> ModelVersion | None:
        """The version that holds an alias, or None."""
        return next((v for v in self.versions(surface) if alias in v.aliases), None)

    def get(self, surface: str, selector: str) -> ModelVersion:
        """One version, by number, alias, ``best`` or ``runner-up``.

        ``best`` has the highest primary metric of the versions that are not retired and were measured by the
        protocol of the newest version on the current snapshot (equal values: the older version). ``runner-up``
        follows it, the champion left out.

        Raises:
            NotFound: No version is meant by the selector.
        """
        versions = self.versions(surface)
        if selector in SELECTORS:
            return self._ranked(surface, versions, selector)
        for version in versions:
            if selector == version.version or selector in version.aliases:
                return version
        known = [*(v.version for v in versions), *(a for v in versions for a in v.aliases), *SELECTORS]
        raise unknown_name(
            f"{surface} version", selector, known if versions else [], next_step="run `backbeat models list`"
        )

    def _ranked(self, surface: str, versions: list[ModelVersion], selector: str) -> ModelVersion:
        current = current_snapshot_id(self._home)
        judged = [v for v in versions if current in (None, v.snapshot) and is_share(v.primary_metric)]
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
            self._fetch(version, cached)
        return cached / Path(address.path).name

    def _fetch(self, version: ModelVersion, into: Path) -> None:
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        url = mlflow_tracking_url(self._settings, self._home)
        with directory_written_whole(into) as scratch:
            try:
                download_artifacts(artifact_uri=version.source, dst_path=str(scratch), tracking_uri=url)
            except MlflowException as error:
                raise _package_gone(version, str(error).splitlines()[0]) from error

    def standing(self, surface: str, like: Standing) -> Standing:
        """How things are now, of all that ``like`` would change."""
        versions = {v.version: v for v in self.versions(surface)}
        holders = {alias: v.version for v in versions.values() for alias in v.aliases}
        return Standing(
            aliases={alias: holders.get(alias) for alias in like.aliases},
            states={number: versions[number].state for number in like.states},
        )

    def assign(self, surface: str, standing: Standing) -> None:
        """Write aliases and state tags."""
        for alias, version in standing.aliases.items():
            if version is None:
                self._client.delete_registered_model_alias(surface, alias)
            else:
                self._client.set_registered_model_alias(surface, alias, version)
        for version, state in standing.states.items():
            self._client.set_model_version_tag(surface, version, Tag.STATE, state)

    def _holders(self, surface: str) -> dict[str, list[str]]:
        """Version → aliases; empty where nothing is registered under the surface."""
        from mlflow.exceptions import MlflowException

        try:
            aliases = self._client.get_registered_model(surface).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            aliases = {}
        holders: dict[str, list[str]] = {}
        for alias, version in sorted(aliases.items()):
            holders.setdefault(str(version), []).append(alias)
        return holders

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
