"""The shadow answers the same query aside, in a process that may do what it likes."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from contracts.messages import Filters
from contracts.platform import ShadowRow
from serving.recommend import Query
from serving.shadow import Shadow, ShadowTask
from tests.serving.waiting import until

QUERY = Query("u0", ("v0",), (), 2)

BEGINNING = """
import json, os, sys, time
def say(**document):
    print(json.dumps(document), flush=True)
def answer(task):
    say(id=task["id"], items=[], latency_ms=1.0, error=None)
"""
READY = BEGINNING + "say(ready='1')\n"
ANSWER = "    if 'id' in task: answer(task)\n"
LOOP = READY + "for line in sys.stdin:\n    task = json.loads(line)\n"


def script(text: str) -> list[str]:
    """A process that speaks as a shadow's does, without a model."""
    return [sys.executable, "-c", text]


def task(response_id: str, age_s: float = 0.0) -> ShadowTask:
    return ShadowTask(response_id, QUERY, reading_ms=7.0, offered_at=time.monotonic() - age_s)


class Recorded(list[ShadowRow]):
    def ids(self) -> list[str]:
        return [row.response_id for row in self]


@contextmanager
def answering(command: list[str], rows: Recorded, **options: Any) -> Iterator[Shadow]:
    """A shadow whose process is ready."""
    shadow = Shadow("1", "hand-made", command, rows.append, **options)
    try:
        until(lambda: shadow.status()["process"])
        yield shadow
    finally:
        shadow.close()


@pytest.fixture
def rows() -> Recorded:
    return Recorded()


def test_it_records_the_models_list_under_the_champions_response_id(
    aside: Callable[..., list[str]], rows: Recorded
) -> None:
    with answering(aside(version="1"), rows) as shadow:
        shadow.offer(task("a1"))
        shadow.leave_out({"v1"})
        shadow.offer(task("a2"))
        assert shadow.close()
    first, second = rows
    assert (first.response_id, first.version, first.error) == ("a1", "1", None)
    assert [item["item_id"] for item in first.items] == ["v1", "v2"]
    assert first.latency_ms > 7.0
    assert [item["item_id"] for item in second.items] == ["v2", "v3"]
    assert (shadow.answered, shadow.dropped, shadow.failed, shadow.ended) == (2, 0, 0, 0)


def test_a_query_goes_over_whole(rows: Recorded) -> None:
    text = LOOP + "    if 'id' in task: say(id=task['id'], items=[task], latency_ms=1.0, error=None)\n"
    with answering(script(text), rows) as shadow:
        query = Query("u", ("a", "ü"), ("b",), 3, Filters(authors=("x",)), around=(("c", 0.1),))
        shadow.offer(ShadowTask("a1", query, 2.0, time.monotonic()))
        assert shadow.close()
    (said,) = rows[0].items
    asked = said["query"]
    assert (asked["user_id"], asked["history"], asked["exclude"], asked["k"]) == ("u", ["a", "ü"], ["b"], 3)
    assert (asked["filters"]["authors"], asked["around"]) == (["x"], [["c", 0.1]])
    assert said["reading_ms"] == 2.0


def test_a_full_queue_drops_at_once(rows: Recorded, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    text = LOOP + f"    while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n" + ANSWER
    with answering(script(text), rows, capacity=3) as shadow:
        started = time.perf_counter()
        for number in range(100):
            shadow.offer(task(f"{number:02}"))
        assert time.perf_counter() - started < 0.5
        assert (shadow.dropped, shadow.pending) == (97, 3)
        gate.touch()
        assert shadow.close()
    assert rows.ids() == ["00", "01", "02"]


def test_a_query_that_waited_too_long_is_dropped(aside: Callable[..., list[str]], rows: Recorded) -> None:
    with answering(aside(), rows, deadline_s=1.0) as shadow:
        shadow.offer(task("aa", age_s=2.0))
        shadow.offer(task("bb"))
        assert shadow.close()
    assert rows.ids() == ["bb"]
    assert (shadow.late, shadow.dropped, shadow.answered) == (1, 0, 1)


def test_the_sample_is_drawn_by_the_response_id_alike_for_all_shadows(rows: Recorded) -> None:
    ids = [f"{number * 2**24:08x}{'0' * 24}" for number in range(256)]  # evenly over all ids
    for _ in range(2):
        with answering(script(LOOP + ANSWER), rows, sample=0.25) as shadow:
            for response_id in ids:
                shadow.offer(task(response_id))
            assert shadow.close()
        assert (shadow.answered, shadow.unsampled, shadow.dropped) == (64, 192, 0)
    assert sorted(rows.ids()) == sorted(2 * ids[:64])


@pytest.mark.parametrize("sample", [0.0, 1.0])
def test_a_sample_of_none_and_of_all(rows: Recorded, sample: float) -> None:
    with answering(script(LOOP + ANSWER), rows, sample=sample) as shadow:
        for response_id in ("0" * 32, "f" * 32):
            shadow.offer(task(response_id))
        shadow.close()
    assert (shadow.answered, shadow.unsampled) == ((2, 0) if sample else (0, 2))


def test_a_process_that_is_killed_fails_at_one_query_and_is_started_again(
    aside: Callable[..., list[str]], rows: Recorded
) -> None:
    killing = ShadowTask("b1", Query("u1", (), (), 2), 7.0, time.monotonic())
    with answering(aside("killed"), rows, deadline_s=600.0, first_wait_s=0.01) as shadow:
        before = shadow.status()["process"]
        for each in (task("a1"), killing, task("a2"), task("a3")):
            shadow.offer(each)
        until(lambda: len(rows) == 4)
        assert shadow.status()["process"] not in (None, before)
        assert shadow.fault is None
    assert rows.ids() == ["a1", "b1", "a2", "a3"]
    assert [row.error for row in rows] == [None, "its process ended by signal 9", None, None]
    assert (shadow.answered, shadow.failed, shadow.dropped, shadow.ended) == (3, 1, 0, 1)


def test_waits_between_starts_double_and_the_fault_stands_meanwhile(rows: Recorded, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    text = f"open({str(starts)!r}, 'a').write(str(__import__('time').monotonic()) + '\\n'); raise SystemExit(3)"
    shadow = Shadow("1", "hand-made", script(text), rows.append, first_wait_s=0.2)
    until(lambda: starts.exists() and len(starts.read_text().splitlines()) == 4)
    assert shadow.fault == "its process ended with code 3"
    assert shadow.status()["process"] is None
    shadow.offer(task("a1"))
    assert not shadow.close()
    moments = [float(line) for line in starts.read_text().splitlines()]
    waits = [after - before for before, after in pairwise(moments)]
    assert all(wait >= least for wait, least in zip(waits, (0.2, 0.4, 0.8), strict=True))
    assert (shadow.dropped, shadow.pending, shadow.ended) == (1, 0, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BEGINNING + "say(fault='weights.safetensors: found 3 bytes')", "weights.safetensors: found 3 bytes"),
        (READY + "print('loading ...', flush=True); time.sleep(60)", "its process said b'loading ...\\n'"),
        (READY + "say(id='zz', items=[], latency_ms=1.0, error=None); time.sleep(60)", "an answer to 'zz'"),
        (READY + "say(items=[]); time.sleep(60)", "its process said"),
        (READY + "print(3, flush=True); time.sleep(60)", "its process said b'3\\n'"),
    ],
)
def test_what_a_process_says_that_makes_no_sense_ends_it(rows: Recorded, text: str, said: str) -> None:
    shadow = Shadow("1", "hand-made", script(text), rows.append, first_wait_s=60.0)
    until(lambda: shadow.fault)
    assert said in (shadow.fault or "")
    shadow.close()
    assert rows == []


def test_a_process_that_cannot_be_started_is_a_fault(rows: Recorded, tmp_path: Path) -> None:
    shadow = Shadow("1", "hand-made", [str(tmp_path / "nothing")], rows.append)
    until(lambda: shadow.fault)
    assert "could not be started" in (shadow.fault or "")
    shadow.close()


def test_a_shadow_that_does_not_come_back_is_ended(rows: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.shadow._CLOSING_S", 0.0)
    with answering(script(READY + "time.sleep(600)"), rows, capacity=4, deadline_s=0.05) as shadow:
        for number in range(9):
            shadow.offer(task(f"{number:02}"))
        assert not shadow.close()
    assert (shadow.dropped, shadow.pending) == (9, 0)


def test_a_process_ends_with_its_shadow_even_before_it_is_ready(rows: Recorded, tmp_path: Path) -> None:
    started = tmp_path / "started"
    shadow = Shadow("1", "hand-made", script(f"open({str(started)!r}, 'w'); input()"), rows.append)
    until(started.exists)
    assert shadow.close()
    assert not any(thread.name.startswith("shadow") for thread in threading.enumerate())


def test_a_shadow_that_has_left_takes_nothing(rows: Recorded) -> None:
    with answering(script(LOOP + ANSWER), rows) as shadow:
        assert shadow.close()
        shadow.offer(task("a1"))
        assert (shadow.dropped, shadow.pending) == (1, 0)


def test_a_row_that_cannot_be_recorded_does_not_end_the_shadow(rows: Recorded) -> None:
    def refuse_the_first(row: ShadowRow) -> None:
        if row.response_id == "a1":
            raise OSError("disk full")
        rows.append(row)

    shadow = Shadow("1", "hand-made", script(LOOP + ANSWER), refuse_the_first)
    shadow.offer(task("a1"))
    shadow.offer(task("a2"))
    until(lambda: shadow.answered == 2)
    shadow.close()
    assert rows.ids() == ["a2"]


def test_every_outcome_is_told(aside: Callable[..., list[str]], rows: Recorded) -> None:
    told: list[str] = []
    with answering(aside("killed"), rows, sample=0.5, count=told.append) as shadow:
        for response_id, age_s in (("00", 0.0), ("01", 9.0), ("ffffffff", 0.0)):
            shadow.offer(task(response_id, age_s))
        shadow.offer(ShadowTask("02", Query("u1", (), (), 2), 0.0, time.monotonic()))
        until(lambda: "failed" in told)
        shadow.close()
        shadow.offer(task("03"))
    assert sorted(told) == ["answered", "dropped", "failed", "late", "unsampled"]
