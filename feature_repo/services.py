"""Feature services: what each recommender system eats. No Feast import.

======================= ======================================================= =====================================
service                 views                                                   for
======================= ======================================================= =====================================
``interactions_v1``     user_history, video_popularity                          all models on ids alone
``vbpr_v1``             those, vectors of videos                                VBPR
``m3csr_v1``            those, user_two_hop, video_clusters, video_trend        M3CSR: sequences of one and two hops,
                                                                                cluster ids beside the vectors, view
                                                                                counts for the gate
``amae_v1``             user_listens, user_social and user_context of every     AMAE: global and contextual features
                        modality of posts                                       (section III)
``dl_bgm_v1``           user_adopted_music, video_profile, visual and textual   DL-BGM: attention over adopted music
                        vectors of videos (C, T), music_content (G, L, M, P,    and over that of similar videos
                        T), music_acoustic, music_adoption                      (Table C.1)
``mf_bgm_v1``           those without user_adopted_music                        MF-BGM: content of the video against
                                                                                the mean of the videos that adopted
                                                                                the music (Appendix B.1)
``tf_bgm_v1``           the same                                                TF-BGM (Appendix B.2)
``fm_bgm_v1``           the same without music_adoption                         FM-BGM: the raw features
``iris_v1``             user_history, video_profile, vectors of videos with     IRIS: attention over the history, any
                        the handcrafted ones                                    modality may be missing
``mmm_v1``              user_history, user_listens, user_network of every       MMM: texts, key frames, hidden
                        network, video_clusters, visual and textual vectors     categories, several networks
======================= ======================================================= =====================================
"""

from dataclasses import dataclass
from typing import get_args

from contracts.embeddings import Modality
from contracts.errors import NotFound, unknown_name
from contracts.home import Home
from contracts.snapshot import Snapshot
from feature_repo.views.catalogue import View, views_of
from feature_repo.views.moments import MomentView, moment_views_of

__all__ = ["SERVICES", "Service", "service_views", "services_of"]


@dataclass(frozen=True)
class Service:
    """What one system needs."""

    families: tuple[str, ...]
    """Families of views, and families of views computed at the moment asked for; all their views in the snapshot take
    part, of each embedding only the revision in use."""
    tables: tuple[str, ...]
    """Tables without which a snapshot does not have the service."""
    modalities: tuple[str, ...] = ("acoustic", "textual", "visual")
    """Those of the videos' vectors that it takes."""


_EVENTS = ("user_history", "video_popularity")
_MUSIC = ("music_content", "music")
_C_AND_T = ("textual", "visual")
_BGM = ("video_profile", "video", *_MUSIC)

SERVICES = {
    "interactions_v1": Service(_EVENTS, ("interactions",)),
    "vbpr_v1": Service((*_EVENTS, "video"), ("interactions",)),
    "m3csr_v1": Service((*_EVENTS, "user_two_hop", "video_clusters", "video", "video_trend"), ("interactions",)),
    "amae_v1": Service(("user_listens", "user_social", "user_context"), ("listens", "posts")),
    "dl_bgm_v1": Service(("user_adopted_music", *_BGM, "music_adoption"), ("videos", "music"), _C_AND_T),
    "mf_bgm_v1": Service((*_BGM, "music_adoption"), ("videos", "music"), _C_AND_T),
    "tf_bgm_v1": Service((*_BGM, "music_adoption"), ("videos", "music"), _C_AND_T),
    "fm_bgm_v1": Service(_BGM, ("videos", "music"), _C_AND_T),
    "iris_v1": Service(("user_history", "video_profile", "video"), ("interactions",), get_args(Modality)),
    "mmm_v1": Service(
        ("user_history", "user_listens", "user_network", "video_clusters", "video"), ("edges",), _C_AND_T
    ),
}
"""Name → what it needs. A change of these, or of the families' features, needs a new version of the name."""


def services_of(snapshot: Snapshot) -> list[str]:
    """Names of the services a snapshot has the tables for."""
    return [name for name, service in SERVICES.items() if all(table in snapshot.tables for table in service.tables)]


def service_views(home: Home, snapshot: Snapshot, name: str) -> list[str]:
    """Names of a service's views in a snapshot, those computed at the moment asked for last.

    Raises:
        NotFound: There is no such service, or the snapshot lacks a table that it needs.
    """
    if name not in SERVICES:
        raise unknown_name("feature service", name, SERVICES, next_step="use one of those names")
    service = SERVICES[name]
    if absent := [table for table in service.tables if table not in snapshot.tables]:
        raise NotFound(
            f"feature service {name!r} of snapshot {snapshot.id}",
            found=f"no table {', '.join(absent)} in data set {snapshot.dataset!r}",
            expected=f"a snapshot with {' and '.join(service.tables)}",
            next_step=f"use one of {', '.join(services_of(snapshot))}, or ingest data that have those tables",
        )
    in_use = {spec.digest for embedding, spec in snapshot.embeddings.items() if embedding == spec.name}
    known: list[View | MomentView] = [*views_of(home, snapshot).values(), *moment_views_of(home, snapshot).values()]
    return [
        view.name
        for view in known
        if view.family in service.families
        and (view.spec is None or view.spec.digest in in_use)
        and (view.family != "video" or view.spec is None or view.spec.modality in service.modalities)
    ]
