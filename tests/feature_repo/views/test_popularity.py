"""Popularity as of any instant, against a loop over all events."""

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

Row = dict[str, Any]


def known_popularity(worlds: Any, rows: list[Row], video: str, moment: int, as_of: int) -> dict[str, Any]:
    """Counts of the events known at a moment; its hours are the 168 clock hours up to that of ``as_of``."""
    first: dict[tuple[str, str, int], int] = {}
    for row in rows:
        if row["video_id"] == video and row["kind"] in ("view", "like"):
            event = (row["user_id"], row["kind"], row["event_time"])
            first[event] = min(first.get(event, row["ingested_at"]), row["ingested_at"])
    known = [(kind, time // worlds.HOUR) for (_, kind, time), arrival in first.items() if arrival <= moment]
    hours = Counter(known)
    recent = sorted({hour for _, hour in known if as_of // worlds.HOUR - 168 < hour <= as_of // worlds.HOUR})
    return {
        "views": sum(kind == "view" for kind, _ in known),
        "likes": sum(kind == "like" for kind, _ in known),
        "hours": [hour * worlds.HOUR for hour in recent],
        "hour_views": [hours["view", hour] for hour in recent],
        "hour_likes": [hours["like", hour] for hour in recent],
    }


def check(worlds: Any, found: list[Row], rows: list[Row]) -> None:
    counted = [row for row in rows if row["kind"] in ("view", "like")]
    assert {row["key"] for row in found} == {row["video_id"] for row in counted}
    for video in {row["video_id"] for row in rows}:
        for moment in worlds.probes([row["ingested_at"] for row in rows if row["video_id"] == video]):
            value = dict(worlds.value_at(found, video, moment) or {"key": video, "at": moment})
            del value["key"]
            expected = known_popularity(worlds, rows, video, moment, value.pop("at"))
            assert value == (expected if expected["views"] + expected["likes"] else {}), (video, moment - worlds.ZERO)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_popularity_equals_the_oracle(worlds: Any, data: st.DataObject) -> None:
    rows = data.draw(worlds.events(kinds=("view", "like", "share"), most=20))
    table = worlds.table("interactions", rows)
    with worlds.limits():
        found = worlds.build("video_popularity", {"interactions": table})
        check(worlds, found, rows)
        assert worlds.build("video_popularity", {"interactions": table}, newest=True) == worlds.newest_of(found)
        for video in {row["video_id"] for row in rows}:
            own = worlds.table("interactions", [row for row in rows if row["video_id"] == video])
            assert worlds.build("video_popularity", {"interactions": own}) == [r for r in found if r["key"] == video]


def test_a_busy_fortnight(worlds: Any) -> None:
    """Many events in every hour, one in five late by up to nine days: the week's window moves on."""
    rng = np.random.default_rng(5)
    rows = []
    for _ in range(500):
        time = worlds.ZERO + int(rng.integers(14 * 24 * 4)) * worlds.HOUR // 4
        late = int(rng.integers(9 * 24)) * worlds.HOUR if rng.random() < 0.2 else 0
        rows.append(
            {"user_id": f"u{rng.integers(40)}", "video_id": f"v{rng.integers(2)}", "weight": 1.0}
            | {"kind": str(rng.choice(["view", "like"])), "event_time": time, "ingested_at": time + late}
        )
    found = worlds.build("video_popularity", {"interactions": worlds.table("interactions", rows)})
    assert max(len(row["hours"]) for row in found) > 60
    check(worlds, found, rows)
