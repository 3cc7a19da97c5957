"""Which function computes which derived view."""

from collections.abc import Callable

from contracts.home import Home
from contracts.snapshot import Snapshot
from feature_repo.views.adoption import music_adoption
from feature_repo.views.builder import Builder
from feature_repo.views.catalogue import View, views_of
from feature_repo.views.clusters import video_clusters
from feature_repo.views.history import user_adopted_music, user_history, user_listens
from feature_repo.views.networks import user_network
from feature_repo.views.popularity import video_popularity
from feature_repo.views.posts import user_posts, user_social
from feature_repo.views.profiles import video_profile
from feature_repo.views.two_hop import user_two_hop

__all__ = ["BUILDERS", "builders_of"]

BUILDERS: dict[str, Callable[[View, Snapshot], Builder]] = {
    "user_history": user_history,
    "user_listens": user_listens,
    "user_adopted_music": user_adopted_music,
    "user_two_hop": user_two_hop,
    "user_network": user_network,
    "user_social": user_social,
    "user_posts": user_posts,
    "video_profile": video_profile,
    "video_popularity": video_popularity,
    "video_clusters": video_clusters,
    "music_adoption": music_adoption,
}
"""Family of the catalogue → what gives the builder of a view of it."""


def builders_of(home: Home, snapshot: Snapshot) -> dict[str, Builder]:
    """View → what computes it, for every derived view of a snapshot."""
    return {
        name: BUILDERS[view.family](view, snapshot)
        for name, view in views_of(home, snapshot).items()
        if view.derived and view.family in BUILDERS
    }
