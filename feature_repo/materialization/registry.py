"""What plain Feast gets to see of a materialization: its intervals in Feast's registry."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from contracts.errors import HomeBusy
from contracts.home import Home
from feature_repo.quiet import quietly

if TYPE_CHECKING:
    from feast import FeatureStore

__all__ = ["record_interval", "registry_turn"]

_WAIT_S = 60.0


@contextmanager
def registry_turn(home: Home) -> Iterator[None]:
    """Wait for one's turn to change Feast's registry, for the moment that takes.

    The registry of the local profile is one file that is read, changed and written back as a whole, and
    materializations go on beside commands that apply definitions.

    Raises:
        HomeBusy: Another process did not finish within a minute.
    """
    home.feast.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home.feast / "registry.lock")
    try:
        lock.acquire(timeout=_WAIT_S)
    except Timeout:
        raise HomeBusy(
            f"Feast's registry in {home.feast}",
            found=f"another process changing it for {_WAIT_S:.0f} seconds",
            expected="a change that takes a moment",
            next_step="see which `backbeat` processes run, end the one that hangs, and run the same command again",
        ) from None
    try:
        yield
    finally:
        lock.release()


def record_interval(home: Home, store: "FeatureStore", view: Any, start: datetime, end: datetime) -> None:
    """Tell Feast that a view is online for an interval, unless it knows.

    Args:
        home: Holds the registry of the local profile.
        store: On the view's project.
        view: Feast's feature view.
        start: Exclusive.
        end: Inclusive.

    Raises:
        HomeBusy: The registry could not be had.
    """
    with registry_turn(home), quietly():
        store.refresh_registry()
        known = store.get_feature_view(view.name).materialization_intervals
        if not known or known[-1] != (start, end):
            store.registry.apply_materialization(view, store.project, start, end)
