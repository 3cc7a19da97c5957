"""Histories as of any instant, against a loop over all events."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

Row = dict[str, Any]


def known_history(rows: list[Row], key: str, item: str, who: str, moment: int, length: int) -> list[tuple[str, int]]:
    """The last items by event time of the events known at a moment, with those times."""
    first: dict[tuple[str, str, int], int] = {}
    for row in rows:
        if row[key] == who:
            event = (row[item], row.get("kind", ""), row["event_time"])
            first[event] = min(first.get(event, row["ingested_at"]), row["ingested_at"])
    known = sorted((time, arrival, name, kind) for (name, kind, time), arrival in first.items() if arrival <= moment)
    return [(name, time) for time, _, name, _ in known[-length:]]


def check(worlds: Any, found: list[Row], feature: str, rows: list[Row], key: str, item: str, length: int) -> None:
    arrivals = [row["ingested_at"] for row in rows]
    assert {row["at"] for row in found} <= set(arrivals)
    for who in {row[key] for row in rows}:
        for moment in worlds.probes([row["ingested_at"] for row in rows if row[key] == who]):
            value = worlds.value_at(found, who, moment)
            pairs = [] if value is None else list(zip(value[feature], value["event_times"], strict=True))
            assert pairs == known_history(rows, key, item, who, moment, length), (who, moment - worlds.ZERO)


@pytest.mark.parametrize(
    ("family", "table", "item", "kinds"),
    [
        ("user_history", "interactions", "video_id", ("view", "like")),
        ("user_listens", "listens", "music_id", ("listen", "share")),
    ],
)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_histories_equal_the_oracle(
    worlds: Any, family: str, table: str, item: str, kinds: tuple[str, ...], data: st.DataObject
) -> None:
    rows = data.draw(worlds.events(items=item, kinds=kinds))
    feature = item + "s"
    with worlds.limits(history=3):
        found = worlds.build(family, {table: worlds.table(table, rows)})
        check(worlds, found, feature, rows, "user_id", item, 3)
        newest = worlds.build(family, {table: worlds.table(table, rows)}, newest=True)
        assert newest == worlds.newest_of(found)
        for who in {row["user_id"] for row in rows}:
            own = worlds.table(table, [row for row in rows if row["user_id"] == who])
            assert worlds.build(family, {table: own}) == [row for row in found if row["key"] == who]
    assert worlds.build(family, {table: worlds.table(table, rows[::-1])}) == worlds.build(
        family, {table: worlds.table(table, rows)}
    ), "the order of the table's rows means nothing"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_adopted_music_equals_the_oracle(worlds: Any, data: st.DataObject) -> None:
    """A video counts from its first arrival; one without music, or without an author, never."""
    events = data.draw(worlds.events(users="author_id", items="video_id", kinds=(None,)))
    music = data.draw(st.lists(st.sampled_from(["m0", "m1", None]), min_size=4, max_size=4))
    rows = [row | {"music_id": music[int(row["video_id"][1])]} for row in events]
    orphans = data.draw(st.booleans())
    table = [row | ({"author_id": None} if orphans and row["author_id"] == "u2" else {}) for row in rows]
    with worlds.limits(history=2):
        found = worlds.build("user_adopted_music", {"videos": worlds.table("videos", table)})
    for who in ("u0", "u1", "u2"):
        first: dict[str, Row] = {}
        for row in sorted(table, key=lambda r: (r["ingested_at"], r["event_time"])):
            if row["author_id"] == who and row["music_id"] is not None:
                first.setdefault(row["video_id"], row)
        for moment in worlds.probes([row["ingested_at"] for row in rows]):
            published = sorted(
                (r["event_time"], r["ingested_at"], r["video_id"], r["music_id"])
                for r in first.values()
                if r["ingested_at"] <= moment
            )[-2:]
            value = worlds.value_at(found, who, moment) or {"music_ids": [], "event_times": []}
            assert value["music_ids"] == [music_id for *_, music_id in published]
            assert value["event_times"] == [time for time, *_ in published]


@pytest.mark.parametrize("late", [0.0, 0.3])
def test_fifty_are_kept(worlds: Any, late: float) -> None:
    """Histories longer than what is kept, with ties, repeats and, in one world, a third of the events late."""
    rng = np.random.default_rng(3)
    rows = []
    for user, video, second in zip(
        rng.integers(3, size=400), rng.integers(5, size=400), rng.integers(200, size=400), strict=True
    ):
        time = worlds.ZERO + int(second) * 1_000_000
        known = time + (int(rng.integers(1, 100)) * 1_000_000 if rng.random() < late else 0)
        rows.append(
            {"user_id": f"u{user}", "video_id": f"v{video}", "kind": "view", "weight": 1.0}
            | {"event_time": time, "ingested_at": known}
        )
    found = worlds.build("user_history", {"interactions": worlds.table("interactions", rows)})
    assert max(len(row["video_ids"]) for row in found) == 50
    check(worlds, found, "video_ids", rows, "user_id", "video_id", 50)


def test_what_arrives_behind_the_last_fifty_changes_nothing(worlds: Any) -> None:
    event = {"user_id": "u", "video_id": "v", "kind": "view", "weight": 1.0}
    times = [worlds.ZERO + n for n in range(60)]
    rows = [event | {"event_time": time, "ingested_at": time} for time in times]
    rows.append(event | {"event_time": worlds.ZERO - 1, "ingested_at": worlds.ZERO + worlds.DAY})
    found = worlds.build("user_history", {"interactions": worlds.table("interactions", rows)})
    assert [row["at"] for row in found] == times


def test_no_events_no_rows(worlds: Any) -> None:
    for family, table in (
        ("user_history", "interactions"),
        ("user_listens", "listens"),
        ("user_adopted_music", "videos"),
    ):
        assert worlds.build(family, {table: worlds.table(table, [])}) == []
