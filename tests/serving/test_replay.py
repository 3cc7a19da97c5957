"""The client against a small real service of the same application, and against things that are none."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import serving.replay
from contracts.database import Database
from contracts.errors import NotFound, ServiceUnavailable
from contracts.home import Home
from contracts.snapshot import SplitInstants
from contracts.tables import INTERACTIONS, USERS, VIDEOS
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables, microseconds, table_of
from serving.app import build_app
from serving.comparison import compare
from serving.engine import Engine
from serving.lineup import Lineup
from serving.recommend import Ranker
from serving.records import Recorder
from serving.replay import replay, service_status
from serving.server import free_port
from serving.shadow import Shadow
from serving.surfaces import Surfaces

DAY = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def running(app: Starlette) -> Iterator[str]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def known_users(home: Home) -> Home:
    """A home whose snapshot knows users u0 and u1."""
    times = np.full(2, microseconds(DAY))
    users, videos = pa.array(["u0", "u1"]), pa.array(["v0", "v3"])
    facts = {"kind": pa.array(["view"] * 2), "weight": pa.array([1.0, 1.0], pa.float32())}
    raw = RawTables(
        tables={
            "interactions": table_of(INTERACTIONS, times, user_id=users, video_id=videos, **facts),
            "users": table_of(USERS, times, user_id=users),
            "videos": table_of(VIDEOS, times, video_id=videos),
        },
        specs={},
        split=SplitInstants(train_until=DAY.replace(day=2), validation_until=DAY.replace(day=3), nominal=False),
        dataset="two",
        source="by hand",
    )
    with home.writing("test"):
        write_snapshot(home, raw)
    return home


@pytest.fixture
def app(
    database: Database, ranker: Ranker, histories: Callable[..., Any], aside: Callable[..., list[str]]
) -> Starlette:
    def open_surfaces() -> Surfaces:
        recorder = Recorder(database)
        lineup = Lineup(ranker, histories(), (Shadow("2", "hand-made", aside(), recorder.put),))
        assert lineup.shadows[0].settled(60)
        engine = Engine("video-feed", lineup, recorder)
        return Surfaces({"video-feed": engine}, recorder.feedback)

    return build_app(open_surfaces)


def test_every_request_is_answered_recorded_and_shadowed(known_users: Home, app: Starlette, database: Database) -> None:
    with running(app) as url:
        result = replay(known_users, url, requests=200, k=3)
    assert (result.sent, result.ok) == (200, 200)
    assert 0 < result.p50_ms <= result.p99_ms
    assert result.status["records"] == {"written": 400, "lost": 0, "pending": 0, "gaps_before": []}
    assert result.status["shadow"]["answered"] == 200
    found = compare(database, "video-feed", "1", "2")
    assert (found.requests, found.overlap) == (200, 1.0)
    assert 180 <= found.ranked < 200, "a few strangers are asked for"


def test_refused_requests_are_not_ok(known_users: Home, app: Starlette) -> None:
    with running(app) as url:
        result = replay(known_users, url, requests=3, k=501)
    assert (result.sent, result.ok) == (3, 0)


def test_nobody_answers(known_users: Home) -> None:
    with pytest.raises(ServiceUnavailable, match=r"service http://127.0.0.1:\d+.*refused.*backbeat serve"):
        replay(known_users, f"http://127.0.0.1:{free_port()}", requests=1)


def test_an_address_that_is_none(known_users: Home) -> None:
    with pytest.raises(ServiceUnavailable, match="service nowhere"):
        replay(known_users, "nowhere", requests=1)


@pytest.mark.parametrize("answer", [{"hello": "world"}, ["champion"], None])
def test_another_program_answers(answer: object) -> None:
    async def status(_: object) -> JSONResponse:
        return JSONResponse(answer)

    with (
        running(Starlette(routes=[Route("/status", status)])) as url,
        pytest.raises(ServiceUnavailable, match="another program"),
    ):
        service_status(url)


def test_a_service_that_dies_in_the_middle(known_users: Home) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        body = b'{"surfaces": {"video-feed": {}}}'
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)

        def answer_once() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head + body)
                connection.recv(65536)

        thread = threading.Thread(target=answer_once)
        thread.start()
        with pytest.raises(ServiceUnavailable, match=r"disconnected|reset"):
            replay(known_users, f"http://127.0.0.1:{listener.getsockname()[1]}", requests=5)
        thread.join()


def test_queues_that_never_empty(known_users: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async def status(_: object) -> JSONResponse:
        one = {"shadows": [{"pending": 1}, {"pending": 2}], "records": {"pending": 4}}
        return JSONResponse({"surfaces": {"video-feed": one}})

    async def recommend(_: object) -> JSONResponse:
        return JSONResponse({})

    monkeypatch.setattr(serving.replay, "_DRAIN_LIMIT_S", 0.2)
    routes = [Route("/status", status), Route("/recommend", recommend, methods=["POST"])]
    with (
        running(Starlette(routes=routes)) as url,
        pytest.raises(ServiceUnavailable, match="7 lists still waiting after 0 s"),
    ):
        replay(known_users, url, requests=1)


def test_without_data_there_is_nobody_to_ask_for(home: Home) -> None:
    with pytest.raises(NotFound, match="backbeat ingest"):
        replay(home, "http://127.0.0.1:1", requests=1)


def test_equal_seeds_ask_for_equal_users(known_users: Home) -> None:
    first, again, other = (serving.replay.users_to_ask_for(known_users, 100, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert set(np.unique(first)) >= {"u0", "u1"}
    assert 0 < sum(user.startswith("stranger-") for user in first) < 15
