"""Whether vectors are of the embedding spec that feature views and models expect."""

from typing import Any

from contracts.embeddings import EmbeddingSpec
from contracts.tables import EMBEDDING_PREFIX
from validation.expectations.spec import ExpectEmbeddingSpecToMatch
from validation.material import Material
from validation.suites.suite import Rule

__all__ = ["spec_facts", "spec_rules"]


def spec_rules(material: Material, table: str) -> list[Rule]:
    """Rules on the spec of a table: those of the accepted snapshot and of everybody who expects one."""
    spec = material.spec(table)
    rules = []
    accepted = _accepted(material, table)
    if accepted:
        rule = ExpectEmbeddingSpecToMatch(
            column="spec",
            accepted=accepted,
            whose="the accepted snapshot",
            description="the embedding spec is one that the accepted snapshot has",
        )
        advice = "Encode with the accepted encoder, or with the new one beside it: `backbeat features encode --beside`."
        rules.append(Rule(rule, advice, compared=True))
    for place, (who, expected) in enumerate(_expecting(material, spec, table)):
        rule = ExpectEmbeddingSpecToMatch(
            column=f"spec_for_{place}",
            accepted=[expected.model_dump_json()],
            whose=who,
            description=f"the snapshot has the {expected.name} vectors that {who} was made for",
        )
        rules.append(Rule(rule, "Keep vectors of that spec in the data, or train and promote a model on the new one."))
    return rules


def spec_facts(material: Material, table: str) -> dict[str, Any]:
    """The columns that these rules judge."""
    spec = material.spec(table)
    facts: dict[str, Any] = {}
    if _accepted(material, table):
        facts["spec"] = spec.model_dump_json() if table in material.snapshot.tables else None
    present = {each.digest for each in material.snapshot.embeddings.values()}
    for place, (_, expected) in enumerate(_expecting(material, spec, table)):
        found = expected if expected.digest in present else spec
        facts[f"spec_for_{place}"] = found.model_dump_json() if table in material.snapshot.tables else None
    return facts


def _accepted(material: Material, table: str) -> list[str]:
    """The accepted specs of a table's name, the one in use first.

    None where the accepted snapshot has no such vectors, and for a candidate: what stands beside vectors of an accepted
    spec is not in use.
    """
    name = material.spec(table).name
    known = {} if material.baseline is None else material.baseline.snapshot.embeddings
    accepted = [each for _, each in sorted(known.items()) if each.name == name]
    if table != EMBEDDING_PREFIX + name and material.snapshot.embeddings.get(name) in accepted:
        return []
    return [each.model_dump_json() for each in accepted]


def _expecting(material: Material, spec: EmbeddingSpec, table: str) -> list[tuple[str, EmbeddingSpec]]:
    """Who expects vectors of the name, told once: where those in use are judged."""
    if not table.endswith(spec.name):
        return []
    return [
        (who, expected)
        for who, specs in sorted(material.expected.items())
        for expected in specs.values()
        if expected.name == spec.name
    ]
