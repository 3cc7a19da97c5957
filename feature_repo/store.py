"""The Feast feature store of a home, one Feast project per snapshot.

A snapshot never changes, so neither do the features under its project: applying or materializing a new snapshot
cannot disturb what a running service reads of the old one, and rows of two data sets whose ids look alike never
meet online.
"""

import atexit
import gc
from functools import cache
from typing import TYPE_CHECKING

from contracts.addresses import required
from contracts.errors import NotFound
from contracts.home import Home
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from feature_repo.derived import derived_directory
from feature_repo.offline import current_snapshot
from feature_repo.quiet import quietly

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["applied_definitions", "open_store", "project_name", "require_applied"]

DEFINITIONS_TAG = "backbeat.definitions"
"""Tag of a Feast project: the digest of what was applied to it."""

_BATCH_ROWS = 10_000


def project_name(snapshot_id: str) -> str:
    """The Feast project that holds a snapshot's features."""
    return f"backbeat_{snapshot_id}"


def open_store(settings: Settings, home: Home, snapshot_id: str | None = None) -> "FeatureStore":
    """Open the feature store on one snapshot's project.

    Args:
        settings: Name the profile, and the servers of the production profile.
        home: Holds registry and online store of the local profile.
        snapshot_id: Whose features; the current snapshot's if None.

    Raises:
        NotFound: There is no snapshot, or a server address is not set.
    """
    with quietly():
        from feast import FeatureStore, RepoConfig
        from feast.repo_config import RegistryConfig

        from feature_repo.online_store import ONLINE_STORE_TYPE

    if settings.profile == "local":
        registry = {"registry_type": "file", "path": str(home.feast / "registry.pb"), "cache_ttl_seconds": 0}
        online = {"type": ONLINE_STORE_TYPE, "path": str(home.feast / "online.db")}
    else:
        registry = {
            "registry_type": "sql",
            "path": required(settings, "feast_registry_url", "postgresql+psycopg://user@host/feast"),
            "cache_ttl_seconds": 0,
            # A materialization flips the shared registry; services that start meanwhile must not be turned away.
            "serve_features_while_materializing": True,
        }
        online = {"type": "redis", "connection_string": required(settings, "redis_url", "127.0.0.1:6379")}
    config = RepoConfig(
        project=project_name(snapshot_id or current_snapshot(home).id),
        provider="local",
        registry=RegistryConfig(**registry),
        online_store=online,
        offline_store={"type": "duckdb"},
        entity_key_serialization_version=3,
        # Without a batch size Feast writes the first chunk of a larger table and forgets the rest.
        materialization={"pull_latest_features": True, "online_write_batch_size": _BATCH_ROWS},
    )
    _forget_duckdb_at_exit()
    with quietly():
        return FeatureStore(config=config)


def applied_definitions(store: "FeatureStore") -> str | None:
    """Digest of the definitions that the store's project holds, or None where nothing was applied."""
    for project in store.registry.list_projects(allow_cache=False):
        if project.name == store.project:
            return str(project.tags.get(DEFINITIONS_TAG))
    return None


def require_applied(settings: Settings, home: Home, snapshot: Snapshot) -> "FeatureStore":
    """Open the store on a snapshot whose features are defined and computed.

    Raises:
        NotFound: `backbeat features apply` has not been run on this snapshot.
    """
    store = open_store(settings, home, snapshot.id)
    if applied_definitions(store) is None or not derived_directory(home, snapshot.id).exists():
        raise NotFound(
            f"features of snapshot {snapshot.id}",
            found="no definitions applied",
            expected="entities, feature views and feature services of this snapshot",
            next_step="run `backbeat features apply`",
        )
    return store


@cache
def _forget_duckdb_at_exit() -> None:
    """Close the connection that Feast's offline store leaves open.

    torch, which Feast imports, keeps modules alive past the end, and so does a frozen garbage collector; DuckDB then
    prints a page of leaks on the user's terminal.
    """
    import ibis  # type: ignore[import-untyped]

    def forget() -> None:
        gc.unfreeze()
        if ibis.options.default_backend is not None:
            ibis.options.default_backend.disconnect()
            ibis.options.default_backend = None

    atexit.register(forget)
