"""Lineage as a graph: what was made of what."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Edge", "Lineage", "Node"]


@dataclass(frozen=True)
class Node:
    """One thing: a response, a version, a run, data, a report, an encoder, a table."""

    id: str
    """Its kind and its own name: ``version:video-feed/7``."""
    kind: str
    title: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Edge:
    """That one thing comes from another."""

    source: str
    """What was made."""
    target: str
    """What it was made of."""
    relation: str
    """``trained on`` and the like: the source is *relation* the target."""


class Lineage:
    """Nodes and edges from a first node on."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []

    def add(self, kind: str, name: str, title: str, /, **facts: Any) -> str:
        """A node, unless it is there; returns its id. Facts that are None are left out."""
        node_id = f"{kind}:{name}"
        known = {key: value for key, value in facts.items() if value is not None}
        self.nodes.setdefault(node_id, Node(node_id, kind, title, known))
        return node_id

    def link(self, source: str, relation: str, target: str) -> None:
        """An edge, unless it is there."""
        edge = Edge(source, target, relation)
        if edge not in self.edges:
            self.edges.append(edge)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: ``nodes`` and ``edges``."""
        return {"nodes": [asdict(node) for node in self.nodes.values()], "edges": [asdict(e) for e in self.edges]}

    def lines(self) -> list[str]:
        """As an indented text from the first node on; what is reached twice is told once."""
        told: set[str] = set()
        first = next(iter(self.nodes))
        return [self.nodes[first].title, *self._facts(first, 1), *self._below(first, 1, told)]

    def _below(self, node_id: str, depth: int, told: set[str]) -> Iterator[str]:
        for edge in self.edges:
            if edge.source != node_id:
                continue
            yield f"{'  ' * depth}{edge.relation} {self.nodes[edge.target].title}"
            if edge.target not in told:
                told.add(edge.target)
                yield from self._facts(edge.target, depth + 1)
                yield from self._below(edge.target, depth + 1, told)

    def _facts(self, node_id: str, depth: int) -> Iterator[str]:
        facts = self.nodes[node_id].facts
        if facts:
            yield "  " * depth + ", ".join(f"{name} {value}" for name, value in facts.items())
