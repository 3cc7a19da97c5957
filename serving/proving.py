"""A version from the registry that has shown that it answers as it did when it was packed."""

from contextlib import closing
from pathlib import Path

from contracts.database import Database
from contracts.home import Home
from contracts.settings import Settings
from contracts.snapshot import stored_snapshot
from feature_repo.encoders.device import prepare_torch
from feature_repo.materialize import materialized_snapshot
from serving.building import build_ranker
from serving.recommend import Ranker
from serving.specs import require_served_specs
from training.golden import check_golden
from training.packages import load_package

__all__ = ["known_users", "proven_ranker"]

_WARM_UP_USERS = 20


def proven_ranker(settings: Settings, home: Home, directory: Path, version: str) -> Ranker:
    """A version whose file hashes, golden answers and embedding specs are as they should be.

    Args:
        settings: Which device, which online store.
        home: Holds the data it was trained on.
        directory: Its package.
        version: Its number.

    Raises:
        NotFound: The package is gone.
        BadInput: It is damaged, answers otherwise than when it was packed, or was trained on other
            embeddings than are served.
        ServiceUnavailable: A server does not answer.
    """
    package = load_package(directory, prepare_torch(settings))
    check_golden(package)
    manifest = package.manifest
    with closing(Database(settings, home)) as database:
        online = materialized_snapshot(database, home, manifest.snapshot)
    served = stored_snapshot(home, online) if online is not None else None
    if served is not None:  # else the reading of features says what is missing
        require_served_specs(version, manifest.embedding_specs, served)
    return build_ranker(settings, home, version, package)


def known_users(ranker: Ranker) -> list[str]:
    """A few users that a version knows, to warm it up with."""
    users = ranker.package.users
    return users.ids(range(min(len(users), _WARM_UP_USERS)))
