"""From registry aliases to a running engine."""

import logging

import torch

from contracts.database import Database
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.online import OnlineFeatures
from registry.store import ModelStore
from serving.engine import Engine
from serving.recommend import Ranker
from serving.records import Recorder
from serving.shadow import Shadow
from serving.surface import SURFACE, no_champion
from training.device import prepare_torch
from training.packages import load_package

__all__ = ["open_engine"]

_WARM_UP_USERS = 20

_LOG = logging.getLogger("backbeat.serving")


def _load(store: ModelStore, alias: str, device: torch.device) -> Ranker | None:
    version = store.by_alias(SURFACE, alias)
    return Ranker(version.version, load_package(store.package_path(version), device)) if version else None


def _load_shadow(store: ModelStore, device: torch.device) -> Ranker | None:
    try:
        return _load(store, "shadow", device)
    except Exception:  # noqa: BLE001 - a shadow that cannot be loaded must not keep the champion from serving
        _LOG.exception("serving without a shadow")
        return None


def open_engine(settings: Settings, home: Home) -> Engine:
    """Load the champion and the shadow, connect them to features and records, and warm up.

    Raises:
        NotFound: No version is champion.
        BadInput: The champion's package is damaged.
    """
    home.require()
    device = prepare_torch(settings)
    store = ModelStore(settings, home)
    champion = _load(store, "champion", device)
    if champion is None:
        raise no_champion(SURFACE)
    aside = _load_shadow(store, device)
    features = OnlineFeatures(settings, home, champion.package.manifest.feature_service)
    recorder = Recorder(Database(settings, home))
    engine = Engine(SURFACE, champion, Shadow(aside, recorder.put) if aside else None, features, recorder)
    users = champion.package.users
    engine.warm_up(users.ids(range(min(len(users), _WARM_UP_USERS))))
    return engine
