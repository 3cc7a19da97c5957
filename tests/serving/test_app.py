"""The HTTP face without BentoML: answers, records, the shadow's turn, and one form of errors."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from contracts.database import Database
from contracts.messages import MOST_USERS, RecommendRequest, RecommendResponse
from contracts.platform import ResponseRow, ShadowRow
from serving.app import build_app
from serving.comparison import compare
from serving.engine import Engine
from serving.lineup import Lineup
from serving.recommend import Ranker
from serving.records import Recorder
from serving.shadow import Shadow
from serving.surfaces import Surfaces


@pytest.fixture
def features(histories: Callable[..., Any]) -> Any:
    return histories(u0=["v0"])


@contextmanager
def running(database: Database, ranker: Ranker, features: Any, *shadow: list[str]) -> Iterator[TestClient]:
    def open_surfaces() -> Surfaces:
        recorder = Recorder(database)
        shadows = tuple(Shadow("2", "hand-made", command, recorder.put) for command in shadow)
        assert all(each.settled(60) for each in shadows)
        engine = Engine("video-feed", Lineup(ranker, features, shadows), recorder)
        return Surfaces({"video-feed": engine}, recorder.feedback)

    with TestClient(build_app(open_surfaces), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(database: Database, ranker: Ranker, features: Any) -> Iterator[TestClient]:
    with running(database, ranker, features) as client:
        yield client


@pytest.fixture
def shadowed(
    database: Database, ranker: Ranker, features: Any, aside: Callable[..., list[str]]
) -> Iterator[TestClient]:
    with running(database, ranker, features, aside()) as client:
        yield client


def ask(client: TestClient, **body: object) -> httpx.Response:
    return client.post("/recommend", json=body)


def test_an_answer(client: TestClient, features: Any) -> None:
    answer = ask(client, user_id="u0", k=2, exclude=["v1"])
    assert answer.status_code == 200
    response = RecommendResponse.model_validate_json(answer.content)
    assert (response.surface, response.model, response.version) == ("video-feed", "hand-made", "1")
    assert [(item.item_id, item.step) for item in response.items] == [("v2", "model"), ("v3", "model")]
    assert features.reads == 1


def test_every_answer_is_recorded_and_shadowed_under_its_id(shadowed: TestClient, database: Database) -> None:
    answers = [ask(shadowed, user_id=user, k=3).json() for user in ("u0", "u1", "nobody")]
    shadowed.__exit__()  # stopping the application writes what waits
    with database.session() as session:
        served = {row.id: row for row in session.scalars(select(ResponseRow))}
        aside = {row.response_id: row for row in session.scalars(select(ShadowRow))}
        for answer in answers:
            row = served.pop(answer["response_id"])
            assert row.items == answer["items"]
            assert row.latency_ms > 0
            assert aside.pop(answer["response_id"]).items == answer["items"]
        assert not served
        assert not aside
    assert compare(database, "video-feed", "1", "2").overlap == 1.0


def test_a_batch_answers_as_single_requests_do_by_one_read(
    client: TestClient, database: Database, features: Any
) -> None:
    users = ["u1", "nobody", "u0"]
    asked = {"k": 3, "exclude": ["v1"]}
    alone = [ask(client, user_id=user, **asked).json() for user in users]
    reads = features.reads
    answer = client.post("/recommend/batch", json={"user_ids": users, **asked})
    assert answer.status_code == 200
    assert features.reads == reads + 1
    together = answer.json()["responses"]
    client.__exit__()
    with database.session() as session:
        recorded = {row.id: row.user_id for row in session.scalars(select(ResponseRow))}
    for user, mine, theirs in zip(users, alone, together, strict=True):
        assert recorded[theirs.pop("response_id")] == user
        assert {**mine, "response_id": None} == {**theirs, "response_id": None}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user_ids": []}, "user_ids"),
        ({"user_ids": ["u"] * (MOST_USERS + 1)}, "user_ids"),
        ({"user_ids": ["u0"], "filters": {"shortest": 9, "longest": 3}}, "filters"),
        ({"user_ids": ["u0"], "filters": {"genre": "rock"}}, "filters.genre"),
        ({"user_ids": ["u\0"]}, "user_ids.0"),
    ],
)
def test_a_malformed_batch_is_refused(client: TestClient, body: dict[str, Any], field: str) -> None:
    answer = client.post("/recommend/batch", json=body)
    assert answer.status_code == 400
    assert f"'{field}'" in answer.json()["error"]["subject"]


def test_filters_without_a_catalogue_are_refused(client: TestClient) -> None:
    answer = ask(client, user_id="u0", filters={"authors": ["a"]})
    assert answer.status_code == 400
    assert answer.json()["error"]["found"] == "no table of the items beside the model"


def test_a_store_that_fails_or_hangs_costs_the_features_only(client: TestClient, features: Any) -> None:
    def missing(answer: httpx.Response) -> list[dict[str, str]]:
        assert answer.status_code == 200
        found: list[dict[str, str]] = answer.json()["missing"]
        return found

    hold, known = threading.Event(), features.user_history
    features.user_history = lambda _: 1 / 0
    answer = ask(client, user_id="u0", k=2)
    assert missing(answer) == [{"feature": "user_history", "reason": "failed"}]
    assert [item["item_id"] for item in answer.json()["items"]] == ["v0", "v1"], "watched, but nobody can tell"
    answer = ask(client, user_id="nobody", k=2)
    assert answer.json()["fallbacks"] == [{"step": "popular", "reason": "missing_features"}]
    features.user_history = lambda _: hold.wait(30)
    since = time.monotonic()
    for _ in range(5):
        assert missing(ask(client, user_id="u0")) == [{"feature": "user_history", "reason": "late"}]
    assert time.monotonic() - since < 1.2, "the first waits for its deadline, the others are told"
    hold.set()
    features.user_history = known
    while missing(answer := ask(client, user_id="u0", k=1)):
        time.sleep(0.01)
    assert answer.json()["items"][0]["item_id"] == "v1"
    assert client.get("/status").json()["surfaces"]["video-feed"]["features"]["failed"] == 2


def test_ids_are_distinct(client: TestClient) -> None:
    assert len({ask(client, user_id="u0").json()["response_id"] for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("body", "subject", "found", "expected"),
    [
        ("", "request body", "json invalid", "Invalid JSON"),
        ("{", "request body", "json invalid", "Invalid JSON"),
        ("[]", "request body", "[]", "object"),
        ("{}", "'user_id'", "missing", "Field required"),
        ('{"user_id": 7}', "'user_id'", "7", "valid string"),
        ('{"user_id": ""}', "'user_id'", "''", "at least 1 character"),
        ('{"user_id": "u", "k": 0}', "'k'", "0", "greater than or equal to 1"),
        ('{"user_id": "u", "k": 501}', "'k'", "501", "less than or equal to 500"),
        ('{"user_id": "u", "exclude": [null]}', "'exclude.0'", "None", "valid string"),
        ('{"user_id": "u", "top": 3}', "'top'", "3", "Extra inputs"),
        ('{"user_id": "' + "x" * 5000 + '"}', "'user_id'", "xxx", "at most 256 characters"),
    ],
)
def test_a_malformed_body_is_refused_in_the_platforms_form(
    client: TestClient, body: str, subject: str, found: str, expected: str
) -> None:
    answer = client.post("/recommend", content=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"code", "subject", "found", "expected", "next"}
    assert error["code"] == "bad_input"
    assert subject in error["subject"]
    assert found in error["found"]
    assert len(error["found"]) <= 202
    assert expected in error["expected"]


def test_a_body_larger_than_any_request_is_refused(client: TestClient) -> None:
    answer = client.post("/recommend", content=b" " * (5 * 2**20))
    assert answer.status_code == 413
    assert answer.json()["error"]["found"] == "a request body of more than 4 MiB"


def test_hostile_bytes_are_only_a_malformed_body(client: TestClient) -> None:
    for body in (b"\x80\x04\x95cposix\nsystem\n", b"\xff\xfe", b'{"user_id": "\\ud800"}'):
        assert client.post("/recommend", content=body).status_code == 400


def test_another_method_says_which_one_to_use(client: TestClient) -> None:
    answer = client.get("/recommend")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert "POST /recommend" in answer.json()["error"]["expected"]


def test_a_fault_is_one_document_and_the_next_request_is_answered(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Ranker, "recommend", lambda *_: 1 / 0)
        answer = ask(client, user_id="u0")
    assert answer.status_code == 500
    assert answer.json()["error"]["found"] == "a fault of the service"
    assert "division" not in answer.text
    assert ask(client, user_id="u0").status_code == 200


def test_a_broken_shadow_changes_no_answer(
    database: Database, ranker: Ranker, features: Any, aside: Callable[..., list[str]]
) -> None:
    recorder = Recorder(database)
    shadow = Shadow("9", "hand-made", aside("crashing", "9"), recorder.put)
    assert shadow.settled(60)
    engine = Engine("video-feed", Lineup(ranker, features, (shadow,)), recorder)
    with TestClient(build_app(lambda: Surfaces({"video-feed": engine}, engine.feedback))) as client:
        assert [ask(client, user_id="u1", k=1).json()["items"][0]["item_id"] for _ in range(5)] == ["v3"] * 5
    assert engine.status()["shadow"]["failed"] == 5
    assert compare(database, "video-feed", "1", "9").errors == 5


def test_many_clients_at_once_get_their_own_answers(client: TestClient) -> None:
    def videos(user: str) -> list[str]:
        return [item["item_id"] for item in ask(client, user_id=user, k=3).json()["items"]]

    expected = {user: videos(user) for user in ("u0", "u1")}

    def check(number: int) -> bool:
        user = f"u{number % 2}"
        return videos(user) == expected[user]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(check, range(200)))


def test_the_status_counts(shadowed: TestClient) -> None:
    for _ in range(3):
        ask(shadowed, user_id="u0")
    while (status := shadowed.get("/status").json()["surfaces"]["video-feed"])["records"]["written"] < 6:
        pass
    assert status["champion"] == {"version": "1", "model": "hand-made"}
    assert status["shadow"] == {
        "version": "2",
        "model": "hand-made",
        "process": status["shadow"]["process"],
        "ended": 0,
        "answered": 3,
        "failed": 0,
        "dropped": 0,
        "late": 0,
        "unsampled": 0,
        "pending": 0,
    }
    assert status["records"] == {"written": 6, "lost": 0, "pending": 0, "gaps_before": []}


def test_a_champion_serves_alone(database: Database, ranker: Ranker, features: Any) -> None:
    engine = Engine("video-feed", Lineup(ranker, features), Recorder(database))
    engine.warm_up(["u0", "u1"])
    assert engine.answer(RecommendRequest(user_id="u0", k=1)).response.items[0].item_id == "v1"
    assert engine.status()["shadow"] is None
    assert engine.status()["shadow_fault"] is None
    engine.close()
    assert features.closed


def test_a_withdrawn_video_stays_away_when_the_champion_changes(
    database: Database, ranker: Ranker, package: Any, features: Any
) -> None:
    engine = Engine("video-feed", Lineup(ranker, features), Recorder(database))
    asked = RecommendRequest(user_id="u0", k=1)
    assert engine.leave_out(["v1", "unknown"]) == 1
    assert engine.answer(asked).response.items[0].item_id == "v2"
    engine.swap(Lineup(Ranker("2", package), features))
    assert engine.answer(asked).response.items[0].item_id == "v2"
    engine.close()


def test_the_openapi_document_describes_every_route_and_field(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {"/recommend", "/recommend/batch", "/feedback", "/status"}
    schemas = document["components"]["schemas"]
    assert set(schemas["RecommendRequest"]["properties"]) == set(RecommendRequest.model_fields)
    assert set(schemas["RecommendResponse"]["properties"]) == set(RecommendResponse.model_fields)
    reference = document["paths"]["/recommend"]["post"]["responses"]["400"]["content"]["application/json"]["schema"]
    assert reference["$ref"].rsplit("/", 1)[1] in schemas
