"""What several pages ask of the catalogue: the one of this process, who holds what, and what drifted."""

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from contracts.promotion_rows import MoveRow, StandingRow
from contracts.surfaces import ALIASES, SURFACES
from registry.catalogue.catalogue import Catalogue, CataloguedVersion
from registry.catalogue.query import ListedVersion
from registry.store import ModelVersion
from registry.web.site import Visit

__all__ = ["DriftedAlias", "Freshness", "as_stored", "catalogue_of", "drifted", "freshness_of"]

Holders = dict[str, dict[str, ListedVersion]]


class Freshness(BaseModel):
    """How current what a page shows of MLflow is."""

    model_config = ConfigDict(frozen=True)

    as_of: str | None
    fault: str | None
    """Why MLflow could not be read; then the page shows what was known before."""


class DriftedAlias(BaseModel):
    """An alias that is in MLflow where Backbeat did not put it."""

    model_config = ConfigDict(frozen=True)

    surface: str
    alias: str
    ours: str | None
    theirs: str | None


def catalogue_of(here: Visit) -> Catalogue:
    """The catalogue of this process."""
    return here.site.kept("catalogue", lambda: Catalogue(here.settings, here.home, here.database))


def freshness_of(here: Visit) -> Freshness:
    """When MLflow was read last, and what prevents it now."""
    catalogue = catalogue_of(here)
    return Freshness(
        as_of=None if catalogue.as_of is None else catalogue.as_of.isoformat(),
        fault=None if catalogue.fault is None else str(catalogue.fault),
    )


def drifted(session: Session, holders: Holders) -> list[DriftedAlias]:
    """Aliases whose holder is not the one of our own last word; surfaces that are moving just now are left out."""
    moving = {surface for (surface,) in session.query(MoveRow.pending_on).filter(MoveRow.pending_on.is_not(None))}
    words = {(row.surface, row.alias): row.version for row in session.query(StandingRow)}
    found = []
    for surface in SURFACES:
        if surface in moving:
            continue
        for alias in ALIASES:
            holder = holders[surface].get(alias)
            ours, theirs = words.get((surface, alias)), holder.version if holder else None
            if ours != theirs:
                found.append(DriftedAlias(surface=surface, alias=alias, ours=ours, theirs=theirs))
    return found


def as_stored(version: CataloguedVersion) -> ModelVersion:
    """A version of the catalogue as the model registry gives it, for what works on those."""
    return ModelVersion(
        surface=version.surface,
        version=version.version,
        model=version.model,
        variant=version.variant,
        state=version.stage,
        aliases=tuple(version.aliases),
        tags=version.tags,
        metrics={name: value for name, value in version.metrics.items() if value is not None},
        run_id=version.run_id,
        created_at=version.created_at,
        source=version.source,
    )
