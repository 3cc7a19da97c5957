"""From registry aliases to running engines."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from contracts.database import Database
from contracts.experiments import running_experiment
from contracts.home import Home
from contracts.manifest import ModelManifest, read_manifest
from contracts.settings import Settings, environment_of_child
from contracts.surfaces import Surface
from feature_repo.encoders.device import prepare_torch
from feature_repo.online import OnlineFeatures
from feature_repo.services import ranking_of
from registry.store import ModelStore
from serving.admission import NewItems
from serving.answering import Deadlines
from serving.batching import Gathering
from serving.building import networks_around
from serving.contexts import RequestContexts, views_of_manifest
from serving.engine import Engine
from serving.feature_snapshots import FeatureSampler
from serving.features import SurfaceFeatures
from serving.following import Follower
from serving.lineup import Lineup
from serving.metrics import serving_metrics
from serving.opening import Opener
from serving.packed import model_store
from serving.proving import known_users, proven_ranker
from serving.recommend import Query, Ranker
from serving.records import Recorder
from serving.shadow import Shadow
from serving.shadow_process import command_of_shadow
from serving.surface import no_champion
from serving.surfaces import Surfaces
from serving.withdrawals import WithdrawnItems

__all__ = ["Loader", "open_surfaces"]

_WARM_UP_K = 20
_SHADOWS_S = 60.0
"""For which a start waits for shadows that load, of all surfaces together."""


class Loader:
    """Brings versions of a surface from the registry into this process, and none that does not prove itself.

    Args:
        settings: Which registry, which online store, which device; how shadows work.
        home: Holds them, and cached packages.
        store: The registry.
        recorder: Takes what shadows answer.
        surface: Name of the registered model.
    """

    def __init__(self, settings: Settings, home: Home, store: ModelStore, recorder: Recorder, surface: Surface) -> None:
        self._settings = settings
        self._home = home
        self._store = store
        self._recorder = recorder
        self._surface: Surface = surface
        self._views: frozenset[str] = frozenset()
        """Feature views that the versions brought in so far read what requests bring from."""

    def champion(self, version: str) -> Lineup:
        """A version ready to answer, with the features of the data it was trained on and no shadows.

        Raises:
            NotFound: There is no such version, its package is gone, or its data are not in the online store.
            BadInput: Its package is damaged, answers otherwise than when it was packed, or was trained on other
                embeddings than are served.
            ServiceUnavailable: A server does not answer.
        """
        ranker = self._proven(version)
        manifest = ranker.package.manifest
        online = OnlineFeatures(self._settings, self._home, manifest.snapshot)
        features = SurfaceFeatures(online, ranking_of(manifest.feature_service).history)
        try:
            users = known_users(ranker)
            for user, history in zip(users, features.user_history(users), strict=True):
                ranker.rank(Query(user, tuple(history), (), _WARM_UP_K))
        except BaseException:
            features.close()
            raise
        networks = networks_around(self._home, manifest.snapshot, features)
        contexts = RequestContexts(features, lambda: self._views)
        return Lineup(ranker, features, networks=networks, contexts=contexts)

    def shadow(self, version: str) -> Shadow:
        """A version that answers aside once its process has loaded it.

        Raises:
            NotFound: There is no such version, or its package is gone.
            ServiceUnavailable: A server does not answer.
        """
        found = self._store.get(self._surface, version)
        directory = self._store.package_path(found)
        self._read_views_of(read_manifest(directory))
        settings, queries = self._settings, serving_metrics().shadow_queries
        return Shadow(
            version,
            found.model,
            command_of_shadow(directory, version),
            self._recorder.put,
            environment_of_child(settings),
            capacity=settings.shadow_queue,
            deadline_s=settings.shadow_deadline,
            sample=settings.shadow_sample,
            count=lambda outcome: queries.labels(self._surface, version, outcome).inc(),
        )

    def challenger(self, version: str) -> Ranker:
        """A version ready to answer in an experiment, by the features that the champion is given.

        Raises:
            NotFound: There is no such version, or its package is gone.
            BadInput: As of :meth:`champion`.
            ServiceUnavailable: A server does not answer.
        """
        ranker = self._proven(version)
        for user in known_users(ranker):
            ranker.rank(Query(user, (), (), _WARM_UP_K))
        return ranker

    def _proven(self, version: str) -> Ranker:
        directory = self._store.package_path(self._store.get(self._surface, version))
        ranker = proven_ranker(self._settings, self._home, directory, version)
        self._read_views_of(ranker.package.manifest)
        return ranker

    def _read_views_of(self, manifest: ModelManifest) -> None:
        self._views |= set(views_of_manifest(manifest).values())


def open_surfaces(settings: Settings, home: Home) -> Surfaces:
    """Load the champions and have the service follow the registry from here on.

    Each champion proves itself and is warmed up, and each surface has its shadows. One that cannot be served is an
    alert as long as another can.

    Raises:
        NotFound: No version is champion, or nothing of the data it was trained on is in the online store.
        BadInput: The champion's package is damaged, answers otherwise than when it was packed, or was trained on
            other embeddings than are served.
        ServiceUnavailable: The registry or the online store does not answer.
    """
    home.require()
    store = model_store(settings, home)
    wanted = settings.surfaces
    champions = {surface: store.champion(surface) for surface in wanted}
    if not any(champions.values()):
        raise no_champion(*wanted)
    sampler = FeatureSampler(settings, prepare_torch(settings))
    platform = Database(settings, home)
    recorder = Recorder(platform, counters=home.logs, sampler=sampler, late_after_s=settings.feedback_late)
    # One thread: ranking is bound by the processor, and the event loop stays free for health checks.
    executor = ThreadPoolExecutor(1, thread_name_prefix="rank")

    def release() -> None:
        executor.shutdown()
        recorder.close()

    parts = _Parts(settings, home, store, recorder, executor, platform, time.monotonic() + _SHADOWS_S)
    surfaces = Surfaces({}, recorder.feedback, release)
    opener = Opener(
        surfaces,
        wanted,
        settings.serve_surfaces is not None,
        store.champion,
        parts.engine,
        serving_metrics(),
        settings.serve_follow,
    )
    surfaces.before_closing(opener.close)
    try:
        faults = opener.look()
        if not surfaces.engines:
            raise faults[0] if faults else no_champion(*wanted)
        opener.start()
    except BaseException:
        surfaces.close()  # its threads would outlive it
        raise
    return surfaces


@dataclass(frozen=True)
class _Parts:
    """What the engines of a process are made from, and share."""

    settings: Settings
    home: Home
    store: ModelStore
    recorder: Recorder
    executor: ThreadPoolExecutor
    platform: Database
    shadows_until: float
    """``time.monotonic()`` from when on nobody waits for a shadow to be loaded."""

    def engine(self, surface: Surface, version: str) -> Engine:
        """The engine of a surface with a version as champion, warmed up and following."""
        settings = self.settings
        loader = Loader(settings, self.home, self.store, self.recorder, surface)
        lineup = loader.champion(version)
        deadlines = Deadlines(settings.serve_features_ms / 1e3, settings.serve_network_ms / 1e3)
        gathering = Gathering(
            settings.serve_batch_most, settings.serve_batch_longest_ms / 1e3, settings.serve_batch_wait_ms / 1e3
        )
        engine = Engine(surface, lineup, self.recorder, deadlines, self.executor, gathering)
        follower = Follower(
            engine,
            lambda: self.store.holders(surface),
            loader,
            serving_metrics(),
            settings.serve_follow,
            experiments=lambda: running_experiment(self.platform, surface),
            watches=(
                WithdrawnItems(self.platform, engine, settings.serve_follow),
                NewItems(self.platform, self.home, engine, settings.serve_follow),
            ),
        )
        try:
            follower.look()  # the shadows begin to load
            engine.warm_up(known_users(lineup.champion))
            follower.await_shadows(max(0.0, self.shadows_until - time.monotonic()))
            engine.follow(follower)
        except BaseException:
            follower.close()
            engine.close()  # its threads would outlive it
            raise
        return engine
