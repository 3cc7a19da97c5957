"""Reads with a deadline: what is late, what failed, and that a store that hangs is asked again."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from serving.reading import Read, TimedReads


@pytest.fixture
def reads() -> Iterator[TimedReads]:
    reads = TimedReads(threads=2, retry_s=0.1)
    yield reads
    reads.close()


@pytest.fixture
def hanging() -> Iterator[tuple[Callable[[], str], threading.Event]]:
    """A call that ends when the event is set."""
    event = threading.Event()

    def call() -> str:
        event.wait(30)
        return "at last"

    yield call, event
    event.set()


def test_a_read_in_time(reads: TimedReads) -> None:
    assert reads.read(lambda: 7, 5.0) == Read(7, None)
    assert (reads.late, reads.failed) == (0, 0)


@pytest.mark.parametrize("error", [OSError("gone"), TimeoutError("of its own")])
def test_a_read_that_fails(reads: TimedReads, error: Exception) -> None:
    def call() -> None:
        raise error

    assert reads.read(call, 5.0) == Read(None, "failed")
    assert (reads.late, reads.failed) == (0, 1)
    assert reads.read(lambda: 7, 5.0) == Read(7, None)


def test_only_the_first_of_many_waits_for_a_store_that_hangs(
    reads: TimedReads, hanging: tuple[Callable[[], str], threading.Event]
) -> None:
    call, event = hanging
    since = time.monotonic()
    assert reads.read(call, 0.05) == Read(None, "late")
    assert time.monotonic() - since >= 0.05
    since = time.monotonic()
    assert all(reads.read(call, 5.0) == Read(None, "late") for _ in range(20))
    assert time.monotonic() - since < 0.5
    assert reads.late == 21
    event.set()
    while (found := reads.read(lambda: "back", 5.0)).fault:
        time.sleep(0.01)
    assert found.value == "back"


def test_a_store_that_hangs_is_tried_again_while_a_thread_is_free(
    reads: TimedReads, hanging: tuple[Callable[[], str], threading.Event]
) -> None:
    call, _ = hanging
    assert reads.read(call, 0.01).fault == "late"
    time.sleep(0.15)
    assert reads.read(lambda: "by the other thread", 5.0).value == "by the other thread"
    time.sleep(0.15)
    assert reads.read(call, 0.01).fault == "late"
    time.sleep(0.15)
    since = time.monotonic()
    assert reads.read(lambda: "no thread left", 5.0).fault == "late"
    assert time.monotonic() - since < 1


class Store:
    """Fails or works, at a time that is set; what is said of it meanwhile."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now = 1_000.0
        self.reads = TimedReads(threads=1, clock=lambda: self.now)
        self._caplog = caplog

    def fail(self, number: int = 1) -> list[str]:
        def call() -> None:
            raise ConnectionError("refused")

        for _ in range(number):
            assert self.reads.read(call, 5.0).fault == "failed"
        return self._said()

    def work(self) -> list[str]:
        assert self.reads.read(lambda: 7, 5.0).value == 7
        return self._said()

    def _said(self) -> list[str]:
        said = [record.getMessage() for record in self._caplog.records]
        self._caplog.clear()
        return said


@pytest.fixture
def store(caplog: pytest.LogCaptureFixture) -> Iterator[Store]:
    made = Store(caplog)
    yield made
    made.reads.close()


def test_reads_that_fail_are_said_once_a_minute_and_their_end_once(store: Store) -> None:
    assert store.work() == []
    assert store.fail() == ["online features are missing, their reads fail: ConnectionError: refused"]
    assert store.fail(20) == []
    store.now += 59
    assert store.fail() == []
    store.now += 1
    (again,) = store.fail()
    assert (
        again == "online features are missing, their reads fail, 22 since this was last said: ConnectionError: refused"
    )
    assert store.fail() == []
    assert store.work() == ["online features are read again; 24 reads failed"]
    assert store.work() == []


def test_a_store_that_fails_now_and_then_does_not_fill_the_log_either(store: Store) -> None:
    assert len([line for _ in range(20) for line in store.fail() + store.work()]) == 2
    store.now += 61
    assert "20 since this was last said" in store.fail()[0]
    assert store.work() == ["online features are read again; 20 reads failed"]
