"""Per-row facts, against slow loops and hand-worked rows."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa

from contracts.clock import utc_now
from contracts.snapshot import SplitInstants
from contracts.tables import NATURAL_KEYS, VIDEOS
from feature_repo.raw_tables import table_of
from validation.summaries import row_statistics, row_summary, split_summary


def test_facts_of_events(data) -> None:
    events = data.tables["interactions"].slice(0, 4)
    events = pa.concat_tables([events, events.slice(1, 1)])
    last = events["event_time"][3].as_py()
    owners = {"user_id": data.tables["users"]["user_id"].slice(1), "video_id": data.tables["videos"]["video_id"]}
    facts = row_summary(events, owners, ("user_id", "video_id", "kind", "event_time"), last + timedelta(minutes=30))

    assert facts["user_known"].tolist() == [False] * 5
    assert facts["video_known"].tolist() == [True] * 5
    assert facts["age_hours"].iloc[3] == 0.5
    assert facts["repeated"].tolist() == [False, False, False, False, True]


def test_parts_of_the_split_meet_at_the_second(data) -> None:
    split = data.raw.split
    one = timedelta(microseconds=1)
    moments = [split.train_until - one, split.train_until, split.validation_until - one, split.validation_until]
    events = data.tables["interactions"].slice(0, 4)
    times = pa.array(moments, events.schema.field("event_time").type)
    events = events.set_column(4, events.schema.field("event_time"), times)
    parts = split_summary(events, "video_id", split)
    assert parts[["part", "events"]].to_dict("list") == {"part": ["train", "validation", "test"], "events": [1, 2, 1]}


def test_a_part_without_events_is_listed_with_zeros(data) -> None:
    split = SplitInstants(
        train_until=data.raw.split.train_until + timedelta(days=90),
        validation_until=data.raw.split.train_until + timedelta(days=91),
        nominal=False,
    )
    parts = split_summary(data.tables["interactions"], "video_id", split).set_index("part")
    assert parts.loc["validation"].tolist() == [0, 0, 0]
    pd.testing.assert_index_equal(parts.columns, pd.Index(["events", "users", "items"]))


def test_nobody_named_is_nobody_unknown() -> None:
    ids = pa.array(["a", None, "b"], pa.string())
    videos = table_of(VIDEOS, np.zeros(3, np.int64), video_id=pa.array(["1", "2", "3"]), author_id=ids, music_id=ids)
    owners = {"author_id": pa.chunked_array([["a"]]), "music_id": None}
    facts = row_summary(videos, owners, ("video_id",), utc_now())
    assert facts["author_known"].tolist() == [True, True, False]
    assert facts["music_known"].tolist() == [False, True, False], "a table that is not there knows nobody"


def _at(row: pa.Table, moment: datetime) -> pa.Table:
    index = row.schema.get_field_index("event_time")
    return row.set_column(index, row.schema.field(index), pa.array([moment], row.schema.field(index).type))


def test_a_video_is_repeated_at_any_time_and_an_event_only_at_its_own(data) -> None:
    videos, events = data.tables["videos"], data.tables["interactions"]
    again, moved = (_at(rows.slice(0, 1), data.raw.split.validation_until) for rows in (videos, events))
    assert row_summary(pa.concat_tables([videos, again]), {}, NATURAL_KEYS["videos"], utc_now())["repeated"].sum() == 1
    both = pa.concat_tables([events, moved])
    assert not row_summary(both, {}, NATURAL_KEYS["interactions"], utc_now())["repeated"].any()


def test_statistics_of_events(data) -> None:
    events = data.tables["interactions"].slice(0, 4)
    kinds = pa.array(["view", "view", "view", "like"])
    weights = pa.array([1.0, 2.0, 3.0, float("nan")], pa.float32())
    for name, values in (("kind", kinds), ("weight", weights)):
        place = events.schema.get_field_index(name)
        events = events.set_column(place, events.schema.field(place), values)
    assert row_statistics(events, ["user_id", "video_id"]) == {
        "rows": 4,
        "distinct_user": 1,
        "distinct_video": 4,
        "share_view": 0.75,
        "share_like": 0.25,
        "weight_mean": 2,
    }


def test_statistics_of_nothing(data) -> None:
    assert row_statistics(data.tables["interactions"].slice(0, 0), ["user_id"]) == {"rows": 0, "distinct_user": 0}
