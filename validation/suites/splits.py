"""What is expected of the parts that events are split into."""

import pandas as pd
from great_expectations import expectations as gxe
from great_expectations.expectations import Expectation

from contracts.snapshot import Snapshot
from validation.suites.suite import Material, Suite
from validation.summaries import split_summary

__all__ = ["SPLITS"]

_ITEMS = {"interactions": "video_id", "listens": "music_id"}
"""Table of events → what they are about."""
_LEAST_USERS = 10
_LEAST_ITEMS = 10
"""Below these, a metric of the part says nothing."""


def _tables(snapshot: Snapshot) -> list[str]:
    # A data set has one or both; where it has both, what is measured are the interactions.
    return [table for table in _ITEMS if table in snapshot.tables][:1]


def _summarise(material: Material, table: str) -> pd.DataFrame:
    return split_summary(material.tables[table], _ITEMS[table], material.snapshot.split)


def _expectations(_material: Material, table: str) -> list[Expectation]:
    items = {"interactions": "videos", "listens": "pieces of music"}[table]
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column="events", min_value=1, description="train, validation and test all hold events"
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="users", min_value=_LEAST_USERS, description=f"every part has at least {_LEAST_USERS} users"
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="items", min_value=_LEAST_ITEMS, description=f"every part has at least {_LEAST_ITEMS} {items}"
        ),
    ]


SPLITS = Suite(_tables, _summarise, _expectations, identity=lambda _material, _table: ("part",))
