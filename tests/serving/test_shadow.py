"""The shadow answers the same query aside, and can neither delay nor break anything."""

import threading
import time

from contracts.platform import ShadowRow
from serving.recommend import Query, Ranker
from serving.shadow import Shadow, ShadowTask

QUERY = Query("u0", ("v0",), (), 2)


def task(response_id: str, age_s: float = 0.0) -> ShadowTask:
    return ShadowTask(response_id, QUERY, reading_ms=7.0, offered_at=time.monotonic() - age_s)


def test_it_records_its_list_under_the_champions_response_id(ranker: Ranker) -> None:
    rows: list[ShadowRow] = []
    shadow = Shadow(ranker, rows.append)
    shadow.offer(task("r1"))
    shadow.close()
    (row,) = rows
    assert (row.response_id, row.version, row.error) == ("r1", "1", None)
    assert [item["video_id"] for item in row.items] == ["v1", "v2"]
    assert row.latency_ms > 7.0
    assert (shadow.answered, shadow.dropped, shadow.failed) == (1, 0, 0)


def test_a_failing_model_is_a_row_and_the_next_query_is_served(broken: Ranker) -> None:
    rows: list[ShadowRow] = []
    shadow = Shadow(broken, rows.append)
    shadow.offer(task("r1"))
    shadow.offer(task("r2"))
    shadow.close()
    assert [(row.response_id, row.error) for row in rows] == [
        ("r1", "RuntimeError: no such tensor"),
        ("r2", "RuntimeError: no such tensor"),
    ]
    assert shadow.failed == 2


def test_a_full_queue_drops_at_once(ranker: Ranker) -> None:
    gate, rows = threading.Event(), list[ShadowRow]()

    def slow(row: ShadowRow) -> None:
        gate.wait()
        rows.append(row)

    shadow = Shadow(ranker, slow, capacity=3)
    shadow.offer(task("first"))
    while shadow.answered == 0:
        time.sleep(0.001)
    started = time.perf_counter()
    for number in range(100):
        shadow.offer(task(f"r{number}"))
    assert time.perf_counter() - started < 0.5
    assert (shadow.dropped, shadow.pending) == (97, 4)
    gate.set()
    shadow.close()
    assert [row.response_id for row in rows] == ["first", "r0", "r1", "r2"]


def test_a_query_that_waited_too_long_is_dropped(ranker: Ranker) -> None:
    rows: list[ShadowRow] = []
    shadow = Shadow(ranker, rows.append, deadline_s=1.0)
    shadow.offer(task("late", age_s=2.0))
    shadow.offer(task("fresh"))
    shadow.close()
    assert [row.response_id for row in rows] == ["fresh"]
    assert shadow.dropped == 1
