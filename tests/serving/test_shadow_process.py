"""What the process of a shadow makes of its lines."""

import io
import json
import math
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.messages import RecommendedItem
from serving.recommend import Query, Ranker
from serving.shadow_process import answer_until_closed, command_of_shadow, one_at_a_time

ASKED = {"user_id": "u0", "history": ["v0"], "exclude": [], "k": 2}


def task(response_id: str, **query: Any) -> dict[str, Any]:
    return {
        "id": response_id,
        "offered_at": time.monotonic(),
        "deadline_s": 60.0,
        "reading_ms": 7.0,
        "query": ASKED | query,
    }


def told(ranker: Ranker, rank: Callable[[Query], Any], *tasks: dict[str, Any]) -> list[dict[str, Any]]:
    """What is written after the first line, which says that the version is ready."""
    source, sink = io.BytesIO(b"".join(json.dumps(each).encode() + b"\n" for each in tasks)), io.BytesIO()
    answer_until_closed(ranker, rank, source, sink)
    first, *others = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert first == {"ready": "1"}
    return others


def test_lists_are_the_versions_own(ranker: Ranker) -> None:
    wanted = [item.as_dict() for item in ranker.rank(Query("u0", ("v0",), ("v1",), 2))]
    first, second = told(ranker, one_at_a_time(ranker), task("a1"), task("a2", exclude=["v1"]))
    assert [item["item_id"] for item in first["items"]] == ["v1", "v2"]
    assert second["items"] == wanted
    assert (second["id"], second["error"]) == ("a2", None)
    assert second["latency_ms"] > 7.0


def test_what_is_left_out_is_so_from_there_on(ranker: Ranker) -> None:
    lists = told(ranker, ranker.rank, task("a1"), {"left_out": ["v1"]}, task("a2"), {"left_out": []}, task("a3"))
    assert [said["items"][0]["item_id"] for said in lists] == ["v1", "v2", "v1"]


def test_what_waited_too_long_is_late(ranker: Ranker) -> None:
    late = task("a1") | {"offered_at": time.monotonic() - 61}
    assert told(ranker, ranker.rank, late, task("a2"))[0] == {"id": "a1", "late": True}


def item(video: str, score: float) -> RecommendedItem:
    return RecommendedItem(item_id=video, score=score, step="popular")


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([item("v1", math.nan)], "score nan"),
        ([item("v1", math.inf)], "score inf"),
        ([item("v1", 3.0), item("v1", 2.0)], "a video twice"),
        ([item("v1", 3.0), item("v2", 2.0), item("v3", 1.0)], "3 videos"),
        ([item("w9", 3.0)], "video 'w9', which the version does not know"),
        (None, "TypeError"),
        ([np.zeros(3)], "AttributeError"),
    ],
)
def test_nonsense_is_an_error_of_the_shadow(ranker: Ranker, items: object, said: str) -> None:
    (answer,) = told(ranker, lambda _: items, task("a1"))
    assert said in answer["error"]
    assert answer["items"] == []


@pytest.mark.parametrize(("yields", "policy", "niceness"), [("true", os.SCHED_IDLE, 19), ("false", os.SCHED_OTHER, 0)])
def test_it_gives_way_unless_told_otherwise(tmp_path: Path, yields: str, policy: int, niceness: int) -> None:
    *command, _ = command_of_shadow(tmp_path, "1")
    environment = os.environ | {"BACKBEAT_SHADOW_YIELDS": yields}
    # A parent that is gone ends it before it loads anything; what it had become can be read until it is waited for.
    with subprocess.Popen([*command, "1"], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b""
        assert os.sched_getscheduler(process.pid) == policy
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.nice(0) + niceness
