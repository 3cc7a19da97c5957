"""What is expected of an encoder's vectors: a suite for each of its outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from contracts.embeddings import EmbeddingSpec
from contracts.tables import EMBEDDING_PREFIX, ENTITY_KEYS, ENTITY_TABLES, embedding_schema, required_columns
from validation.material import MARGIN, Material
from validation.statistics.profile import Profile, measure_vectors, newly_dead
from validation.suites.compared_rules import compared_rules, loss_rules
from validation.suites.learned_rules import learned_rules
from validation.suites.probe_rules import probe_facts, probe_rules
from validation.suites.spec_rules import spec_facts, spec_rules
from validation.suites.suite import Evidence, Rule, Suite, TableRules
from validation.suites.vector_rules import counted, rules_on_rows, rules_on_table
from validation.summaries import complete_rows, filled

__all__ = ["VECTORS"]

_SUITES: Mapping[str, tuple[str, ...]] = {
    "visual": ("visual",),
    "acoustic": ("acoustic",),
    "textual": ("textual",),
    "handcrafted": ("visual_handcrafted", "textual_handcrafted"),
    "music_acoustic": ("music_acoustic",),
    "post_visual": ("post_visual",),
    "post_textual": ("post_textual",),
    "post_handcrafted": ("post_visual_handcrafted", "post_textual_handcrafted"),
}
"""Suite → names of the specs whose tables it judges, those of further revisions among them."""
_OTHERS = "embeddings"
"""The suite of what has none of its own, such as the pictures of music."""
_OF_WHAT_IS_NEW = frozenset({"present", "coverage", "recent_coverage", "freshness_lag_hours", "shrunk_share"})
"""Columns of the rules that accepted vectors cannot keep to for what came after them."""
_STAND_IN = "the accepted vectors stand in: {:,} items have none for now, and coverage and age are not judged"
_LISTED = 5
_ROW_FACTS = (
    "known",
    "present",
    "width",
    "nonfinite",
    "zero",
    "constant",
    "repeated",
    "relative_norm",
    "norm",
    "fp16_error",
)


def _tables_of(suite: str, material: Material) -> list[str]:
    names = {table: material.spec(table).name for table in material.vector_tables}
    others = set(names.values()).difference(*_SUITES.values())
    mine = _SUITES.get(suite, others)
    return [table for table, name in names.items() if name in mine]


def _measure(material: Material, table: str, _measured: Mapping[str, Evidence]) -> Evidence:
    spec = material.spec(table)
    key, entities = ENTITY_KEYS[spec.entity], ENTITY_TABLES[spec.entity]
    owners = filled(material.rows(entities), required_columns(entities))
    there = table in material.snapshot.tables
    embeddings = material.tables[table] if there else embedding_schema(spec.entity).empty_table()
    own, complete = embeddings.num_rows, complete_rows(embeddings, required_columns(table))
    embeddings = filled(embeddings, required_columns(table))
    before = _before(material, spec)
    known = None if before is None else before.ids
    measured = measure_vectors(embeddings, owners, key, spec, known)
    del embeddings
    ids = pa.array(measured.rows[key], pa.string())
    facts: dict[str, Any] = {**spec_facts(material, table), **probe_facts(material, table)}
    if counted(spec):
        facts["distinct"] = _distinct(measured.profile)
    if before is not None:
        facts |= _losses(before, measured.profile, owners[key])
        facts["newly_dead_dimensions"] = float(len(newly_dead(before, measured.profile)))
    facts["without_vector"] = len(ids) - own
    statistics = measured.profile.statistics
    if table in material.replaced:  # nor are later snapshots to learn from them
        statistics = {name: value for name, value in statistics.items() if name not in _OF_WHAT_IS_NEW}
    return Evidence(
        rows=_numbers(measured.rows, ids, key, complete),
        own=own,
        identity={key: ids},
        statistics=statistics,
        facts=facts,
        examples=_examples(measured.rows, ids),
        profile=measured.profile,
    )


def _on_rows(material: Material, table: str) -> list[Rule]:
    return _fit(material, table, rules_on_rows(material.spec(table)))


def _fit(material: Material, table: str, rules: list[Rule]) -> list[Rule]:
    """The rules that a table can be held against."""
    if table not in material.replaced:
        return rules
    return [rule for rule in rules if getattr(rule.expectation, "column", None) not in _OF_WHAT_IS_NEW]


def _on_table(material: Material, table: str, evidence: Evidence) -> TableRules:
    spec, profile = material.spec(table), evidence.profile
    assert profile is not None
    history = _history(material, table)
    batch = spec_rules(material, table)
    notes: list[str] = []
    for rule in rules_on_table(spec, evidence.own):
        column = rule.expectation.column
        if column in evidence.statistics or column in evidence.facts:
            batch.append(rule)
        elif not any(column in past for past in history):
            notes.append(f"{column.replace('_', ' ')} could not be measured: too few vectors, or all alike")
    batch += probe_rules(material, table, notes)
    before = _before(material, spec)
    if before is None:
        notes.append(_no_comparison(material, table))
    else:
        batch += learned_rules(history, profile, before, evidence.examples)
        batch += loss_rules(evidence.facts, notes)
        if evidence.comparison is not None:
            batch += compared_rules(evidence.comparison, history, notes)
    if table in material.replaced:
        notes.insert(0, _STAND_IN.format(evidence.facts["without_vector"]))
    return TableRules(_fit(material, table, batch), notes)


def _history(material: Material, table: str) -> Sequence[Mapping[str, float]]:
    """Statistics of accepted snapshots, but for agreement with what another encoder makes now.

    What is kept beside the vectors in use is not held against other modalities.
    """
    history, name = material.history(table), table.removeprefix(EMBEDDING_PREFIX)
    before = {} if material.baseline is None else material.baseline.snapshot.embeddings
    specs = material.snapshot.embeddings
    left_out = {MARGIN + other for other, spec in before.items() if specs.get(other, spec) != spec}
    if name != material.spec(table).name:
        left_out |= {MARGIN + other for other in before}
    return [{key: value for key, value in past.items() if key not in left_out} for past in history]


def _before(material: Material, spec: EmbeddingSpec) -> Profile | None:
    return None if material.baseline is None else material.baseline.profiles.get(spec.digest)


def _no_comparison(material: Material, table: str) -> str:
    if material.baseline is None:
        return "no accepted snapshot: absolute rules only"
    accepted = material.baseline.snapshot.id
    return f"accepted snapshot {accepted} has no vectors of {table}'s spec: absolute rules only"


def _losses(before: Profile, now: Profile, owners: pa.ChunkedArray) -> dict[str, Any]:
    """Of the items that had a vector and are still there the share without one now, and how far the table shrank."""
    there = np.asarray(pc.is_in(before.ids, value_set=pc.unique(owners)), bool)
    kept = np.asarray(pc.is_in(before.ids, value_set=now.ids), bool)
    return {
        "lost_share": float((~kept[there]).mean()) if there.any() else None,
        "shrunk_share": max(1 - len(now.ids) / len(before.ids), 0.0) if len(before.ids) else None,
    }


def _distinct(profile: Profile) -> float:
    """Different vectors, that of zeros among them."""
    return float(len(np.unique(profile.fingerprints)) + (profile.statistics.get("zero_share", 0) > 0))


def _examples(rows: pd.DataFrame, ids: pa.Array) -> dict[str, tuple[str, ...]]:
    """Who has what is judged as a share of the table."""
    found = {}
    for mark in ("zero", "constant", "repeated", "near_duplicate", "clipped"):
        marked = np.flatnonzero(pd.to_numeric(rows[mark]).to_numpy(np.float32) > 0)[:_LISTED]
        found[f"{mark}_share"] = tuple(ids.take(pa.array(marked)).to_pylist())
    return found


def _numbers(rows: pd.DataFrame, ids: pa.Array, key: str, complete: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """The facts that rules judge, as numbers: Great Expectations copies a frame for each of them."""
    columns: dict[str, np.ndarray] = {key: ids.dictionary_encode().indices.to_numpy()}
    for name in _ROW_FACTS:
        values = rows[name].to_numpy()
        columns[name] = values if values.dtype == bool else values.astype(np.float32)
    columns["complete"] = np.append(complete, np.ones(len(ids) - len(complete), bool))
    return pd.DataFrame(columns)


def _suite(name: str) -> Suite:
    return Suite(3, lambda material: _tables_of(name, material), _measure, _on_rows, _on_table)


VECTORS = {name: _suite(name) for name in (*_SUITES, _OTHERS)}
"""Suite → what it judges."""
