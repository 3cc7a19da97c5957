"""What is expected of the rows of every table but the embeddings: of events, catalogues, posts and networks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from great_expectations import expectations as gxe
from great_expectations.expectations import Expectation

from contracts.snapshot import Snapshot
from contracts.tables import ENTITY_KEYS, INTERACTION_KINDS, LISTEN_KINDS
from validation.suites.suite import Material, Suite
from validation.summaries import row_summary

__all__ = ["ROWS"]

_LARGEST_WEIGHT = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class _Rules:
    """The rules of one table."""

    row: str
    """What a row is called."""
    key: tuple[str, ...]
    """Columns whose values together stand there once, with the event time."""
    once: str
    """That rule in words."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Column that names an entity → the table of those entities."""
    kinds: tuple[str, ...] = ()
    weighted: bool = False


_RULES = {
    "interactions": _Rules(
        row="event",
        key=("user_id", "video_id", "kind"),
        once="a user has one event of a kind with a video at a time",
        names={"user_id": "users", "video_id": "videos"},
        kinds=INTERACTION_KINDS,
        weighted=True,
    ),
    "listens": _Rules(
        row="event",
        key=("user_id", "music_id", "kind"),
        once="a user has one event of a kind with a piece of music at a time",
        names={"user_id": "users", "music_id": "music"},
        kinds=LISTEN_KINDS,
        weighted=True,
    ),
    "users": _Rules(row="user", key=("user_id",), once="a user has one profile at a time"),
    "videos": _Rules(
        row="video",
        key=("video_id",),
        once="a video is published once at a time",
        names={"author_id": "users", "music_id": "music"},
    ),
    "music": _Rules(row="piece of music", key=("music_id",), once="a piece of music is published once at a time"),
    "posts": _Rules(row="post", key=("post_id",), once="a post is written once at a time", names={"user_id": "users"}),
    "edges": _Rules(
        row="edge",
        key=("network", "source_id", "target_id"),
        once="a user is tied to another once at a time in a network",
        names={"source_id": "users", "target_id": "users"},
        weighted=True,
    ),
}

_ENTITIES = {"users": "user", "videos": "video", "music": "music"}


def _suite(table: str, rules: _Rules) -> Suite:
    def tables(snapshot: Snapshot) -> list[str]:
        return [table] if table in snapshot.tables else []

    def summarise(material: Material, table: str) -> pd.DataFrame:
        owners = {
            column: material.tables[owner][ENTITY_KEYS[_ENTITIES[owner]]] if owner in material.tables else None
            for column, owner in rules.names.items()
        }
        return row_summary(material.tables[table], owners, rules.key, material.now)

    def expectations(_material: Material, _table: str) -> list[Expectation]:
        return _expectations(rules)

    return Suite(tables, summarise, expectations, identity=lambda _material, _table: _identity(rules))


def _identity(rules: _Rules) -> tuple[str, ...]:
    return tuple(column for column in rules.key if column != "kind")


def _expectations(rules: _Rules) -> list[Expectation]:
    article = "an" if rules.row[0] in "aeiou" else "a"
    expected: list[Expectation] = [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, description=f"there is at least one {rules.row}")
    ]
    for column, owner in rules.names.items():
        name = column.removesuffix("_id")
        expected.append(
            gxe.ExpectColumnValuesToBeInSet(
                column=f"{name}_known",
                value_set=[True],
                description=f"the {name} that {article} {rules.row} names is in the {owner} table",
            )
        )
    if rules.kinds:
        expected.append(
            gxe.ExpectColumnValuesToBeInSet(
                column="kind", value_set=list(rules.kinds), description=f"the kind is one of {', '.join(rules.kinds)}"
            )
        )
    if rules.weighted:
        expected += [
            gxe.ExpectColumnValuesToNotBeNull(column="weight", description="no weight is NaN"),
            gxe.ExpectColumnValuesToBeBetween(
                column="weight",
                min_value=0,
                strict_min=True,
                max_value=_LARGEST_WEIGHT,
                description="every weight is positive and finite",
            ),
        ]
    return [
        *expected,
        gxe.ExpectColumnValuesToBeBetween(
            column="age_hours", min_value=0, description=f"no {rules.row} lies in the future"
        ),
        gxe.ExpectColumnValuesToBeInSet(column="repeated", value_set=[False], description=rules.once),
    ]


ROWS = {table: _suite(table, rules) for table, rules in _RULES.items()}
"""Table → its suite."""
