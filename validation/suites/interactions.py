"""What is expected of events, and of the parts they are split into."""

import numpy as np
import pandas as pd
from great_expectations import expectations as gxe
from great_expectations.expectations import Expectation

from contracts.snapshot import Snapshot
from validation.suites.suite import Material, Suite
from validation.summaries import interaction_summary, split_summary

__all__ = ["EVENTS", "SPLITS"]

_KINDS = ["view", "like", "share", "follow"]
_LARGEST_WEIGHT = float(np.finfo(np.float32).max)
_LEAST_USERS = 10
_LEAST_VIDEOS = 10
"""Below these, a metric of the part says nothing."""


def _tables(_snapshot: Snapshot) -> list[str]:
    return ["interactions"]


def _summarise_events(material: Material, table: str) -> pd.DataFrame:
    tables = material.tables
    return interaction_summary(tables[table], tables["users"], tables["videos"], material.now)


def _expect_of_events(_material: Material, _table: str) -> list[Expectation]:
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, description="there is at least one event"),
        gxe.ExpectColumnValuesToBeInSet(
            column="user_known", value_set=[True], description="every event's user is in the users table"
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="video_known", value_set=[True], description="every event's video is in the videos table"
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="kind", value_set=_KINDS, description=f"the kind is one of {', '.join(_KINDS)}"
        ),
        gxe.ExpectColumnValuesToNotBeNull(column="weight", description="no weight is NaN"),
        gxe.ExpectColumnValuesToBeBetween(
            column="weight",
            min_value=0,
            strict_min=True,
            max_value=_LARGEST_WEIGHT,
            description="every weight is positive and finite",
        ),
        gxe.ExpectColumnValuesToBeBetween(column="age_hours", min_value=0, description="no event lies in the future"),
        gxe.ExpectColumnValuesToBeInSet(
            column="repeated", value_set=[False], description="a user has one event with a video at a time"
        ),
    ]


def _summarise_splits(material: Material, table: str) -> pd.DataFrame:
    return split_summary(material.tables[table], material.snapshot.split)


def _expect_of_splits(_material: Material, _table: str) -> list[Expectation]:
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column="events", min_value=1, description="train, validation and test all hold events"
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="users", min_value=_LEAST_USERS, description=f"every part has at least {_LEAST_USERS} users"
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="videos", min_value=_LEAST_VIDEOS, description=f"every part has at least {_LEAST_VIDEOS} videos"
        ),
    ]


EVENTS = Suite(
    tables=_tables, summarise=_summarise_events, expectations=_expect_of_events, identity=("user_id", "video_id")
)
SPLITS = Suite(tables=_tables, summarise=_summarise_splits, expectations=_expect_of_splits, identity=("part",))
