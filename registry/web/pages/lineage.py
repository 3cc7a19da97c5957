"""Lineage: what a version was made of, where a served list came from, and what depends on a thing."""

from typing import Annotated, Any, Final, get_args
from urllib.parse import quote

from fastapi import Query
from pydantic import BaseModel, ConfigDict

from contracts.surfaces import SURFACES
from registry.dependents import Kind, dependents_of
from registry.graph import Lineage
from registry.lineage import lineage_of, trace
from registry.web.page import Pages
from registry.web.pages.catalogued import as_stored, catalogue_of
from registry.web.site import Here

__all__ = ["Graph", "LineagePage", "TracePage", "graph_of", "pages"]

pages = Pages("lineage")

_KINDS: Final[tuple[str, ...]] = get_args(Kind)


class NodeView(BaseModel):
    """One thing."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: str
    title: str
    facts: dict[str, Any]
    link: str | None
    """Path of its page."""
    dependents: str | None
    """Path of what depends on it."""


class EdgeView(BaseModel):
    """That one thing comes from another."""

    model_config = ConfigDict(frozen=True)

    source: str
    target: str
    relation: str


class Graph(BaseModel):
    """Things and what they come from."""

    model_config = ConfigDict(frozen=True)

    focus: str
    nodes: list[NodeView]
    edges: list[EdgeView]


class LineagePage(BaseModel):
    """What a version was made of."""

    model_config = ConfigDict(frozen=True)

    surface: str
    version: str
    model: str
    graph: Graph


class TracePage(BaseModel):
    """From a served list back, or from a thing to what depends on it."""

    model_config = ConfigDict(frozen=True)

    response: str
    kind: str
    id: str
    kinds: list[str]
    """What dependents can be asked of."""
    graph: Graph | None
    dependents: list[dict[str, Any]] | None


@pages.page("/versions/{surface}/{version}/lineage", "pages/lineage.html")
def lineage(here: Here, surface: str, version: str) -> LineagePage:
    """Version → run → feature service, snapshot, validation report, encoders, source tables.

    Raises:
        NotFound: There is no such surface or version.
    """
    found = catalogue_of(here).get(surface, version)
    graph = lineage_of(here.settings, here.home, as_stored(found))
    return LineagePage(surface=surface, version=found.version, model=found.model, graph=graph_of(graph))


@pages.page("/lineage", "pages/trace.html")
def trace_page(
    here: Here,
    response: Annotated[str, Query(max_length=64)] = "",
    kind: Kind = "encoder",
    id: Annotated[str, Query(max_length=512)] = "",
) -> TracePage:
    """With ``response``, where a served list came from; with ``kind`` and ``id``, which versions depend on a thing.

    Raises:
        NotFound: No response of that id was recorded.
    """
    found = graph_of(trace(here.settings, here.home, response.strip())) if response.strip() else None
    depending = dependents_of(here.settings, here.home, kind, id.strip()) if id.strip() else None
    return TracePage(
        response=response.strip(),
        kind=kind,
        id=id.strip(),
        kinds=list(_KINDS),
        graph=found,
        dependents=None if depending is None else [each.as_dict() for each in depending],
    )


def graph_of(found: Lineage) -> Graph:
    """Things with the addresses of their pages."""
    return Graph(
        focus=next(iter(found.nodes)),
        nodes=[
            NodeView(
                id=node.id,
                kind=node.kind,
                title=node.title,
                facts=dict(node.facts),
                link=_page_of(node.kind, node.id.partition(":")[2]),
                dependents=_dependents_of(node.kind, node.id.partition(":")[2]),
            )
            for node in found.nodes.values()
        ],
        edges=[EdgeView(source=e.source, target=e.target, relation=e.relation) for e in found.edges],
    )


def _page_of(kind: str, name: str) -> str | None:
    if kind == "version" and name.partition("/")[0] in SURFACES:
        return f"/versions/{quote(name)}"
    if kind == "report":
        return f"/quality/{quote(name, safe='')}"
    return None


def _dependents_of(kind: str, name: str) -> str | None:
    if kind not in _KINDS:
        return None
    own = name.rpartition("/")[0] if kind == "encoder" else name
    return f"/lineage?kind={quote(kind)}&id={quote(own, safe='')}"
