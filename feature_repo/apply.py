"""Defining a snapshot's features in Feast."""

from typing import TYPE_CHECKING, Any

from contracts.home import Home
from contracts.settings import Settings
from feature_repo.definitions import define, definitions_digest
from feature_repo.materialization.registry import registry_turn
from feature_repo.offline import current_snapshot
from feature_repo.quiet import quietly
from feature_repo.schemas import keep_schemas
from feature_repo.services import services_of
from feature_repo.store import applied_definitions, open_store
from feature_repo.views.catalogue import views_of
from feature_repo.views.derived import ensure_derived
from feature_repo.views.moments import moment_views_of

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["apply_features"]


def apply_features(settings: Settings, home: Home) -> dict[str, Any]:
    """Compute the derived tables of the current snapshot and apply its definitions, as far as this is needed.

    Args:
        settings: Name the profile.
        home: Which home; the caller holds its writer lock.

    Returns:
        ``snapshot``, ``dataset``, ``outcome`` (``applied`` or ``unchanged``), ``views``, those computed ``on_demand``,
        and ``services``.

    Raises:
        NotFound: Nothing was ingested.
        Conflict: A view or service has another schema than the one first applied under its name.
        HomeBusy: Another process did not let go of Feast's registry within a minute.
        StorageFull: The disk ran out of space.
        ServiceUnavailable: The registry's database does not answer.
    """
    snapshot = current_snapshot(home)
    keep_schemas(home, snapshot)
    home.feast.mkdir(parents=True, exist_ok=True)
    _, computed = ensure_derived(home, snapshot)
    store = open_store(settings, home, snapshot.id)
    known = applied_definitions(store) == definitions_digest(home, snapshot)
    if not known:
        with registry_turn(home), quietly():
            store.refresh_registry()
            defined = define(home, snapshot)
            store.apply(defined, objects_to_delete=_left_over(store, defined), partial=False)
    return {
        "snapshot": snapshot.id,
        "dataset": snapshot.dataset,
        "outcome": "unchanged" if known and not computed else "applied",
        "views": list(views_of(home, snapshot)),
        "on_demand": list(moment_views_of(home, snapshot)),
        "services": services_of(snapshot),
    }


def _left_over(store: "FeatureStore", defined: list[Any]) -> list[Any]:
    """Services and views of the project that an earlier version defined and this one does not."""
    names = {(type(each), each.name) for each in defined}
    there = (*store.list_feature_services(), *store.list_on_demand_feature_views(), *store.list_feature_views())
    return [each for each in there if (type(each), each.name) not in names]
