"""What any offline store must get right before features may come from it: other stores were seen to drop rows."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from contracts.home import Home
from contracts.settings import Settings
from feature_repo.quiet import quietly
from feature_repo.store import open_store

with quietly():
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Array, Float32, Int64

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
S = timedelta(seconds=1)
TTL = timedelta(hours=1)
ROWS = [  # user, value, event time
    ("plain", 1, NOON - 10 * S),
    ("plain", 2, NOON),
    ("plain", 3, NOON + S),
    ("future", 4, NOON + S),
    ("edge", 5, NOON - TTL),
    ("expired", 6, NOON - TTL - S),
    ("tied", 7, NOON - S),
]
ASKED = ["plain", "future", "edge", "expired", "tied", "nobody", "plain", "plain"]


def oracle(user: str) -> int | None:
    """The newest value not after noon and not older than the TTL, in plain loops."""
    newest: tuple[datetime, int] | None = None
    for name, value, moment in ROWS:
        if name == user and NOON - TTL <= moment <= NOON and (newest is None or moment > newest[0]):
            newest = (moment, value)
    return newest[1] if newest else None


def test_future_expired_and_duplicate_rows(settings: Settings, home: Home, tmp_path: Path) -> None:
    path = tmp_path / "values.parquet"
    rows = pd.DataFrame(ROWS, columns=["user_id", "value", "event_time"])
    rows["vector"] = [[float(value), 0.5] for value in rows["value"]]
    rows.to_parquet(path)
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="values",
        entities=[user],
        schema=[Field(name="value", dtype=Int64), Field(name="vector", dtype=Array(Float32))],
        source=FileSource(name="values", path=str(path), timestamp_field="event_time"),
        ttl=TTL,
    )
    with home.writing("test"):
        home.feast.mkdir()
        store = open_store(settings, home, "contract")
        with quietly():
            store.apply([user, view])
    asked = pd.DataFrame({"user_id": ASKED, "event_timestamp": NOON, "position": range(len(ASKED))})
    answer = store.get_historical_features(asked, ["values:value", "values:vector"]).to_arrow().to_pylist()
    answer.sort(key=lambda row: row["position"])
    assert [row["user_id"] for row in answer] == ASKED, "every row asked for comes back, duplicates included"
    assert [row["value"] for row in answer] == [oracle(user) for user in ASKED]
    assert [row["vector"] for row in answer] == [[oracle(u), 0.5] if oracle(u) else None for u in ASKED], "null, not []"


@pytest.mark.parametrize(("user", "value"), [("plain", 2), ("future", None), ("edge", 5), ("expired", None)])
def test_the_oracle_by_hand(user: str, value: int | None) -> None:
    assert oracle(user) == value
