"""Two-hop videos and networks as of midnights, against loops over all events."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from feature_repo.views.neighbours import heaviest

Row = dict[str, Any]
Lists = list[tuple[str, int, list[str], list[float]]]


def distinct(rows: list[Row]) -> list[Row]:
    """Each event once, from its first arrival on."""
    first: dict[tuple[Any, ...], Row] = {}
    for row in sorted(rows, key=lambda r: r["ingested_at"]):
        first.setdefault(tuple(value for name, value in row.items() if name != "ingested_at"), row)
    return list(first.values())


def midnights(worlds: Any, rows: list[Row], column: str, who: str) -> list[int]:
    """The first midnights after something of one's own became known."""
    return sorted({(row["ingested_at"] // worlds.DAY + 1) * worlds.DAY for row in rows if row[column] == who})


def recent(rows: list[Row], key: str, item: str, who: str, kept: int) -> list[str]:
    latest: dict[str, int] = {}
    for row in rows:
        if row[key] == who:
            latest[row[item]] = max(latest.get(row[item], row["event_time"]), row["event_time"])
    return sorted(latest, key=lambda name: (-latest[name], name))[:kept]


def top(scores: Counter[str], kept: int) -> tuple[list[str], list[float]]:
    chosen = sorted((name for name in scores if scores[name] > 0), key=lambda name: (-scores[name], name))[:kept]
    return chosen, [float(scores[name]) for name in chosen]


def expected_lists(worlds: Any, rows: list[Row], users: set[str], bounds: tuple[int, int], hops: int) -> Lists:
    """The rows of some users; what others did counts all the same."""
    answer: Lists = []
    kept, longest = bounds
    rows = distinct(rows)
    for user in sorted(users):
        before: tuple[list[str], list[float]] = ([], [])
        for midnight in midnights(worlds, rows, "user_id", user):
            known = [row for row in rows if row["ingested_at"] < midnight]
            viewers = {v: recent(known, "video_id", "user_id", v, kept) for v in {row["video_id"] for row in known}}
            videos = {u: recent(known, "user_id", "video_id", u, kept) for u in {row["user_id"] for row in known}}
            scores: Counter[str] = Counter()
            for video in videos[user]:
                for other in viewers[video]:
                    scores.update(videos[other] if hops == 2 else [other])
            for name in [user] if hops == 1 else {row["video_id"] for row in known if row["user_id"] == user}:
                scores[name] = 0
            now = top(scores, longest)
            if now != before:
                answer.append((user, midnight, *now))
            before = now
    return answer


def as_lists(found: list[Row], feature: str) -> Lists:
    return [(row["key"], row["at"], row[feature], row["weights"]) for row in found]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_lists_equal_the_oracle(worlds: Any, data: st.DataObject) -> None:
    rows = data.draw(worlds.events(kinds=("view", "like", "share"), most=24))
    tables = {"interactions": worlds.table("interactions", rows)}
    with worlds.limits(recent=2, neighbours=2):
        two_hop = worlds.build("user_two_hop", tables)
        co_like = worlds.build("user_network", tables, name="user_network_co_like")
    users = {"u0", "u1", "u2"}
    assert as_lists(two_hop, "video_ids") == expected_lists(worlds, rows, users, (2, 2), hops=2)
    likes = [row for row in rows if row["kind"] == "like"]
    assert as_lists(co_like, "neighbour_ids") == expected_lists(worlds, likes, users, (2, 2), hops=1)


@pytest.mark.parametrize("hops", [1, 2])
def test_lists_with_the_true_bounds(worlds: Any, hops: int) -> None:
    """More than 20 videos a user, more than 20 users a video and more than 50 candidates; one event in ten is late."""
    rng = np.random.default_rng(7)
    rows = []
    for _ in range(4000):
        time = worlds.ZERO + int(rng.integers(3 * worlds.DAY))
        late = int(rng.integers(2 * worlds.DAY)) if rng.random() < 0.1 else 0
        rows.append(
            {"user_id": f"u{rng.integers(70)}", "video_id": f"v{rng.integers(160)}", "kind": "like", "weight": 1.0}
            | {"event_time": time, "ingested_at": time + late}
        )
    tables = {"interactions": worlds.table("interactions", rows)}
    if hops == 1:
        found = as_lists(worlds.build("user_network", tables, name="user_network_co_like"), "neighbour_ids")
    else:
        found = as_lists(worlds.build("user_two_hop", tables), "video_ids")
    assert max(len(ids) for _, _, ids, _ in found) == 50
    some = {"u1", "u2", "u3"}
    assert [line for line in found if line[0] in some] == expected_lists(worlds, rows, some, (20, 50), hops)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_networks_of_edges_equal_the_oracle(worlds: Any, data: st.DataObject) -> None:
    """Weights add up, negative ones too; a repeated row counts once, a tie to oneself never."""
    events = data.draw(worlds.events(users="source_id", items="target_id", kinds=(None,), most=24))
    weights = data.draw(st.lists(st.sampled_from([1.0, 0.5, -1.0]), min_size=4, max_size=4))
    rows = [
        row | {"target_id": "u" + row["target_id"][1], "weight": weights[row["event_time"] % 4], "network": "follow"}
        for row in events
    ]
    others = [row | {"network": "repost", "target_id": "u9"} for row in rows[:3]]
    edges = {"edges": worlds.table("edges", rows + others)}
    with worlds.limits(neighbours=2):
        found = worlds.build("user_network", edges, name="user_network_follow")
        for who in {row["source_id"] for row in rows}:
            own = {"edges": worlds.table("edges", [row for row in rows if row["source_id"] == who])}
            alone = worlds.build("user_network", own, name="user_network_follow")
            assert alone == [row for row in found if row["key"] == who]
    expected: Lists = []
    for who in sorted({row["source_id"] for row in rows}):
        before: tuple[list[str], list[float]] = ([], [])
        for midnight in midnights(worlds, distinct(rows), "source_id", who):
            acts = {
                (row["target_id"], row["event_time"]): row["weight"]
                for row in rows
                if row["source_id"] == who != row["target_id"] and row["ingested_at"] < midnight
            }
            sums: Counter[str] = Counter()
            for (target, _), weight in acts.items():
                sums[target] += weight  # type: ignore[assignment]
            now = top(sums, 2)
            if now != before:
                expected.append((who, midnight, *now))
            before = now
    assert as_lists(found, "neighbour_ids") == expected


def test_edges_named_co_like_go_before_computed_ones(worlds: Any) -> None:
    moment = {"event_time": worlds.ZERO, "ingested_at": worlds.ZERO}
    likes = [{"user_id": user, "video_id": "v", "kind": "like", "weight": 1.0} | moment for user in ("u0", "u1")]
    edges = [{"network": "co_like", "source_id": "u0", "target_id": "u5", "weight": 2.0} | moment]
    tables = {"interactions": worlds.table("interactions", likes), "edges": worlds.table("edges", edges)}
    found = worlds.build("user_network", tables, name="user_network_co_like")
    midnight = worlds.ZERO + worlds.DAY
    assert as_lists(found, "neighbour_ids") == [("u0", midnight, ["u5"], [2.0])]
    tables["edges"] = worlds.table("edges", [edges[0] | {"network": "follow"}])
    found = worlds.build("user_network", tables, name="user_network_co_like")
    assert as_lists(found, "neighbour_ids") == [("u0", midnight, ["u1"], [1.0]), ("u1", midnight, ["u0"], [1.0])]


def test_a_tie_that_is_undone_leaves_the_list(worlds: Any) -> None:
    first = {"network": "follow", "source_id": "u0", "target_id": "u1"}
    acts = [(1.0, worlds.ZERO), (-1.0, worlds.ZERO + worlds.DAY)]
    rows = [first | {"weight": weight, "event_time": time, "ingested_at": time} for weight, time in acts]
    found = worlds.build("user_network", {"edges": worlds.table("edges", rows)}, name="user_network_follow")
    day = worlds.DAY
    assert as_lists(found, "neighbour_ids") == [
        ("u0", worlds.ZERO + day, ["u1"], [1.0]),
        ("u0", worlds.ZERO + 2 * day, [], []),
    ]


def test_the_heaviest_of_many_scores() -> None:
    """Rows with fewer and more than 50 entries, ties, scores that are not positive, and scores above all levels."""
    rng = np.random.default_rng(2)
    dense = np.stack([rng.integers(-3, high, 200) for high in (1, 2, 4, 60, 70, 2000)] + [np.full(200, 400)])
    dense[3, rng.random(200) < 0.8] = 0
    lengths, columns, weights = heaviest(csr_matrix(dense))
    expected = [[c for c in np.lexsort((np.arange(200), -row)) if row[c] > 0][:50] for row in dense]
    assert lengths.tolist() == [len(row) for row in expected]
    assert columns.tolist() == [column for row in expected for column in row]
    assert weights.tolist() == [dense[r, column] for r, row in enumerate(expected) for column in row]
