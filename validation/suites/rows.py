"""What is expected of the rows of every table but the embeddings: of events, catalogues, posts and networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from great_expectations import expectations as gxe

from contracts.tables import ENTITY_KEYS, INTERACTION_KINDS, LISTEN_KINDS, NATURAL_KEYS, required_columns
from validation.expectations.bands import ExpectColumnShareToStayInLearnedBand, ExpectStatisticToStayInLearnedBand
from validation.expectations.within import ExpectColumnValuesToLieWithin
from validation.material import Material
from validation.statistics.bands import value_band
from validation.suites.suite import Evidence, Rule, Suite, TableRules, complete_rule
from validation.summaries import row_statistics, row_summary

__all__ = ["ROWS"]

_LARGEST_WEIGHT = float(np.finfo(np.float32).max)
_LEAST_OF_BEFORE = 0.8
"""Data come in batches that add to what is there; a table that shrinks by more has lost a source."""
_LEAST_HISTORY = 3
"""Accepted snapshots before the mixture of kinds is held against them, and before weights are closely."""
_FLOORS = {"weight_mean": 0.25, "first_weight_mean": 0.5, "share": 0.3}
"""Relative change that says nothing: what people do changes with seasons. Another unit shows beside one snapshot."""


@dataclass(frozen=True)
class _Table:
    """What is particular to one table."""

    row: str
    """What a row is called."""
    once: str
    """In words, that its natural key stands in it once."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Column that names an entity → the table of those entities."""
    kinds: tuple[str, ...] = ()
    weighted: bool = False


_TABLES = {
    "interactions": _Table(
        row="event",
        once="a user has one event of a kind with a video at a time",
        names={"user_id": "users", "video_id": "videos"},
        kinds=INTERACTION_KINDS,
        weighted=True,
    ),
    "listens": _Table(
        row="event",
        once="a user has one event of a kind with a piece of music at a time",
        names={"user_id": "users", "music_id": "music"},
        kinds=LISTEN_KINDS,
        weighted=True,
    ),
    "users": _Table(row="user", once="a user has one profile at a time"),
    "videos": _Table(row="video", once="a video has one row", names={"author_id": "users", "music_id": "music"}),
    "music": _Table(row="piece of music", once="a piece of music has one row"),
    "posts": _Table(row="post", once="a post has one row", names={"user_id": "users"}),
    "edges": _Table(
        row="edge",
        once="a user is tied to another once at a time in a network",
        names={"source_id": "users", "target_id": "users"},
        weighted=True,
    ),
}

_ENTITIES = {"users": "user", "videos": "video", "music": "music"}


def _suite(table: str, about: _Table) -> Suite:
    def tables(material: Material) -> list[str]:
        before = material.baseline is not None and table in material.baseline.snapshot.tables
        return [table] if before or table in material.snapshot.tables else []

    def measure(material: Material, table: str, _measured: Mapping[str, Evidence]) -> Evidence:
        rows = material.rows(table)
        owners = {
            column: material.rows(owner)[ENTITY_KEYS[_ENTITIES[owner]]] if owner in material.snapshot.tables else None
            for column, owner in about.names.items()
        }
        key = NATURAL_KEYS[table]
        statistics = row_statistics(rows, list(about.names))
        if rows.num_rows:
            statistics = {f"share_{kind}": 0.0 for kind in about.kinds} | statistics
        return Evidence(
            rows=row_summary(rows, owners, key, material.now, required_columns(table)),
            own=rows.num_rows,
            identity={name: rows[name] for name in key if name not in ("kind", "event_time")},
            statistics=statistics,
        )

    def on_rows(_material: Material, table: str) -> list[Rule]:
        return [*_absolute(about), complete_rule(required_columns(table))]

    def on_table(material: Material, table: str, _evidence: Evidence) -> TableRules:
        return _learned(about, material.history(table))

    return Suite(3, tables, measure, on_rows, on_table)


def _absolute(about: _Table) -> list[Rule]:
    article = "an" if about.row[0] in "aeiou" else "a"
    rules = [
        Rule(
            gxe.ExpectTableRowCountToBeBetween(min_value=1, description=f"there is at least one {about.row}"),
            "Look at what was ingested: the source of this table gave nothing.",
        )
    ]
    for column, owner in about.names.items():
        name = column.removesuffix("_id")
        rule = f"the {name} that {article} {about.row} names is in the {owner} table"
        rules.append(
            Rule(
                gxe.ExpectColumnValuesToBeInSet(column=f"{name}_known", value_set=[True], description=rule),
                f"Ingest the missing rows of {owner}, or leave out the rows that name them.",
            )
        )
    if about.kinds:
        rule = f"the kind is one of {', '.join(about.kinds)}"
        rules.append(
            Rule(
                gxe.ExpectColumnValuesToBeInSet(column="kind", value_set=list(about.kinds), description=rule),
                "Map the kinds of the source to those of the contract and ingest again.",
            )
        )
    if about.weighted:
        rules += [
            Rule(
                gxe.ExpectColumnValuesToNotBeNull(column="weight", description="no weight is NaN"),
                "Correct the weights at the source, or leave out these rows.",
            ),
            Rule(
                ExpectColumnValuesToLieWithin(
                    column="weight",
                    min_value=0,
                    strict_min=True,
                    max_value=_LARGEST_WEIGHT,
                    description="every weight is positive and finite",
                ),
                "Correct the weights at the source, or leave out these rows.",
            ),
        ]
    return [
        *rules,
        Rule(
            ExpectColumnValuesToLieWithin(
                column="age_hours", min_value=0, description=f"no {about.row} lies in the future"
            ),
            "Look at the clock and the time zone of the source.",
        ),
        Rule(
            gxe.ExpectColumnValuesToBeInSet(column="repeated", value_set=[False], description=about.once),
            "Leave out the repeated rows: something was taken in twice.",
        ),
    ]


def _learned(about: _Table, history: Sequence[Mapping[str, float]]) -> TableRules:
    if not history:
        return TableRules(notes=["no accepted snapshot has this table: absolute rules only"])
    rules = [_not_fewer(name, history[-1][name]) for name in _counts(about) if name in history[-1]]
    notes = []
    if about.kinds and len(history) < _LEAST_HISTORY:
        notes.append(f"kinds are compared from {_LEAST_HISTORY} accepted snapshots on; there are {len(history)}")
    else:
        shares = [f"share_{kind}" for kind in about.kinds]
        rules += [_share(name, history) for name in shares if any(name in past for past in history)]
    weights = [past["weight_mean"] for past in history if "weight_mean" in past]
    if about.weighted and weights:
        rules.append(_mean_weight(weights))
    return TableRules(rules, notes)


def _mean_weight(weights: Sequence[float]) -> Rule:
    band = value_band(weights, 0.0, _FLOORS["weight_mean" if len(weights) >= _LEAST_HISTORY else "first_weight_mean"])
    rule = ExpectStatisticToStayInLearnedBand(
        column="weight_mean",
        low=band.low,
        high=band.high,
        learned_from=band.learned_from,
        description="the mean weight is as in accepted snapshots",
    )
    return Rule(rule, "Look at how the source weighs events, and override if the change is meant.", True)


def _counts(about: _Table) -> list[str]:
    return ["rows", *(f"distinct_{column.removesuffix('_id')}" for column in about.names)]


def _not_fewer(name: str, before: float) -> Rule:
    what = "rows" if name == "rows" else f"different {name.removeprefix('distinct_')}s"
    least = _LEAST_OF_BEFORE * before
    rule = gxe.ExpectColumnMinToBeBetween(
        column=name,
        min_value=least,
        description=f"the table has at least {_LEAST_OF_BEFORE:.0%} of the {what} of the last accepted snapshot",
    )
    return Rule(rule, "Look at which source is missing, and override if the data were removed on purpose.", True)


def _share(name: str, history: Sequence[Mapping[str, float]]) -> Rule:
    known = [past.get(name, 0.0) for past in history]
    rows = max(min(past["rows"] for past in history), 1.0)
    share = known[-1] + 1 / rows  # a kind that was never seen may come once
    band = value_band(known, float(np.sqrt(share / rows)), _FLOORS["share"])
    rule = ExpectColumnShareToStayInLearnedBand(
        column=name,
        low=band.low,
        high=band.high,
        learned_from=band.learned_from,
        description=f"{name.removeprefix('share_')} is as large a share of the events as in accepted snapshots",
    )
    return Rule(rule, "Look at whether the source still sends every kind, and override if the change is meant.", True)


ROWS = {table: _suite(table, about) for table, about in _TABLES.items()}
"""Table → its suite."""
