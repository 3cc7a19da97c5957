"""What every move needs at hand: settings, home, MLflow's registry and the platform's tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from contracts.database import Database
from contracts.home import Home
from contracts.settings import Settings
from registry.store import ModelStore

__all__ = ["Registry", "open_registry"]


@dataclass(frozen=True)
class Registry:
    """The two databases of the registry, and the settings that name them."""

    settings: Settings
    home: Home
    store: ModelStore
    database: Database


@contextmanager
def open_registry(settings: Settings, home: Home) -> Iterator[Registry]:
    """Both databases for as long as a block lasts; neither is asked before it is needed.

    Args:
        settings: Name them in the production profile.
        home: Holds them in the local profile.
    """
    database = Database(settings, home)
    try:
        yield Registry(settings, home, ModelStore(settings, home), database)
    finally:
        database.close()
