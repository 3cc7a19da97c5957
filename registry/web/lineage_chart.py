"""Lineage as boxes in layers with arrows between them, and the same as a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

__all__ = ["Edge", "Node", "layered"]

_BOX: Final = (172, 46)
_GAP: Final = (56, 18)
_MARGIN: Final = 8
_LETTERS: Final = 24


@dataclass(frozen=True)
class Node:
    """A thing that others come from."""

    id: str
    kind: str
    """What it is: run, snapshot, encoder."""
    label: str
    link: str | None = None
    """Path of its page."""


@dataclass(frozen=True)
class Edge:
    """``target`` was made from ``source``."""

    source: str
    target: str


def layered(title: str, about: str, nodes: Sequence[Node], edges: Sequence[Edge], focus: str | None = None) -> Markup:
    """A graph from what came first, at the left, to what was made last.

    Args:
        title: What is shown.
        about: What it says, in a sentence; read aloud.
        nodes: Edges to others are left out.
        edges: Without circles; one that closes a circle is drawn backwards.
        focus: Id of the node that the page is about.
    """
    known = {node.id for node in nodes}
    kept = [edge for edge in edges if edge.source in known and edge.target in known and edge.source != edge.target]
    places = _places(nodes, kept)
    wide = max((x for x, _ in places.values()), default=0) + _BOX[0] + _MARGIN
    high = max((y for _, y in places.values()), default=0) + _BOX[1] + _MARGIN
    arrows = Markup("").join(_arrow(places[edge.source], places[edge.target]) for edge in kept)
    boxes = Markup("").join(_box(node, places[node.id], node.id == focus) for node in nodes)
    names = {node.id: node for node in nodes}
    rows = Markup("").join(
        Markup("<li>{} {} ← {}</li>").format(
            node.kind,
            node.label,
            ", ".join(f"{names[e.source].kind} {names[e.source].label}" for e in kept if e.target == node.id)
            or "nothing before it",
        )
        for node in nodes
    )
    return Markup(
        '<figure class="chart lineage"><figcaption><strong>{0}</strong>. {1}</figcaption>'
        '<div class="scroll" role="region" aria-label="{0}" tabindex="0">'
        '<svg viewBox="0 0 {2} {3}" width="{2}" height="{3}" role="group" aria-label="{0}"><title>{0}</title>'
        "<desc>{1}</desc>{4}{5}</svg></div><details><summary>As a list</summary><ul>{6}</ul></details></figure>"
    ).format(title, about, wide, high, arrows, boxes, rows)


def _places(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[str, tuple[int, int]]:
    """Corner of each box: the column is the longest way to it, the row the order given there."""
    layer = dict.fromkeys((node.id for node in nodes), 0)
    for _ in nodes:  # as often as the longest way could be
        moved = False
        for edge in edges:
            if layer[edge.target] <= layer[edge.source] < len(nodes) - 1:
                layer[edge.target] = layer[edge.source] + 1
                moved = True
        if not moved:
            break
    made = {edge.target for edge in edges}
    for node in nodes:  # what comes from nothing stands beside what it goes into, not at the far left
        uses = [layer[edge.target] for edge in edges if edge.source == node.id]
        if node.id not in made and uses:
            layer[node.id] = max(min(uses) - 1, 0)
    columns = sorted(set(layer.values()))
    filled = dict.fromkeys(columns, 0)
    places = {}
    tallest = max((list(layer.values()).count(column) for column in columns), default=0)
    for node in nodes:
        column = layer[node.id]
        spare = (tallest - list(layer.values()).count(column)) * (_BOX[1] + _GAP[1]) // 2
        x = _MARGIN + columns.index(column) * (_BOX[0] + _GAP[0])
        places[node.id] = (x, _MARGIN + spare + filled[column] * (_BOX[1] + _GAP[1]))
        filled[column] += 1
    return places


def _arrow(source: tuple[int, int], target: tuple[int, int]) -> Markup:
    x1, y1 = source[0] + _BOX[0], source[1] + _BOX[1] // 2
    x2, y2 = target[0], target[1] + _BOX[1] // 2
    bend = (x2 - x1) // 2
    return Markup('<path class="edge" d="M{} {}C{} {} {} {} {} {}"/><path class="arrow" d="M{} {}l-7 -4v8z"/>').format(
        x1, y1, x1 + bend, y1, x2 - bend, y2, x2 - 6, y2, x2, y2
    )


def _box(node: Node, place: tuple[int, int], focus: bool) -> Markup:
    x, y = place
    label = node.label if len(node.label) <= _LETTERS else f"{node.label[: _LETTERS - 1]}…"
    inside = Markup(
        '<rect class="box{}" x="{}" y="{}" width="{}" height="{}" rx="6"><title>{} {}</title></rect>'
        '<text class="tick" x="{}" y="{}">{}</text><text x="{}" y="{}">{}</text>'
    ).format(
        " focus" if focus else "", x, y, *_BOX, node.kind, node.label, x + 10, y + 18, node.kind, x + 10, y + 35, label
    )
    if node.link is None:
        return inside
    return Markup('<a href="{}">{}</a>').format(node.link, inside)
