"""Feature services: what each recommender system eats, and what it ranks. No Feast import.

======================= ================ ======================================================= ======================
service                 ranks            views                                                   for
======================= ================ ======================================================= ======================
``interactions_v1``     videos           user_history, video_popularity                          all models on ids
``vbpr_v1``             videos           those, vectors of videos                                VBPR
``m3csr_v1``            videos           those, user_two_hop, video_clusters, video_trend        M3CSR: sequences of
                                                                                                 one and two hops,
                                                                                                 cluster ids beside the
                                                                                                 vectors, view counts
                                                                                                 for the gate
``iris_v1``             videos           user_history, video_profile, vectors of videos with     IRIS: attention over
                                         the handcrafted ones                                    the history, any
                                                                                                 modality may be missing
``mmm_v1``              videos           user_history, user_listens, user_network of every       MMM: texts, key frames,
                                         network, video_clusters, visual and textual vectors     hidden categories,
                                                                                                 several networks
``listens_v1``          music            user_listens                                            all models on ids
``mmm_music_v1``        music            that, user_network of every network, vectors of music   MMM where there are no
                                                                                                 videos
``amae_v1``             music after      user_listens, user_social and user_context of every     AMAE: global and
                        posts            modality of posts                                       contextual features
                                                                                                 (section III)
``adoptions_v1``        background music user_adopted_music, music_adoption                      all models on ids
``dl_bgm_v1``           background music user_adopted_music, video_profile, visual and textual   DL-BGM: attention over
                                         vectors of videos (C, T), music_content (G, L, M, P,    adopted music and over
                                         T), music_acoustic, music_adoption                      that of similar videos
                                                                                                 (Table C.1)
``mf_bgm_v1``           background music those without user_adopted_music                        MF-BGM: content of the
                                                                                                 video against the mean
                                                                                                 of the videos that
                                                                                                 adopted the music
                                                                                                 (Appendix B.2)
``tf_bgm_v1``           background music the same                                                TF-BGM (Appendix B.1)
``fm_bgm_v1``           background music the same without music_adoption                         FM-BGM: raw features
======================= ================ ======================================================= ======================

What a service ranks says which events its models learn from, and which items they choose among (:data:`RANKINGS`). A
model on ids alone reads any frame of a surface: an experiment takes one service for all of its models, and all of them
see the same events.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from contracts.embeddings import Modality
from contracts.errors import NotFound, unknown_name
from contracts.home import Home
from contracts.snapshot import Snapshot
from feature_repo.views.catalogue import View, views_of
from feature_repo.views.moments import MomentView, moment_views_of

__all__ = ["RANKINGS", "SERVICES", "Ranking", "Service", "ranking_of", "service_views", "services_of"]


@dataclass(frozen=True)
class Ranking:
    """Which events say that a user chose an item, and what the user chose it for."""

    table: str
    """Table of the events; a row without a user or an item is none."""
    user: str
    """Its column of users."""
    items: Literal["video", "music"]
    """What is ranked; its id is the events' item."""
    history: str
    """Feature of a user: the items of the last 50 events."""
    popularity: str | None
    """Feature of an item: how often it was chosen; None where no view counts that, and events are counted."""
    context: Literal["video", "posts"] | None = None
    """What a request brings: a video, or what the user had posted. With it every event stands by itself; without, a
    user and an item stand where they first met."""
    kind: str | None = None
    """The only kind of event that counts; all do if None."""


RANKINGS = {
    "videos": Ranking("interactions", "user_id", "video", "user_history:video_ids", "video_popularity:views"),
    "music": Ranking("listens", "user_id", "music", "user_listens:music_ids", None),
    # A like comes with a listen, seconds after it.
    "music after posts": Ranking(
        "listens", "user_id", "music", "user_listens:music_ids", None, context="posts", kind="listen"
    ),
    "background music": Ranking(
        "videos", "author_id", "music", "user_adopted_music:music_ids", "music_adoption:videos", context="video"
    ),
}
"""What a service may rank."""


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
    ranks: str = "videos"
    """One of ``RANKINGS``."""
    texts: bool = False
    """Whether a frame holds the titles of the items."""
    needs: tuple[str, ...] = ()
    """Families without any view of which its systems cannot be fitted."""


_EVENTS = ("user_history", "video_popularity")
_MUSIC = ("music_content", "music")
_C_AND_T = ("textual", "visual")
_BGM = ("video_profile", "video", *_MUSIC)


def _bgm(*families: str) -> Service:
    return Service(families, ("videos", "music"), _C_AND_T, "background music", needs=("video",))


SERVICES = {
    "interactions_v1": Service(_EVENTS, ("interactions",)),
    "vbpr_v1": Service((*_EVENTS, "video"), ("interactions",), needs=("video",)),
    "m3csr_v1": Service(
        (*_EVENTS, "user_two_hop", "video_clusters", "video", "video_trend"), ("interactions",), needs=("video",)
    ),
    "iris_v1": Service(("user_history", "video_profile", "video"), ("interactions",), get_args(Modality)),
    "mmm_v1": Service(
        ("user_history", "user_listens", "user_network", "video_clusters", "video"),
        ("interactions", "edges"),
        _C_AND_T,
        texts=True,
    ),
    "listens_v1": Service(("user_listens",), ("listens", "music"), ranks="music"),
    "mmm_music_v1": Service(
        ("user_listens", "user_network", "music"), ("listens", "music", "edges"), ranks="music", texts=True
    ),
    "amae_v1": Service(
        ("user_listens", "user_social", "user_context"),
        ("listens", "music", "posts"),
        ranks="music after posts",
        needs=("user_social", "user_context"),
    ),
    "adoptions_v1": Service(("user_adopted_music", "music_adoption"), ("videos", "music"), ranks="background music"),
    "dl_bgm_v1": _bgm("user_adopted_music", *_BGM, "music_adoption"),
    "mf_bgm_v1": _bgm(*_BGM, "music_adoption"),
    "tf_bgm_v1": _bgm(*_BGM, "music_adoption"),
    "fm_bgm_v1": _bgm(*_BGM),
}
"""Name → what it needs. A change of these, or of the families' features, needs a new version of the name."""


def services_of(snapshot: Snapshot) -> list[str]:
    """Names of the services a snapshot has the tables for."""
    return [name for name, service in SERVICES.items() if all(table in snapshot.tables for table in service.tables)]


def ranking_of(name: str) -> Ranking:
    """What a service ranks.

    Raises:
        NotFound: There is no such service.
    """
    if name not in SERVICES:
        raise unknown_name("feature service", name, SERVICES, next_step="use one of those names")
    return RANKINGS[SERVICES[name].ranks]


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
