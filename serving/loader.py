"""From registry aliases to a running engine."""

import logging

import torch

from contracts.database import Database
from contracts.errors import BackbeatError
from contracts.home import Home
from contracts.settings import Settings
from contracts.surfaces import VIDEO_FEED
from feature_repo.encoders.device import prepare_torch
from feature_repo.online import OnlineFeatures
from registry.store import ModelStore, ModelVersion
from serving.engine import Engine, ShadowFault
from serving.recommend import Ranker
from serving.records import Recorder
from serving.shadow import Shadow
from serving.surface import no_champion
from training.golden import check_golden
from training.packages import load_package

__all__ = ["open_engine"]

_WARM_UP_USERS = 20

_LOG = logging.getLogger("backbeat.serving")


def _load(store: ModelStore, version: ModelVersion, device: torch.device) -> Ranker:
    package = load_package(store.package_path(version), device)
    check_golden(package)
    return Ranker(version.version, package)


def _load_shadow(store: ModelStore, device: torch.device) -> tuple[Ranker | None, ShadowFault | None]:
    version = store.by_alias(VIDEO_FEED, "shadow")
    if version is None:
        return None, None
    try:
        return _load(store, version, device), None
    except Exception as error:  # noqa: BLE001 - a shadow that cannot be loaded must not keep the champion from serving
        _LOG.exception("serving without a shadow")
        said = str(error) if isinstance(error, BackbeatError) else f"{type(error).__name__}: {error}"
        return None, ShadowFault(version.version, said)


def open_engine(settings: Settings, home: Home) -> Engine:
    """Load the champion and the shadow, replay their golden requests, connect them to features and records, warm up.

    Raises:
        NotFound: No version is champion, or nothing of the data it was trained on is in the online store.
        BadInput: The champion's package is damaged, or answers otherwise than when it was packed.
    """
    home.require()
    device = prepare_torch(settings)
    store = ModelStore(settings, home)
    version = store.by_alias(VIDEO_FEED, "champion")
    if version is None:
        raise no_champion(VIDEO_FEED)
    champion = _load(store, version, device)
    aside, fault = _load_shadow(store, device)
    features = OnlineFeatures(settings, home, champion.package.manifest.snapshot)
    recorder = Recorder(Database(settings, home))
    engine = Engine(VIDEO_FEED, champion, Shadow(aside, recorder.put) if aside else None, features, recorder, fault)
    users = champion.package.users
    try:
        engine.warm_up(users.ids(range(min(len(users), _WARM_UP_USERS))))
    except BaseException:
        engine.close()  # its threads would outlive it
        raise
    return engine
