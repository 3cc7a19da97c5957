"""The versions of a surface: filtered, sorted and searched by the page's address."""

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict

from contracts.surfaces import PRIMARY_METRICS, SURFACES
from registry.catalogue.query import ListedVersion, VersionQuery
from registry.web.page import Pages
from registry.web.pages.catalogued import Freshness, catalogue_of, freshness_of
from registry.web.site import Here

__all__ = ["Choice", "VersionsPage", "pages"]

pages = Pages("versions")


class Choice(BaseModel):
    """One value that a column can be filtered by."""

    model_config = ConfigDict(frozen=True)

    value: str
    count: int


class VersionsPage(BaseModel):
    """One page of the versions of a surface."""

    model_config = ConfigDict(frozen=True)

    surface: str
    question: str
    metric: str
    """The surface's primary metric."""
    query: VersionQuery
    versions: list[ListedVersion]
    total: int
    """Versions that the filters let through."""
    registered: int
    """Versions of the surface."""
    page: int
    pages: int
    protocols: int
    """How many protocol fingerprints this page's figures have; figures of different ones are not comparable."""
    shown: str | None
    """A further metric that the rows show."""
    choices: dict[str, list[Choice]]
    """Column → values to filter by."""
    metrics: list[str]
    """Names of metrics to sort and filter by."""
    mlflow: Freshness


@pages.page("/versions/{surface}", "pages/versions.html")
def versions(here: Here, surface: str, query: Annotated[VersionQuery, Query()]) -> VersionsPage:
    """The versions of a surface; every parameter filters, sorts or pages.

    Raises:
        NotFound: There is no such surface, or no version has the metric.
    """
    catalogue = catalogue_of(here)
    found = catalogue.page(surface, query)
    choices, metrics = catalogue.choices(surface)
    name = query.sort.lstrip("-")
    shown = name if name in metrics and name != PRIMARY_METRICS[surface] else None
    if query.metric and query.metric != PRIMARY_METRICS[surface]:
        shown = query.metric
    return VersionsPage(
        surface=surface,
        question=SURFACES[surface],
        metric=PRIMARY_METRICS[surface],
        query=query,
        versions=found.versions,
        total=found.total,
        registered=catalogue.counts()[surface],
        page=found.page,
        pages=found.pages,
        protocols=len({version.protocol for version in found.versions}),
        shown=shown,
        choices={
            column: [Choice(value=value, count=count) for value, count in values] for column, values in choices.items()
        },
        metrics=metrics,
        mlflow=freshness_of(here),
    )
