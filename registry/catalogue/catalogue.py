"""The catalogue as pages use it: brought up to date when it is read, and never later than a second."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from contracts.addresses import mlflow_tracking_url
from contracts.catalogue_rows import CatalogueBodyRow, CatalogueVersionRow
from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BackbeatError, NotFound, ServiceUnavailable, unknown_name
from contracts.home import Home
from contracts.settings import Settings
from contracts.surfaces import ALIASES, PRIMARY_METRICS, SURFACES
from registry.catalogue.query import (
    ListedVersion,
    VersionPage,
    VersionQuery,
    facets,
    listed,
    metric_names,
    run_query,
)
from registry.catalogue.source import DatabaseSource, NoSource, Source, source_of
from registry.catalogue.step import Overtaken, compare, look, revision_of

__all__ = ["Catalogue", "CataloguedVersion"]

_TIRED = 8
"""Comparing everything may take one part in this many of a processor's time."""
_AGAIN_S = 3.0
"""Until MLflow is asked again after it did not answer."""


class CataloguedVersion(ListedVersion):
    """One version with all that MLflow says of it."""

    source: str
    """Address of its package."""
    tags: dict[str, str]
    parameters: dict[str, str]
    """Configuration of its run."""


class Catalogue:
    """Versions of all surfaces.

    A read looks for news in MLflow first, at most every second, and only where something was written there. Changed
    tags and metrics are found by a comparison of everything, some seconds later and beside the reads. Where MLflow
    does not answer, reads go on with what is known, and :attr:`fault` says so.

    Args:
        settings: Name MLflow in the production profile.
        home: Holds it in the local profile.
        database: The platform's tables.
        source: Where versions come from, if it shall not be that MLflow.
    """

    def __init__(self, settings: Settings, home: Home, database: Database, source: Source | None = None) -> None:
        self._settings, self._home, self._database = settings, home, database
        self._source = source
        self._lock = threading.Lock()
        self._next, self._compared, self._cost = float("-inf"), float("-inf"), 0.0
        self._token: object = None
        self._token_compared: object = None
        self._comparing: threading.Thread | None = None
        self._facets: dict[str, tuple[int, dict[str, list[tuple[str, int]]], list[str]]] = {}
        self.fault: BackbeatError | None = None
        """Why MLflow could not be read the last time; None where it could."""
        self.as_of: datetime | None = None
        """When MLflow was read last."""

    def refresh(self, now: bool = False) -> None:
        """Look for news, unless that was done within the last second or is being done; ``now`` looks in any case."""
        first = self.as_of is None and self.fault is None
        if not now and time.monotonic() < self._next:
            return
        if not self._lock.acquire(blocking=now or first):
            return
        try:
            if now or time.monotonic() >= self._next:
                self._look(now)
        finally:
            self._lock.release()

    def compare(self) -> None:
        """Compare everything with MLflow now."""
        with self._lock:
            try:
                self._compare(self._found_source())
            except BackbeatError as error:
                self.fault = error

    def _found_source(self) -> Source:
        if self._source is None or isinstance(self._source, NoSource):
            self._source = source_of(self._settings, self._home)
            if isinstance(self._source, NoSource) and revision_of(self._database)[1] > 1:
                # There was a database once: that it is gone is a fault, and no reason to forget what was in it.
                self._source = DatabaseSource(mlflow_tracking_url(self._settings, self._home))
        return self._source

    def _look(self, now: bool) -> None:
        try:
            source = self._found_source()
            token = source.token()
            if now or token is None or token != self._token:
                try:
                    with _writing():
                        look(source, self._database)
                except Overtaken:
                    token = object()  # look again next time
        except BackbeatError as error:
            self.fault, self._token, self._token_compared = error, None, None
            self._next = time.monotonic() + _AGAIN_S
            return
        self._token, self.as_of, self.fault = token, utc_now(), None
        self._next = time.monotonic() + source.look_every
        due = time.monotonic() - self._compared > max(source.compare_every, _TIRED * self._cost)
        if due and (token is None or token != self._token_compared) and self._comparing is None:
            self._comparing = threading.Thread(target=self._compare_beside, name="catalogue", daemon=True)
            self._comparing.start()

    def _compare_beside(self) -> None:
        try:
            self._compare(self._found_source())
        except BackbeatError as error:
            self.fault = error
        finally:
            self._comparing = None

    def _compare(self, source: Source) -> None:
        began, token = time.thread_time(), source.token()
        try:
            with _writing():
                compare(source, self._database)
            self._token_compared = token
        except Overtaken:
            self._token_compared = None
        self._compared = time.monotonic()
        self._cost = time.thread_time() - began

    def close(self) -> None:
        """Let a comparison that runs come to its end, and return the connections to MLflow."""
        if (comparing := self._comparing) is not None:
            comparing.join()
        if isinstance(self._source, DatabaseSource):
            self._source.close()

    @property
    def revision(self) -> int:
        """Grows with every change of the copy."""
        return revision_of(self._database)[0]

    def page(self, surface: str, query: VersionQuery, shown: Sequence[str] = ()) -> VersionPage:
        """One page of the versions of a surface; see :func:`registry.catalogue.query.run_query`.

        Raises:
            NotFound: There is no such surface, or no version has the metric.
        """
        _require_surface(surface)
        self.refresh()
        with self._database.session() as session:
            return run_query(session, surface, query, PRIMARY_METRICS[surface], shown)

    def choices(self, surface: str) -> tuple[dict[str, list[tuple[str, int]]], list[str]]:
        """What a surface's versions can be filtered by, with counts, and the names of their metrics."""
        _require_surface(surface)
        revision = self.revision
        if (known := self._facets.get(surface)) is not None and known[0] == revision:
            return known[1], known[2]
        with self._database.session() as session:
            found, names = facets(session, surface), metric_names(session, surface)
        self._facets[surface] = (revision, found, names)
        return found, names

    def get(self, surface: str, selector: str) -> CataloguedVersion:
        """One version, by number or alias.

        Raises:
            NotFound: There is no such surface or version; the error says which there are.
        """
        _require_surface(surface)
        self.refresh()
        row, body = CatalogueVersionRow, CatalogueBodyRow
        joined = select(row, body).join(body, (body.surface == row.surface) & (body.number == row.number))
        with self._database.session() as session:
            if selector in ALIASES:
                chosen = joined.where(row.surface == surface, row.state == selector)
            elif selector.isascii() and selector.isdigit() and len(selector) < 10:
                chosen = joined.where(row.surface == surface, row.number == int(selector))
            else:
                raise self._unknown(surface, selector)
            found = session.execute(chosen).first()
            if found is None:
                raise self._unknown(surface, selector)
            version, rest = found
            return CataloguedVersion(
                **listed(version, rest.metrics).model_dump(),
                source=version.source,
                tags=rest.tags,
                parameters=rest.parameters,
            )

    def _unknown(self, surface: str, selector: str) -> NotFound:
        row = CatalogueVersionRow
        with self._database.session() as session:
            counted = select(func.count(), func.min(row.number), func.max(row.number)).where(row.surface == surface)
            count, first, last = session.execute(counted).one()
        known = f"one of {count} versions, {first} to {last}" if count > 1 else f"version {first}"
        return NotFound(
            f"{surface} version {selector!r}",
            found="no version of that number or alias",
            expected=known if count else "nothing is registered under this surface yet",
            next_step="run `backbeat models list`" if count else "run `backbeat train MODEL`",
        )

    def holders(self) -> dict[str, dict[str, ListedVersion]]:
        """Surface → alias → the version that holds it."""
        self.refresh()
        found: dict[str, dict[str, ListedVersion]] = {surface: {} for surface in SURFACES}
        row = CatalogueVersionRow
        with self._database.session() as session:
            for version in session.execute(select(row).where(row.state.in_(ALIASES))).scalars():
                for alias in version.aliases:
                    found[version.surface][alias] = listed(version, {})
        return found

    def counts(self) -> dict[str, int]:
        """Surface → how many versions it has."""
        self.refresh()
        row = CatalogueVersionRow
        with self._database.session() as session:
            counted = session.execute(select(row.surface, func.count()).group_by(row.surface)).all()
        found = dict.fromkeys(SURFACES, 0)
        found.update((surface, count) for surface, count in counted)
        return found


@contextmanager
def _writing() -> Iterator[None]:
    """A copy that cannot be written is a fault to be shown, and no reason not to show what is in it."""
    try:
        yield
    except OperationalError as error:
        raise ServiceUnavailable(
            "copy of MLflow's versions",
            found=str(error.orig).strip().splitlines()[0],
            expected="tables of the platform that this process may write",
            next_step="run `backbeat ui` as the user who owns the home; `backbeat doctor` checks the database",
        ) from None


def _require_surface(surface: str) -> None:
    if surface not in SURFACES:
        raise unknown_name("surface", surface, SURFACES, next_step="choose one of these")
