"""Tasks on a Ray cluster: order, bounds, faults as data, dead workers, interruption."""

import _thread
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.cluster import Cluster, Resources, cluster_of, join_cluster
from contracts.errors import BadInput, NotFound, ServiceUnavailable
from contracts.settings import Settings


def slow_square(number: int) -> int:
    time.sleep(0.2 * (number % 2))
    return number * number


def refuse(subject: str) -> None:
    raise BadInput(subject, found="this", expected="that", next_step="try again")


def fail() -> None:
    raise RuntimeError("as raised there")


def die(mark: Path) -> str:
    if mark.exists():
        return "alive"
    mark.touch()
    os._exit(1)


def wait_for_ever(begun: Path, ended: Path) -> None:
    begun.touch()
    try:
        while True:
            time.sleep(0.05)
    finally:
        ended.touch()


def test_answers_come_in_order_and_arguments_are_drawn_as_needed(ray_cluster: Cluster) -> None:
    drawn: list[int] = []

    def numbers() -> Iterator[tuple[int]]:
        for number in range(9):
            drawn.append(number)
            yield (number,)

    answers = ray_cluster.each(slow_square, numbers(), in_flight=3)
    assert next(answers) == 0
    assert len(drawn) == 3
    assert list(answers) == [n * n for n in range(1, 9)]
    assert list(ray_cluster.each(slow_square, [])) == []


def test_whoever_stops_waits_for_what_is_in_flight(ray_cluster: Cluster, tmp_path: Path) -> None:
    marks = [tmp_path / str(number) for number in range(9)]
    answers = ray_cluster.each(mark_slowly, [(mark,) for mark in marks], in_flight=3)
    assert next(answers) == "0"
    answers.close()
    assert [mark.exists() for mark in marks] == [True] * 3 + [False] * 6, "when close() returns nothing works on"


def mark_slowly(mark: Path) -> str:
    time.sleep(0.3)
    mark.touch()
    return mark.name


def test_a_value_is_shared_once(ray_cluster: Cluster) -> None:
    shared = ray_cluster.share("word")
    assert list(ray_cluster.each(len, [(shared,)] * 3)) == [4, 4, 4]


def test_our_errors_come_back_as_they_are(ray_cluster: Cluster) -> None:
    with pytest.raises(BadInput, match="row 7: found this; expected that") as raised:
        ray_cluster.run(refuse, "row 7")
    assert (raised.value.next_step, raised.value.exit_code) == ("try again", 2)
    with pytest.raises(RuntimeError, match="as raised there"):
        ray_cluster.run(fail)


def test_a_dead_worker(ray_cluster: Cluster, tmp_path: Path) -> None:
    assert list(ray_cluster.each(die, [(tmp_path / "first",)])) == ["alive"]
    with pytest.raises(ServiceUnavailable, match=r"Ray cluster: found WorkerCrashedError.*workers that stay alive"):
        ray_cluster.run(die, tmp_path / "second")
    assert (tmp_path / "second").exists()


def test_an_interruption_reaches_the_task(ray_cluster: Cluster, tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"

    def interrupt() -> None:
        while not begun.exists():
            time.sleep(0.05)
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        ray_cluster.run(wait_for_ever, begun, ended)
    assert ended.exists()


def test_resources_are_those_of_the_settings(ray_cluster: Cluster, settings: Settings) -> None:
    assert Resources.of(settings, ray_cluster) == Resources(1, 0)
    two = settings.model_copy(update={"threads": 2, "device": "auto"})
    assert Resources.of(two, ray_cluster) == Resources(2, 0)
    assert Resources.of(two, ray_cluster).device == "cpu"
    with pytest.raises(NotFound, match="99 CPUs on one node of the Ray cluster: found 2 on the largest"):
        Resources.of(settings.model_copy(update={"threads": 99}), ray_cluster)
    ray_cluster_with_gpu = object.__new__(Cluster)
    ray_cluster_with_gpu.gpus, ray_cluster_with_gpu.largest_cpus = 1, 4
    assert Resources.of(two, ray_cluster_with_gpu) == Resources(2, 1)
    assert Resources.of(two, ray_cluster_with_gpu).device == "cuda"


def test_a_cluster_that_was_joined_before_stays(ray_cluster: Cluster, settings: Settings) -> None:
    with cluster_of(settings) as joined:
        assert joined.cpus == ray_cluster.cpus == 2
    assert ray_cluster.run(len, "abc") == 3


def test_without_ray(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotFound, match=r"Ray: found not installed; expected the extra `ray`.*backbeat\[ray\]"):
        join_cluster(None)


def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ServiceUnavailable, match=r"Ray cluster 127.0.0.1:9: found .*refused; expected a cluster"):
        join_cluster("127.0.0.1:9")
    with pytest.raises(ServiceUnavailable, match=r"Ray cluster ray://127.0.0.1:9: found"):
        join_cluster("ray://127.0.0.1:9")

    def clash(**_: object) -> None:
        raise RuntimeError("Version mismatch: the cluster has Ray 2.1")

    monkeypatch.setattr(ray, "init", clash)
    with pytest.raises(ServiceUnavailable, match="on this machine: found Version mismatch"):
        join_cluster(None)
