"""What every store and engine must get right; each case is a trap that some store was seen to fall into.

A store is held to the contract by its line in ``conftest.py``.
"""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.quiet import quietly
from tests.feature_repo.stores.conftest import ENGINES, NOON, OFFLINE, ONLINE, named, values

with quietly():
    from feast import Field, RequestSource
    from feast.on_demand_feature_view import on_demand_feature_view
    from feast.types import Int64

S, US, TTL = timedelta(seconds=1), timedelta(microseconds=1), timedelta(hours=1)
ROWS = [  # user, count, event time, known from
    ("plain", 1, NOON - 10 * S, NOON - 10 * S),
    ("plain", 2, NOON, NOON),
    ("plain", 3, NOON + US, NOON + US),
    ("future", 4, NOON + US, NOON + US),
    ("edge", 5, NOON - TTL, NOON - TTL),
    ("expired", 6, NOON - TTL - US, NOON - S),
    ("tied", 7, NOON - S, NOON - S),
    ("tied", 8, NOON - S, NOON),
    ("late", 9, NOON - 2 * S, NOON - 2 * S),
    ("late", 10, NOON - 3 * S, NOON - S),  # arrives behind a newer row
    ("backfilled", 11, NOON - 9 * S, NOON - 9 * S),
    ("backfilled", 12, NOON - 5 * S, NOON + US),  # happened before noon, known only after it
    ("known", 13, NOON - 5 * S, NOON),
    ("null", None, NOON - S, NOON - S),
    ("empty", 0, NOON - S, NOON - S),
]
ASKED = ["plain", "future", "edge", "expired", "tied", "late", "backfilled", "known", "null", "empty", "nobody"]
ASKED += ["plain", "plain"]
FEATURES = ["values:count", "values:vector", "values:words"]


def oracle(rows: list[Any], user: str, moment: datetime, ttl: timedelta | None) -> Any:
    """The count that was known at a moment, in plain loops."""
    best: Any = None
    for row in rows:
        if row[0] == user and row[2] <= moment and row[3] <= moment and (best is None or row[2:] >= best[2:]):
            best = row
    return None if best is None or (ttl and best[2] < moment - ttl) else best[1]


def historical(world: Any, users: list[str], moments: Any, **options: Any) -> pa.Table:
    frame = pd.DataFrame({"user_id": users, "event_timestamp": moments, "position": range(len(users))})
    with quietly():
        job = world.store.get_historical_features(frame, FEATURES, filter_by_created_timestamp=True, **options)
        return job.to_arrow().sort_by("position")  # only our own store promises an order


@pytest.mark.parametrize("offline", named(OFFLINE))
@pytest.mark.parametrize("ttl", [TTL, None])
def test_rows_of_the_past(make_world: Any, offline: str, ttl: timedelta | None) -> None:
    answer = historical(make_world(values(*ROWS), offline=offline, ttl=ttl), ASKED, NOON)
    expected = [oracle(ROWS, user, NOON, ttl) for user in ASKED]
    assert answer["user_id"].to_pylist() == ASKED, "every row asked for comes back, duplicates included"
    assert answer["count"].to_pylist() == expected
    assert answer["vector"].to_pylist() == [None if c is None else [c, 0.5] for c in expected], "null, not []"
    assert answer["words"].to_pylist() == [None if c is None else ["w"] * (c % 3) for c in expected], "[] stays []"


def test_the_oracle_by_hand() -> None:
    expected = {"plain": 2, "future": None, "edge": 5, "expired": None, "tied": 8, "late": 9, "backfilled": 11}
    assert {user: oracle(ROWS, user, NOON, TTL) for user in expected} == expected
    assert oracle(ROWS, "known", NOON, TTL) == 13
    assert oracle(ROWS, "known", NOON - US, TTL) is None


@pytest.mark.parametrize("offline", named(OFFLINE))
def test_a_source_without_rows(make_world: Any, offline: str) -> None:
    answer = historical(make_world(values(), offline=offline), ["a", "b"], NOON)
    assert answer["count"].to_pylist() == [None, None]
    assert answer["vector"].to_pylist() == [None, None]


@pytest.mark.parametrize("offline", named(OFFLINE))
def test_instants_of_other_zones_and_of_none(make_world: Any, offline: str) -> None:
    world = make_world(values(*ROWS), offline=offline)
    zone = timezone(timedelta(hours=5))
    moments = [NOON.astimezone(zone), (NOON - US).astimezone(UTC), NOON.astimezone(UTC)]
    for given_moments, users in (
        (moments, ["plain", "plain", "known"]),
        (
            [NOON.replace(tzinfo=None), (NOON - US).replace(tzinfo=None), NOON.replace(tzinfo=None)],
            ["plain"] * 2 + ["known"],
        ),
        ([each.isoformat(timespec="microseconds") for each in moments], ["plain", "plain", "known"]),
    ):
        answer = historical(world, users, given_moments)
        assert answer["count"].to_pylist() == [2, 1, 13]


@pytest.mark.parametrize("offline", named(OFFLINE))
def test_full_names(make_world: Any, offline: str) -> None:
    answer = historical(make_world(values(*ROWS), offline=offline), ["plain"], NOON, full_feature_names=True)
    assert answer["values__count"].to_pylist() == [2]
    assert "count" not in answer.column_names


def with_on_demand(view: Any) -> Any:
    @on_demand_feature_view(
        sources=[view, RequestSource(name="asked", schema=[Field(name="plus", dtype=Int64)])],
        schema=[Field(name="more", dtype=Int64)],
        mode="pandas",
    )
    def added(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"more": inputs["count"] + inputs["plus"]})

    return added


@pytest.mark.parametrize("offline", named(OFFLINE))
def test_on_demand_features(make_world: Any, offline: str) -> None:
    world = make_world(values(*ROWS), offline=offline, extra=(with_on_demand,))
    frame = pd.DataFrame({"user_id": ["plain", "tied"], "event_timestamp": NOON, "plus": [100, 200]})
    with quietly():
        answer = world.store.get_historical_features(frame, ["added:more"], filter_by_created_timestamp=True).to_arrow()
    assert sorted(answer["more"].to_pylist()) == [102, 208]


INSTANT = st.integers(0, 6).map(lambda n: NOON + n * US)
ROW = st.tuples(st.sampled_from("ab"), st.integers(0, 99), INSTANT, INSTANT)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(ROW, max_size=8),
    st.lists(st.tuples(st.sampled_from("abc"), INSTANT), min_size=1, max_size=6),
    st.sampled_from([None, 2 * US]),
)
def test_random_worlds_offline_and_online(make_world: Any, rows: Any, asked: Any, ttl: Any) -> None:
    world = make_world(values(*rows), ttl=ttl)
    answer = historical(world, [user for user, _ in asked], [moment for _, moment in asked])
    assert answer["count"].to_pylist() == [oracle(rows, user, moment, ttl) for user, moment in asked]
    moment = max(moment for _, moment in asked)
    world.materialize(moment)
    online = world.online.read_table(world.store.config, world.view, list("abc"), ["count"], now=moment)
    assert online["count"].to_pylist() == [oracle(rows, user, moment, ttl) for user in "abc"]


@pytest.mark.parametrize("engine", named(ENGINES))
@pytest.mark.parametrize("online", named(ONLINE))
def test_materialized_is_what_was_known(make_world: Any, online: str, engine: str) -> None:
    world = make_world(values(*ROWS), online=online, engine=engine)
    world.materialize()
    expected = [oracle(ROWS, user, NOON, None) for user in ASKED]
    assert world.read(*ASKED) == expected
    assert world.read(*ASKED, feature="vector") == [None if c is None else [c, 0.5] for c in expected]
    words = world.read(*ASKED, feature="words")
    if engine != "local":  # Feast's own conversion makes null of an empty list
        assert words == [None if c is None else ["w"] * (c % 3) for c in expected], "null and [] stay apart"
    world.materialize(NOON + S, NOON)  # the next window brings what became known meanwhile, and nothing else changes
    assert world.read(*ASKED) == [oracle(ROWS, user, NOON + S, None) for user in ASKED]
    world.materialize(NOON)  # repeating an older window takes nothing back
    assert world.read(*ASKED) == [oracle(ROWS, user, NOON + S, None) for user in ASKED]


@pytest.mark.parametrize("engine", named(ENGINES))
@pytest.mark.parametrize("online", named(ONLINE))
def test_a_view_without_rows_materializes(make_world: Any, online: str, engine: str) -> None:
    world = make_world(values(), online=online, engine=engine)
    world.materialize()
    assert world.read("a") == [None]
    assert world.write() == 0


@pytest.mark.parametrize("online", named(ONLINE))
@pytest.mark.parametrize("step", [US, S, timedelta(days=30)])
@pytest.mark.parametrize("by", ["columns", "feast"])
def test_the_newest_stays(make_world: Any, online: str, step: timedelta, by: str) -> None:
    world = make_world(values(), online=online)

    def write(*rows: Any) -> None:
        if by == "columns":
            world.write(*rows)
        else:
            frame = values(*rows).to_pandas()
            world.store.write_to_online_store("values", frame)

    write(("u", 1, NOON), ("v", 5, NOON))
    write(("u", 2, NOON - step))
    assert world.read("u") == [1], "an older event never overwrites a newer one"
    write(("u", 3, NOON))
    assert world.read("u") == [3], "the same instant may be corrected"
    write(("u", 4, NOON, NOON + step))
    write(("u", 5, NOON, NOON))
    assert world.read("u") == [4], "of two rows of one instant the one known later stays"
    write(("u", 6, NOON + step))
    assert world.read("u", "v") == [6, 5]
    write(("u", 8, NOON + 3 * step), ("u", 9, NOON + 4 * step), ("u", 7, NOON + 2 * step))
    assert world.read("u") == [9], "the newest of one batch wins in any order"


@pytest.mark.parametrize("online", named(ONLINE))
def test_writes_are_counted(make_world: Any, online: str) -> None:
    world = make_world(values(), online=online)
    assert world.write(("u", 1, NOON), ("v", 1, NOON)) == 2
    assert world.write(("u", 2, NOON - US), ("v", 2, NOON), ("w", 2, NOON)) == 2
    before_1970 = datetime(1969, 7, 20, tzinfo=UTC)
    assert (
        world.write(("old", 1, before_1970), ("old", 2, before_1970 - US), ("epoch", 3, datetime.fromtimestamp(0, UTC)))
        == 2
    )
    read = world.online.read_table(world.store.config, world.view, ["old", "epoch", "v"])
    assert read["event_time"].to_pylist() == [before_1970, datetime.fromtimestamp(0, UTC), NOON]
    assert read["count"].to_pylist() == [1, 3, 2]


@pytest.mark.parametrize("online", named(ONLINE))
def test_expired_rows_are_not_there(make_world: Any, online: str) -> None:
    now = datetime.now(UTC)
    world = make_world(values(), online=online, ttl=TTL)
    world.write(("fresh", 1, now - TTL + timedelta(minutes=10)), ("stale", 2, now - TTL - S), ("edge", 3, NOON))
    assert world.read("fresh", "stale") == [1, None]
    config, view = world.store.config, world.view
    for moment, count in ((NOON + TTL, 3), (NOON + TTL + US, None)):
        assert world.online.read_table(config, view, ["edge"], now=moment)["count"].to_pylist() == [count]
        matrix, present = world.online.read_matrix(config, view, ["edge"], "vector", 2, now=moment)
        assert present.tolist() == [count is not None]
        assert matrix.tolist() == [[3, 0.5] if count else [0, 0]]


@pytest.mark.parametrize("online", named(ONLINE))
def test_reads_keep_order_and_duplicates(make_world: Any, online: str) -> None:
    world = make_world(values(), online=online)
    world.write(*((f"u{n}", n, NOON) for n in range(1, 8)), ("none", None, NOON))
    users = ["u3", "nobody", "u7", "u3", "none", "u1"]
    config, view = world.store.config, world.view
    table = world.online.read_table(config, view, users)
    assert table.column_names == ["user_id", "count", "vector", "words", "event_time"]
    assert table["user_id"].to_pylist() == users
    assert table["count"].to_pylist() == [3, None, 7, 3, None, 1] == world.read(*users)
    assert table["words"].to_pylist() == [[], None, ["w"], [], None, ["w"]]
    assert table["event_time"].to_pylist() == [NOON, None, NOON, NOON, NOON, NOON]
    matrix, present = world.online.read_matrix(config, view, pa.array(users), ["vector", "vector"], 2)
    assert present.tolist() == [True, False, True, True, False, True]
    np.testing.assert_array_equal(matrix[:, 0], [3, 0, 7, 3, 0, 1])
    np.testing.assert_array_equal(matrix[:, :2], matrix[:, 2:])
    assert matrix.dtype == np.float32
    assert world.online.read_table(config, view, [], ["count"]).num_rows == 0
    assert world.online.read_matrix(config, view, [], "vector", 2)[0].shape == (0, 2)


@pytest.mark.parametrize("online", named(ONLINE))
def test_a_dropped_view_leaves_nothing(make_world: Any, online: str) -> None:
    world = make_world(values(), online=online)
    world.write(("u", 1, NOON))
    world.online.update(world.store.config, [world.view], [], [], [], partial=True)
    world.online.update(world.store.config, [], [world.view], [], [], partial=True)
    assert world.read("u") == [None]
    world.write(("u", 2, NOON - S))
    assert world.read("u") == [2], "what was dropped is not newer than anything"
