"""The process of a shadow: loads one version, and answers what it reads until there is no more to read.

Run as ``python -m serving.shadow_process PACKAGE VERSION PARENT``. It reads and writes one JSON document a line.

Read are queries, ``{"id", "offered_at", "deadline_s", "reading_ms", "query"}``, the items that are returned no more,
``{"left_out"}``, and the snapshot whose new items are returned, ``{"newest"}``. Written are ``{"ready": version}``
once, or ``{"fault"}``; then for each query in its turn what became of it: ``{"id", "items", "latency_ms", "error"}``,
or ``{"id", "late"}``.

It has the lowest priority there is, so that whatever it does, the champion's process is given the processor at once,
unless ``BACKBEAT_SHADOW_YIELDS`` is false. A latency is therefore processor time: the time on the clock would say how
busy the champion was.
"""

import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from contracts.errors import BackbeatError, BadInput
from contracts.process import prepare_process
from contracts.settings import load_settings
from serving.lifeline import end_with_parent

if TYPE_CHECKING:
    from contracts.messages import RecommendedItem
    from serving.recommend import Query, Ranker

__all__ = ["answer_until_closed", "command_of_shadow", "main", "one_at_a_time", "yield_to_others"]

_LEAST = 0
"""Of the priorities of CUDA's streams, of which lower numbers are higher."""

_LOG = logging.getLogger("backbeat.serving")


def command_of_shadow(directory: Path, version: str) -> list[str]:
    """What starts the process of a version, as a child of this one."""
    # Without -P a folder named `training` in the working directory would be run instead of ours.
    return [sys.executable, "-P", "-m", "serving.shadow_process", str(directory), version, str(os.getpid())]


def yield_to_others() -> None:
    """Give this process, and the threads it will start, the lowest priority that there is without being root."""
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):  # of Linux: gives way at once to whoever wakes, not after a slice of time
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def one_at_a_time(ranker: "Ranker") -> "Callable[[Query], Sequence[RecommendedItem]]":
    """What a sound shadow answers with.

    On a GPU it computes in a stream of the least priority, that of the thread which calls this.
    """
    import torch

    if ranker.package.recommender.device.type == "cuda":
        torch.cuda.set_stream(torch.cuda.Stream(priority=_LEAST))  # type: ignore[no-untyped-call]
    return ranker.rank


def answer_until_closed(
    ranker: "Ranker",
    rank: "Callable[[Query], Sequence[RecommendedItem]]",
    source: IO[bytes],
    sink: IO[bytes],
    admit: Callable[[str], object] = lambda _: None,
) -> None:
    """Say that the version is ready, then answer until nothing more can be read.

    Args:
        ranker: The version; knows the videos.
        rank: Answers a query.
        source: Lines to read.
        sink: Lines to write; each is written at once.
        admit: Has the version return the new items of a snapshot.
    """
    from pydantic import TypeAdapter

    from serving.recommend import Query

    reader = TypeAdapter(Query)
    left_out: list[str] = []
    _say(sink, {"ready": ranker.version})
    for line in source:
        task = json.loads(line)
        if "left_out" in task:
            left_out = task["left_out"]
            ranker.leave_out(left_out)
        elif "newest" in task:
            _try(ranker.version, admit, task["newest"])
            ranker.leave_out(left_out)
        elif time.monotonic() - task["offered_at"] > task["deadline_s"]:
            _say(sink, {"id": task["id"], "late": True})
        else:
            query = reader.validate_python(task["query"])
            _say(sink, _answer(ranker, rank, query, task))


def _try(version: str, admit: Callable[[str], object], snapshot_id: str) -> None:
    try:
        admit(snapshot_id)
    except Exception:  # noqa: BLE001 - it answers by the items that it knows
        _LOG.exception("shadow version %s goes without the new items of snapshot %s", version, snapshot_id)


def _answer(
    ranker: "Ranker",
    rank: "Callable[[Query], Sequence[RecommendedItem]]",
    query: "Query",
    task: dict[str, Any],
) -> dict[str, Any]:
    on_processor = ranker.package.recommender.device.type == "cpu"
    clock = time.process_time if on_processor else time.perf_counter
    started, items, fault = clock(), [], None
    try:
        found = rank(query)
        _require_sense(ranker, found, query)
        items = [item.as_dict() for item in found]
    except Exception as error:  # noqa: BLE001 - whatever the model does, the next query may fare better
        fault = f"{type(error).__name__}: {error}"
        _log_once(ranker.version, fault)
    # With the features' reading time, the two versions' latencies say the same thing.
    latency_ms = task["reading_ms"] + (clock() - started) * 1e3
    return {"id": task["id"], "items": items, "latency_ms": latency_ms, "error": fault}


@lru_cache(maxsize=100)
def _log_once(version: str, fault: str) -> None:
    """Log the exception at hand, but not again and again: each failed list is recorded with its fault anyway."""
    _LOG.exception("shadow version %s: %s", version, fault)


def _require_sense(ranker: "Ranker", items: "Sequence[RecommendedItem]", query: "Query") -> None:
    """Refuse a list that could not have been served; a database would refuse some of them, and all beside them."""
    ids = [item.item_id for item in items]
    unknown = [video for video, row in zip(ids, ranker.items.rows(ids), strict=True) if row < 0]
    unordered = [item.score for item in items if not math.isfinite(item.score)]
    found = None
    if len(ids) > query.k:
        found = f"{len(ids)} videos"
    elif unknown:
        found = f"video {unknown[0]!r}, which the version does not know"
    elif len(set(ids)) < len(ids):
        found = "a video twice"
    elif unordered:
        found = f"score {unordered[0]}"
    if found is not None:
        raise BadInput(
            f"list of shadow version {ranker.version}",
            found=found,
            expected=f"at most {query.k} distinct videos that it knows, with finite scores",
            next_step="train the version again; do not promote it",
        )


def _say(sink: IO[bytes], document: dict[str, Any]) -> None:
    sink.write(json.dumps(document).encode() + b"\n")
    sink.flush()


def main() -> None:
    """Load the version of the command line and answer what comes on standard input."""
    directory, version, parent = sys.argv[1:]
    if load_settings().shadow_yields:
        yield_to_others()
    end_with_parent(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it in good order
    # Whatever a library prints must not stand between the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as sink:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        try:
            ranker = _load(Path(directory), version)
        except Exception as error:
            _say(
                sink, {"fault": str(error) if isinstance(error, BackbeatError) else f"{type(error).__name__}: {error}"}
            )
            raise SystemExit(1) from error
        admit = partial(_admit, ranker)
        answer_until_closed(ranker, one_at_a_time(ranker), sys.stdin.buffer, sink, admit)


def _admit(ranker: "Ranker", snapshot_id: str) -> None:
    from contracts.home import Home
    from serving.admission import admit_of

    admit_of(Home.open(load_settings()), snapshot_id, ranker)


def _load(directory: Path, version: str) -> "Ranker":
    prepare_process(1)
    from contracts.home import Home
    from serving.proving import known_users, proven_ranker
    from serving.recommend import Query

    settings = load_settings(threads=1)
    ranker = proven_ranker(settings, Home.open(settings), directory, version)
    for user in known_users(ranker):
        ranker.rank(Query(user, (), (), 20))
    return ranker


if __name__ == "__main__":
    main()
