"""What a real HTTP server receives, and what becomes of a move where there is none."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from contracts.database import Database
from contracts.errors import BadInput, Conflict
from contracts.promotion_rows import DeliveryRow
from contracts.settings import load_settings
from registry import webhook
from registry.drift import accept_drift
from registry.experiments import start_experiment, stop_experiment
from registry.policy import POLICY_FILE
from registry.requests import approve, reject, request_promotion, withdraw
from registry.waivers import waive
from registry.webhook import EVENTS, deliveries, send_waiting, signature

SURFACE = "video-feed"
SECRET = "sixteen or more characters"


class Listener:
    """A server that keeps what it is sent and answers as it is told."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.received.append((dict(self.headers), body))
                status = listener.answers.pop(0) if listener.answers else 204
                self.send_response(status)
                if status in (301, 302, 307, 308):
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, count: int) -> list[dict[str, Any]]:
        """The first messages, once there are so many."""
        until = time.monotonic() + 90
        while len(self.received) < count and time.monotonic() < until:
            time.sleep(0.05)
        return [json.loads(body) for _, body in self.received]


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A server on a port of its own."""
    listener = Listener()
    yield listener
    listener.server.shutdown()
    listener.server.server_close()


@pytest.fixture
def told(shelf: Any, listener: Listener) -> Any:
    """A registry that tells that server."""
    shelf.settings = load_settings(home=shelf.home.root, webhook_url=listener.url, webhook_secret=SECRET)
    policy = '[every.moves.champion]\ngates = ["package", "validation"]\n'
    (shelf.home.root / POLICY_FILE).write_text(policy)
    shelf.judge()
    for _ in range(2):
        shelf.register()
    return shelf


@pytest.fixture
def held_back(told: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same, but nothing is sent before a test sends it."""
    for module in ("registry.writing", "registry.webhook"):
        monkeypatch.setattr(f"{module}.start_sending", lambda *_: None)
    return told


def _states(shelf: Any) -> list[tuple[str, str, int]]:
    database = Database(shelf.settings, shelf.home)
    found = [(d.event, d.state, d.attempts) for d in reversed(deliveries(database))]
    database.close()
    return found


def _send(shelf: Any, stay: float = 0) -> int:
    database = Database(shelf.settings, shelf.home)
    try:
        return send_waiting(shelf.settings, database, stay)
    finally:
        database.close()


def test_a_move_is_told_by_a_process_of_its_own_and_signed(told: Any, listener: Listener) -> None:
    told.promote("1")
    (message,) = listener.wait(1)
    assert (message["event"], message["surface"], message["version"], message["after"], message["actor"]) == (
        "moved",
        SURFACE,
        "1",
        "champion",
        "tester",
    )
    assert [verdict["gate"] for verdict in message["verdicts"]] == ["package", "validation"]
    headers, body = listener.received[0]
    assert (headers["X-Backbeat-Event"], headers["X-Backbeat-Delivery"]) == ("moved", message["id"])
    timestamp = headers["X-Backbeat-Timestamp"]
    assert abs(int(timestamp) - time.time()) < 100
    wanted = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["X-Backbeat-Signature"] == f"sha256={wanted}" == signature(SECRET, timestamp, body)
    assert signature(SECRET, timestamp, body + b" ") != f"sha256={wanted}"
    until = time.monotonic() + 30
    while _states(told) != [("moved", "delivered", 1)] and time.monotonic() < until:
        time.sleep(0.05)
    assert _states(told) == [("moved", "delivered", 1)]


def test_every_event_is_told(held_back: Any, listener: Listener) -> None:
    settings, home = held_back.settings, held_back.home
    held_back.promote("1")
    held_back.promote("2")
    held_back.rollback()
    requests = []
    for _ in range(2):
        asked = request_promotion(settings, home, SURFACE, "2", "champion", "x", "ann", replay=lambda _: None)
        requests.append(asked.id)
        (reject if len(requests) == 1 else withdraw)(settings, home, asked.id, "ann", "no")
    asked = request_promotion(settings, home, SURFACE, "2", "champion", "x", "ann", replay=lambda _: None)
    approve(settings, home, asked.id, "bob", "y", replay=lambda _: None)
    waive(settings, home, SURFACE, "1", "validation", "bob", "z", 1)
    held_back.client.set_registered_model_alias(SURFACE, "champion", "1")
    with pytest.raises(Conflict):
        held_back.promote("1", to="shadow")
    accept_drift(settings, home, SURFACE, "so be it", "ann")
    start_experiment(settings, home, SURFACE, "e", "ab", "ann", "y", challenger="2")
    stop_experiment(settings, home, "e", "ann", "z")
    assert _send(held_back) == len(listener.received)
    events = [json.loads(body)["event"] for _, body in listener.received]
    assert events == [
        "moved",
        "moved",
        "rolled_back",
        "requested",
        "rejected",
        "requested",
        "withdrawn",
        "requested",
        "approved",
        "moved",
        "waived",
        "drift",
        "drift",
        "experiment_started",
        "experiment_ended",
    ]
    assert set(events) == set(EVENTS)


def test_what_is_not_taken_is_tried_again(held_back: Any, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_PAUSES_S", (0.1, 0.1, 0.1))
    listener.answers = [500, 302]
    held_back.promote("1")
    assert _send(held_back, stay=30) == 1
    assert len(listener.received) == 3, "a redirection is not followed"
    assert len({body for _, body in listener.received}) == 1
    assert _states(held_back) == [("moved", "delivered", 3)]


def test_nobody_listens_and_the_move_is_made(
    held_back: Any, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_PAUSES_S", (0.05,))
    listener.server.shutdown()
    listener.server.server_close()
    assert held_back.promote("1").outcome == "moved"
    assert _send(held_back, stay=30) == 0
    assert _states(held_back) == [("moved", "failed", 2)]
    database = Database(held_back.settings, held_back.home)
    assert "Connection refused" in str(deliveries(database)[0].error)
    database.close()


def test_a_sender_that_cannot_be_started_fails_no_move(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr("subprocess.Popen", broken)
    assert told.promote("1").outcome == "moved"
    assert _states(told) == [("moved", "waiting", 0)]


def test_two_senders_do_not_send_the_same(held_back: Any, listener: Listener) -> None:
    held_back.promote("1")
    held_back.promote("2")
    senders = [threading.Thread(target=_send, args=(held_back,)) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    names = [headers["X-Backbeat-Delivery"] for headers, _ in listener.received]
    assert len(names) == len(set(names)) == 2


def test_nothing_is_recorded_where_no_webhook_is_set(shelf: Any) -> None:
    shelf.judge()
    shelf.register()
    shelf.promote("1", to="shadow")
    database = Database(shelf.settings, shelf.home)
    with database.session() as session:
        assert session.query(DeliveryRow).count() == 0
    assert send_waiting(shelf.settings, database) == 0
    database.close()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"webhook_url": "http://127.0.0.1/x"}, "WEBHOOK_SECRET beside it"),
        ({"webhook_url": "ftp://127.0.0.1/x", "webhook_secret": SECRET}, "BACKBEAT_WEBHOOK_URL"),
        ({"webhook_secret": "short"}, "BACKBEAT_WEBHOOK_SECRET"),
    ],
)
def test_settings_that_could_not_work(tmp_path: Any, overrides: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        load_settings(home=tmp_path, **overrides)
    assert "found 'short'" not in str(caught.value), "a secret is not repeated"
