"""Feedback is checked, stored once, and acknowledged when it is in the database."""

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BackbeatError, BadInput, Conflict, NotFound, ServiceUnavailable
from contracts.feedback import FeedbackEvent, FeedbackRequest
from contracts.home import Home
from contracts.platform import ResponseRow
from contracts.serving_rows import FeedbackRow
from serving.app import build_app
from serving.feedback import FeedbackLog
from serving.openapi import openapi_document
from serving.records import Recorder
from serving.surfaces import Surfaces


def served(number: int = 1, hours_ago: float = 0.0) -> ResponseRow:
    items = [{"item_id": video, "score": 1.0, "step": "ranked"} for video in ("v1", "v2")]
    at = utc_now() - timedelta(hours=hours_ago)
    return ResponseRow(
        id=f"r{number}", at=at, surface="video-feed", version="1", user_id="u", items=items, latency_ms=1.0
    )


def event(event_id: str = "e1", kind: str = "click", item_id: str = "v1", **values: Any) -> FeedbackEvent:
    return FeedbackEvent.model_validate(
        {"event_id": event_id, "kind": kind, "item_id": item_id, "at": utc_now(), **values}
    )


def request(*events: FeedbackEvent, response: str = "r1") -> FeedbackRequest:
    return FeedbackRequest(response_id=response, events=list(events))


def rows(database: Database) -> list[FeedbackRow]:
    with database.session() as session:
        found = session.query(FeedbackRow).order_by(FeedbackRow.response_id, FeedbackRow.event_id).all()
        session.expunge_all()
        return found


@pytest.fixture
def log_of() -> Iterator[Callable[..., FeedbackLog]]:
    """Maker of logs, which are closed in the end."""
    made: list[FeedbackLog] = []

    def make(database: Database, **values: Any) -> FeedbackLog:
        made.append(FeedbackLog(database, **values))
        return made[-1]

    yield make
    for log in made:
        log.close()


Maker = Callable[..., FeedbackLog]


@pytest.fixture
def log(database: Database, log_of: Maker) -> FeedbackLog:
    with database.session() as session:
        session.add(served(1, hours_ago=3))
    return log_of(database, settle_s=0.2)


def test_events_are_in_the_database_when_they_are_acknowledged(each_database: Database, log_of: Maker) -> None:
    with each_database.session() as session:
        session.add(served())
    log = log_of(each_database)
    watched = event("e2", "watch", "v2", seconds=8.5)
    receipt = log.submit(request(event(), watched)).result(10)
    assert [(each.event_id, each.state, each.late) for each in receipt.events] == [
        ("e1", "stored", False),
        ("e2", "stored", False),
    ]
    kept = rows(each_database)
    assert [(row.event_id, row.kind, row.item_id, row.seconds) for row in kept] == [
        ("e1", "click", "v1", None),
        ("e2", "watch", "v2", 8.5),
    ]
    assert kept[1].at == watched.at
    again = log.submit(request(watched, event("e3", "like"))).result(10)
    assert [each.state for each in again.events] == ["duplicate", "stored"]
    assert len(rows(each_database)) == 3
    assert log.counts() == {"stored": 3, "duplicates": 1, "late": 0, "refused": 0}


def test_late_events_are_taken_and_marked(log: FeedbackLog, database: Database) -> None:
    old = event(at=utc_now() - timedelta(hours=2))
    assert log.submit(request(old)).result(10).events[0].late
    assert not log.submit(request(event("e2"))).result(10).events[0].late
    assert [row.late for row in rows(database)] == [True, False]
    assert log.submit(request(old)).result(10).events[0].late
    assert log.counts() == {"stored": 2, "duplicates": 1, "late": 1, "refused": 0}


def test_how_late_is_late_can_be_set(log_of: Maker, database: Database) -> None:
    with database.session() as session:
        session.add(served())
    log = log_of(database, late_after_s=5)
    at = [utc_now() - timedelta(seconds=seconds) for seconds in (10, 1)]
    receipt = log.submit(request(event("e1", at=at[0]), event("e2", at=at[1]))).result(10)
    assert [each.late for each in receipt.events] == [True, False]


def test_an_event_sent_twice_at_once_is_stored_once(log: FeedbackLog, database: Database) -> None:
    click = event()
    assert [each.state for each in log.submit(request(click, click)).result(10).events] == ["stored", "duplicate"]
    same = event("e2")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: log.submit(request(same)).result(10), range(40)))
    assert sorted(answer.events[0].state for answer in answers) == ["duplicate"] * 39 + ["stored"]
    assert len(rows(database)) == 2


def test_two_services_store_an_event_once(database: Database, log: FeedbackLog, log_of: Maker) -> None:
    other = log_of(database)
    for number in range(20):
        same = request(event(f"e{number}"))
        states = [future.result(10).events[0].state for future in [log.submit(same), other.submit(same)]]
        assert sorted(states) == ["duplicate", "stored"]
    assert len(rows(database)) == 20


@pytest.mark.parametrize(
    ("events", "kind", "said"),
    [
        ([event(item_id="v9")], BadInput, r"events.0.item_id: found 'v9'; expected an item of the served list"),
        ([event(at=utc_now() + timedelta(days=1))], BadInput, r"events.0.at.*now.*clock"),
        ([event(), event("e2", at="0001-01-01T00:00:00+14:00")], BadInput, r"events.1.at: found 0001"),
        ([event(at="9999-12-31T23:59:59-14:00")], BadInput, r"events.0.at: found 9999"),
        ([event(), event(kind="like")], Conflict, r"events.1.event_id 'e1'.*while click of 'v1' has that id"),
    ],
)
def test_of_refused_feedback_nothing_is_stored(
    log: FeedbackLog, database: Database, events: list[FeedbackEvent], kind: type[BackbeatError], said: str
) -> None:
    good = log.submit(request(event("good"))) if kind is BadInput else None
    refused = log.submit(request(*events))
    with pytest.raises(kind, match=said):
        refused.result(10)
    assert [row.event_id for row in rows(database)] == ([] if good is None else ["good"])
    assert log.counts()["refused"] == len(events)


def test_another_event_of_a_stored_id_is_a_conflict(log: FeedbackLog, database: Database) -> None:
    log.submit(request(event())).result(10)
    with pytest.raises(Conflict, match=r"like of 'v2', while click of 'v1'"):
        log.submit(request(event(kind="like", item_id="v2"))).result(10)
    assert [row.kind for row in rows(database)] == ["click"]


def test_feedback_that_comes_before_its_list_waits_for_it(database: Database) -> None:
    recorder = Recorder(database, interval_s=0.3)
    recorder.put(served())
    receipt = recorder.feedback.submit(request(event())).result(10)
    assert receipt.events[0].state == "stored"
    recorder.close()


def test_a_list_that_nobody_served_is_not_found(log: FeedbackLog) -> None:
    started = time.monotonic()
    with pytest.raises(NotFound, match=r"response 'r7': found no served list of that id"):
        log.submit(request(event(), response="r7")).result(10)
    assert 0.15 < time.monotonic() - started < 5


def test_a_list_that_waits_for_its_turn_is_not_unknown(database: Database) -> None:
    recorder = Recorder(database, interval_s=2.5)  # longer than feedback waits for a list that nobody has to write
    recorder.put(served())
    known, unknown = (recorder.feedback.submit(request(event(), response=name)) for name in ("r1", "r7"))
    assert known.result(10).events[0].state == "stored"
    assert not unknown.done(), "until a second round, as the first had begun perhaps"
    assert isinstance(unknown.exception(10), NotFound)
    recorder.close()


def test_closing_answers_what_waits(database: Database) -> None:
    recorder = Recorder(database, interval_s=60)
    recorder.put(served())
    known, unknown = (recorder.feedback.submit(request(event(), response=name)) for name in ("r1", "r7"))
    recorder.close()
    # Whether it was served cannot be told any more: the client is to ask again, not to forget it.
    assert isinstance(unknown.exception(1), ServiceUnavailable)
    assert known.result(1).events[0].state == "stored"


def test_a_failing_database_is_said_and_the_same_events_can_be_sent_again(
    log: FeedbackLog, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)

    def broken() -> object:
        raise OperationalError("insert", {}, Exception("disk I/O error"))

    with monkeypatch.context() as failing:
        failing.setattr(database, "session", broken)
        with pytest.raises(ServiceUnavailable, match="nothing was stored"):
            log.submit(request(event())).result(10)
        failing.setattr(database, "session", lambda: 1 / 0)
        with pytest.raises(BackbeatError, match="a fault of the service"):
            log.submit(request(event())).result(10)
    assert log.submit(request(event())).result(10).events[0].state == "stored"


_KILLED = """
import os, signal, sys
from contracts.clock import utc_now
from contracts.database import Database
from contracts.feedback import FeedbackRequest
from contracts.home import Home
from contracts.settings import load_settings
from serving.feedback import FeedbackLog

settings = load_settings(home=sys.argv[1])
log = FeedbackLog(Database(settings, Home.open(settings)))
event = {"event_id": "e1", "kind": "like", "item_id": "v1", "at": utc_now()}
log.submit(FeedbackRequest(response_id="r1", events=[event])).result(30)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_acknowledged_survives_kill_9(database: Database, home: Home) -> None:
    with home.writing("test"), database.session() as session:
        session.add(served())
    done = subprocess.run([sys.executable, "-c", _KILLED, str(home.root)], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [(row.event_id, row.kind) for row in rows(database)] == [("e1", "like")]


def test_more_than_may_wait_is_refused(
    log_of: Maker, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    gate, entered = threading.Event(), threading.Event()

    def slow() -> object:
        entered.set()
        gate.wait(10)
        raise OperationalError("insert", {}, Exception("slow"))

    log = log_of(database, capacity=1)
    monkeypatch.setattr(database, "session", slow)
    first = log.submit(request(event()))
    assert entered.wait(10)
    log.submit(request(event()))
    with pytest.raises(ServiceUnavailable, match="1 requests that wait"):
        log.submit(request(event()))
    gate.set()
    assert isinstance(first.exception(10), ServiceUnavailable)


@pytest.fixture
def client(log: FeedbackLog) -> Iterator[TestClient]:
    with TestClient(build_app(lambda: Surfaces({}, log)), raise_server_exceptions=False) as client:
        yield client


def body(**values: Any) -> dict[str, Any]:
    return {"event_id": "e1", "kind": "click", "item_id": "v1", "at": utc_now().isoformat(), **values}


def test_feedback_over_http(client: TestClient) -> None:
    before = REGISTRY.get_sample_value("backbeat_feedback_events_total", {"outcome": "stored"}) or 0
    answer = client.post("/feedback", json={"response_id": "r1", "events": [body()]})
    assert answer.status_code == 200
    assert answer.json() == {"response_id": "r1", "events": [{"event_id": "e1", "state": "stored", "late": False}]}
    assert client.get("/status").json()["feedback"] == {"stored": 1, "duplicates": 0, "late": 0, "refused": 0}
    assert REGISTRY.get_sample_value("backbeat_feedback_events_total", {"outcome": "stored"}) == before + 1


@pytest.mark.parametrize(
    ("sent", "status", "code", "subject"),
    [
        ({"response_id": "r7", "events": [body()]}, 404, "not_found", "response 'r7'"),
        ({"response_id": "r1", "events": [body(item_id="v9")]}, 400, "bad_input", "events.0.item_id"),
        ({"response_id": "r1", "events": [body(), body(kind="like")]}, 409, "conflict", "events.1.event_id"),
        ({"response_id": "r1", "events": [body(kind="stare")]}, 400, "bad_input", "'events.0.kind'"),
        ({"response_id": "r1", "events": [body(kind="watch")]}, 400, "bad_input", "'events.0'"),
        ({"response_id": "r1", "events": [body(seconds=3)]}, 400, "bad_input", "'events.0'"),
        ({"response_id": "r1", "events": [body(kind="watch", seconds=-1)]}, 400, "bad_input", "'events.0.seconds'"),
        ({"response_id": "r1", "events": [body(at="2026-01-31T12:00:00")]}, 400, "bad_input", "'events.0.at'"),
        ({"response_id": "r1", "events": [body(event_id="a\0b")]}, 400, "bad_input", "'events.0.event_id'"),
        ({"response_id": "r1", "events": []}, 400, "bad_input", "'events'"),
        ({"response_id": "r1", "events": [body()] * 501}, 400, "bad_input", "'events'"),
        ({"events": [body()]}, 400, "bad_input", "'response_id'"),
    ],
)
def test_refused_feedback_has_the_platforms_form(
    client: TestClient, sent: dict[str, Any], status: int, code: str, subject: str
) -> None:
    answer = client.post("/feedback", json=sent)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert subject in error["subject"]
    assert set(error) == {"code", "subject", "found", "expected", "next"}


def test_the_examples_of_the_description_are_what_the_contracts_say() -> None:
    post = openapi_document()["paths"]["/feedback"]["post"]
    example = post["requestBody"]["content"]["application/json"]["example"]
    answer = post["responses"]["200"]["content"]["application/json"]["example"]
    sent = FeedbackRequest.model_validate(example)
    assert [each["event_id"] for each in answer["events"]] == [each.event_id for each in sent.events]


def test_a_list_that_may_still_wait_to_be_written_is_not_unknown(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.feedback._BEHIND_S", 0.2)
    log = FeedbackLog(database, settle_s=0.05, rounds=lambda: 7)
    event = FeedbackEvent(event_id="e", kind="click", item_id="v1", at=utc_now())
    refused = log.submit(FeedbackRequest(response_id="f" * 32, events=[event]))
    with pytest.raises(ServiceUnavailable, match="waited to be written"):
        refused.result(10)
    assert log.counts()["refused"] == 1
    log.close()
