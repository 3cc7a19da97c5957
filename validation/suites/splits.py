"""What is expected of the parts that events are split into."""

from collections.abc import Mapping

import pyarrow as pa

from validation.expectations.within import ExpectColumnValuesToLieWithin
from validation.material import Material
from validation.suites.suite import Evidence, Rule, Suite
from validation.summaries import split_summary

__all__ = ["SPLITS"]

_ITEMS = {"interactions": "video_id", "listens": "music_id"}
"""Table of events → what they are about."""
_LEAST_USERS = 10
_LEAST_ITEMS = 10
"""Below these, a metric of the part says nothing."""
_ADVICE = (
    "Move the two instants of the split (`backbeat stream merge --train-until --validation-until`), or ingest more."
)


def _tables(material: Material) -> list[str]:
    # A data set has one or both; where it has both, what is measured are the interactions.
    return [table for table in _ITEMS if table in material.snapshot.tables][:1]


def _measure(material: Material, table: str, _measured: Mapping[str, Evidence]) -> Evidence:
    parts = split_summary(material.tables[table], _ITEMS[table], material.snapshot.split)
    # No row of the frame is a row of the table: nothing can be set aside.
    return Evidence(rows=parts.drop(columns="part"), own=0, identity={"part": pa.array(parts["part"])})


def _rules(_material: Material, table: str) -> list[Rule]:
    items = {"interactions": "videos", "listens": "pieces of music"}[table]
    least = {
        "events": (1, "train, validation and test all hold events"),
        "users": (_LEAST_USERS, f"every part has at least {_LEAST_USERS} users"),
        "items": (_LEAST_ITEMS, f"every part has at least {_LEAST_ITEMS} {items}"),
    }
    rules = [
        ExpectColumnValuesToLieWithin(column=column, min_value=value, description=words)
        for column, (value, words) in least.items()
    ]
    return [Rule(rule, _ADVICE) for rule in rules]


SPLITS = Suite(2, _tables, _measure, _rules)
