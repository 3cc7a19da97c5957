"""The Feast feature store of a home, one Feast project per snapshot.

A snapshot never changes, so neither do the features under its project: applying or materializing a new snapshot
cannot disturb what a running service reads of the old one, and rows of two data sets whose ids look alike never
meet online.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from contracts.addresses import required
from contracts.errors import NotFound, ServiceUnavailable
from contracts.home import Home
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from feature_repo.offline import current_snapshot
from feature_repo.quiet import quietly
from feature_repo.views.derived import derived_directory

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = [
    "DEFINITIONS_TAG",
    "applied_definitions",
    "is_applied",
    "open_store",
    "project_name",
    "require_applied",
    "servers_answer",
]

DEFINITIONS_TAG = "backbeat.definitions"
"""Tag of a Feast project: the digest of what was applied to it."""

_REGISTRY = "registry.pb"

_ENGINES = {
    "local": ("feature_repo.stores.asof.AsOfOfflineStore", "feature_repo.stores.engine.ChunkedComputeEngine"),
    "ray": (
        "feature_repo.stores.ray_offline.RayAsOfOfflineStore",
        "feature_repo.stores.ray_engine.RayChunkedComputeEngine",
    ),
}
"""Setting ``engine`` → the classes that join and that materialize; by name, for importing Feast takes seconds."""
_REGISTRY_STORE = "feature_repo.stores.registry.WholeFileRegistryStore"
_SQLITE = "feature_repo.stores.sqlite.NewestSqliteOnlineStore"
_REDIS = "feature_repo.stores.redis.NewestRedisOnlineStore"
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
        BadInput: The registry's file is damaged.
        ServiceUnavailable: The registry's database does not answer.
    """
    with quietly():
        from feast import FeatureStore, RepoConfig

    if settings.profile == "local":
        registry = {
            "registry_type": "file",
            "registry_store_type": _REGISTRY_STORE,
            "path": str(home.feast / _REGISTRY),
        }
        online = {"type": _SQLITE, "path": str(home.feast / "online.db")}
    else:
        registry = {
            "registry_type": "sql",
            "path": required(settings, "feast_registry_url", "postgresql+psycopg://user@host/feast"),
        }
        online = {"type": _REDIS, "connection_string": required(settings, "redis_url", "127.0.0.1:6379")}
    offline, engine = _ENGINES[settings.engine]
    cluster = {"ray_address": settings.ray_address} if settings.engine == "ray" else {}
    with quietly():
        config = RepoConfig(
            project=project_name(snapshot_id or current_snapshot(home).id),
            provider="local",
            registry={
                **registry,
                "cache_ttl_seconds": 0,  # a snapshot's definitions do not change under a reader
                # A run in progress, or one cut short, must not turn away services that start meanwhile.
                "serve_features_while_materializing": True,
            },
            online_store=online,
            offline_store={"type": offline, **cluster},
            batch_engine={"type": engine, **cluster},
            entity_key_serialization_version=3,
            # Without a batch size Feast writes the first chunk of a larger table and forgets the rest.
            materialization={"pull_latest_features": True, "online_write_batch_size": _BATCH_ROWS},
        )
        store = FeatureStore(config=config)
    with servers_answer():
        store.refresh_registry()
    return store


@contextmanager
def servers_answer() -> Iterator[None]:
    """Say which server is needed where one does not answer; the local profile needs none.

    Raises:
        ServiceUnavailable: Redis, or the registry's database, cannot be reached.
    """
    try:
        yield
    except _unreachable() as error:
        raise ServiceUnavailable(
            "feature store",
            found=str(error).strip().splitlines()[0],
            expected="the registry's database and Redis to answer",
            next_step="start them, or correct BACKBEAT_FEAST_REGISTRY_URL and BACKBEAT_REDIS_URL; "
            "`backbeat doctor` checks them",
        ) from None


@cache
def _unreachable() -> tuple[type[Exception], ...]:
    from sqlalchemy.exc import OperationalError

    try:
        from redis.exceptions import ConnectionError as RedisUnreachable
        from redis.exceptions import TimeoutError as RedisSilent
    except ImportError:  # the extra `redis` is not installed
        return (OperationalError,)
    return OperationalError, RedisUnreachable, RedisSilent


def applied_definitions(store: "FeatureStore") -> str | None:
    """Digest of the definitions that the store's project holds, or None where nothing was applied."""
    for project in store.registry.list_projects(allow_cache=False):
        if project.name == store.project:
            return str(project.tags.get(DEFINITIONS_TAG))
    return None


def is_applied(settings: Settings, home: Home, snapshot_id: str) -> bool:
    """Whether `backbeat features apply` has been run on a snapshot; writes nothing, not even an empty registry."""
    return _applied_store(settings, home, snapshot_id) is not None


def _applied_store(settings: Settings, home: Home, snapshot_id: str) -> "FeatureStore | None":
    if settings.profile == "local" and not (home.feast / _REGISTRY).exists():
        return None
    if not derived_directory(home, snapshot_id).exists():
        return None
    store = open_store(settings, home, snapshot_id)
    return None if applied_definitions(store) is None else store


def require_applied(settings: Settings, home: Home, snapshot: Snapshot) -> "FeatureStore":
    """Open the store on a snapshot whose features are defined and computed.

    Raises:
        NotFound: `backbeat features apply` has not been run on this snapshot.
        ServiceUnavailable: The registry's database does not answer.
    """
    store = _applied_store(settings, home, snapshot.id)
    if store is None:
        raise NotFound(
            f"features of snapshot {snapshot.id}",
            found="no definitions applied",
            expected="entities, feature views and feature services of this snapshot",
            next_step="run `backbeat features apply`",
        )
    return store
