"""The same through MLflow's server, where its database is out of reach: slower, so asked less often."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from contracts.errors import ServiceUnavailable
from contracts.metric_names import SYSTEM_METRICS
from contracts.surfaces import SURFACES
from registry.catalogue.source import FoundRun, FoundVersion, Key

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["ServerSource"]

_PAGE = 500
_LARGEST = 1e300


class ServerSource:
    """MLflow's REST interface.

    Args:
        url: Of the server, or any address that MLflow's client takes.
    """

    look_every, compare_every = 2.0, 30.0

    def __init__(self, url: str) -> None:
        self._url = url
        self._made: MlflowClient | None = None

    @property
    def _client(self) -> "MlflowClient":
        if self._made is None:
            from mlflow.tracking import MlflowClient

            self._made = MlflowClient(tracking_uri=self._url, registry_uri=self._url)
        return self._made

    def _pages(self, method: str, **query: Any) -> Iterator[Any]:
        from mlflow.exceptions import MlflowException

        token = None
        while True:
            try:
                page = getattr(self._client, method)(**query, page_token=token)
            except MlflowException as error:
                raise ServiceUnavailable(
                    f"MLflow's server {self._url}",
                    found=(str(error).splitlines() or [error.error_code])[0],
                    expected="an answer",
                    next_step="start it, or correct BACKBEAT_MLFLOW_URL; `backbeat doctor` checks it",
                ) from None
            yield from page
            if not (token := page.token):
                return

    def token(self) -> object:
        """Nobody tells."""
        return None

    def aliases(self) -> dict[Key, list[str]]:
        """Of the registered models, which are few."""
        found: dict[Key, list[str]] = {}
        for model in self._pages("search_registered_models", max_results=100):
            if model.name in SURFACES:
                for alias, version in sorted(model.aliases.items()):
                    found.setdefault((model.name, int(version)), []).append(alias)
        return found

    def states(self) -> dict[Key, str] | None:
        """Not without everything."""
        return None

    def versions(self, since: int = 0) -> tuple[list[FoundVersion], set[Key]]:
        """The newest first, no further than asked for; what was deleted is just not there."""
        found = []
        for version in self._pages(
            "search_model_versions", max_results=_PAGE, order_by=["last_updated_timestamp DESC"]
        ):
            updated = int(version.last_updated_timestamp or version.creation_timestamp)
            if updated < since:
                break
            if version.name in SURFACES:
                found.append(
                    FoundVersion(
                        surface=version.name,
                        number=int(version.version),
                        created=int(version.creation_timestamp),
                        updated=updated,
                        user=version.user_id or "",
                        source=version.source or "",
                        run_id=version.run_id or "",
                        tags=dict(version.tags),
                    )
                )
        return found, set()

    def stamps(self) -> dict[str, str] | None:
        """Not without reading the metrics."""
        return None

    def runs(self, ids: Collection[str]) -> dict[str, FoundRun]:
        """Many to a query, as a list of ids is a filter that MLflow knows."""
        experiments = [e.experiment_id for e in self._pages("search_experiments", max_results=_PAGE)]
        wanted, found = sorted(ids), {run_id: FoundRun() for run_id in ids}
        for start in range(0, len(wanted), 100):
            quoted = ", ".join(f"'{run_id}'" for run_id in wanted[start : start + 100])
            for run in self._pages(
                "search_runs",
                experiment_ids=experiments,
                filter_string=f"attributes.run_id IN ({quoted})",
                max_results=_PAGE,
            ):
                metrics = {
                    name: value if abs(value) < _LARGEST else None  # no NaN is below anything
                    for name, value in run.data.metrics.items()
                    if not name.startswith(SYSTEM_METRICS)
                }
                found[run.info.run_id] = FoundRun(run.info.user_id or "", metrics, dict(run.data.params))
        return found
