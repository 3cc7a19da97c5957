"""Whether a snapshot has the views that a service cannot do without, and what views are called."""

from contracts.errors import NotFound
from contracts.home import Home
from contracts.snapshot import Snapshot
from feature_repo.frames.content import FACTS
from feature_repo.frames.contexts import GLOBAL, RECENT
from feature_repo.services import SERVICES, service_views
from feature_repo.views.catalogue import views_of
from feature_repo.views.moments import moment_views_of

__all__ = ["require_views", "view_of_context", "view_of_modality"]


def require_views(home: Home, snapshot: Snapshot, name: str) -> None:
    """Refuse a snapshot without any view of a family that a service needs, as none of its entities was encoded.

    Raises:
        NotFound: The families and their features are named.
    """
    views = service_views(home, snapshot, name)
    families = {view.family for view in views_of(home, snapshot).values() if view.name in views}
    families |= {view.family for view in moment_views_of(home, snapshot).values() if view.name in views}
    if absent := [family for family in SERVICES[name].needs if family not in families]:
        raise NotFound(
            f"feature service {name!r} of snapshot {snapshot.id}",
            found=f"no feature view {' or '.join(f'{family}_<modality>_…' for family in absent)} "
            f"with feature vector in data set {snapshot.dataset!r}",
            expected="embeddings of at least one modality that they are made from",
            next_step="encode what the data have with `backbeat features encode`, then `backbeat features apply`",
        )


def view_of_modality(entity: str, modality: str) -> str:
    """Where the values of a modality of items come from."""
    if entity == "music" and modality in FACTS:
        return f"music_content:{modality}"
    return f"feature view {entity}_{modality}_…"


def view_of_context(context: str) -> str:
    """Where the values of a context come from."""
    for ending, family in ((GLOBAL, "user_social"), (RECENT, "user_context")):
        if context.endswith(ending):
            return f"feature view {family}_{context.removesuffix(ending)}_…"
    return "table videos" if context == "video" else f"feature view video_{context}_…"
