"""One function, two faces; and how values are written on a page."""

from datetime import UTC, datetime, timedelta

import pytest
from fastapi import Query
from pydantic import BaseModel
from starlette.testclient import TestClient

from contracts.clock import utc_now
from contracts.errors import Conflict
from registry.web.app import PARTS, create_app
from registry.web.page import Done, Pages
from registry.web.sessions import open_session
from registry.web.site import Here
from registry.web.words import age, figure, instant, size
from tests.registry.web.conftest import URL, Web


class Shown(BaseModel):
    operations: list[str]
    limit: int


class Wish(BaseModel):
    name: str
    times: int = 1


pages = Pages("test")


@pages.page("/things/{kind}", "pages/interface.html")
def things(here: Here, kind: str, limit: int = Query(5, le=9)) -> Shown:
    """Things of a kind."""
    return Shown(operations=[], limit=limit)


@pages.action("/things/{kind}/make", permission="judge")
def make(here: Here, kind: str, wish: Wish) -> Done:
    """Make some."""
    if wish.times > 3:
        raise Conflict("things", found="too many", expected="3", next_step="take fewer")
    return Done(said=f"{here.person.name} made {wish.times} {wish.name} <{kind}>", to="/account")


@pytest.fixture
def client(web: Web) -> TestClient:
    app = create_app(web.settings, web.home, parts=[*PARTS, pages])
    made = TestClient(app, base_url=URL)
    made.cookies.set(web.site.cookie, open_session(web.database, web.settings, web.account("engineer")))
    return made


def _token(client: TestClient) -> str:
    return client.get("/account").text.split('name="csrf" value="')[1].split('"')[0]


def test_a_page_and_its_json_are_one_function(client: TestClient) -> None:
    page = client.get("/things/a%20b?limit=3")
    assert page.headers["content-type"].startswith("text/html")
    assert 'href="/api/things/a b?limit=3"' in page.text
    assert client.get("/api/things/a%20b?limit=3").json() == {"operations": [], "limit": 3}
    refused = client.get("/api/things/a?limit=10")
    assert refused.status_code == 400
    assert refused.json()["error"]["subject"] == "limit of GET /api/things/a"
    assert "Input should be less than or equal to 9" in client.get("/things/a?limit=10").text


def test_an_action_is_a_form_and_json(client: TestClient) -> None:
    token = _token(client)
    done = client.post("/things/k/make", data={"csrf": token, "name": "x", "times": "2"}, follow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, "/account")
    assert "engineer made 2 x &lt;k&gt;" in client.get("/account").text
    header = {"x-csrf-token": token}
    assert (
        client.post("/api/things/k/make", json={"name": "y"}, headers=header).json()["said"] == "engineer made 1 y <k>"
    )
    assert client.post("/api/things/k/make", json={"name": "y", "times": 4}, headers=header).status_code == 409
    missing = client.post("/things/k/make", data={"csrf": token})
    assert (missing.status_code, "name of POST /things/k/make" in missing.text) == (400, True)
    assert client.get("/things/k/make").status_code == 405


def test_the_document_describes_both_and_needs_no_network(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    assert {"/api/things/{kind}", "/api/things/{kind}/make"} <= set(document["paths"])
    assert all(path.startswith("/api/") for path in document["paths"])
    operations = {one["path"]: one for one in client.get("/api/operations").json()["operations"]}
    assert operations["/api/things/{kind}"]["parameters"] == ["kind", "limit"]
    assert operations["/api/things/{kind}/make"]["role"] == "engineer"
    assert "cdn" not in client.get("/api/docs").text


def test_a_static_file_that_there_is_not(client: TestClient) -> None:
    assert client.get("/static/app.css").status_code == 200
    for name in ("nothing.js", "..%2fapp.py", "%2e%2e"):
        assert client.get(f"/static/{name}").status_code == 404


def test_ages_are_read_at_a_glance() -> None:
    now = utc_now()
    for ago, said in (
        (timedelta(seconds=3), "just now"),
        (timedelta(minutes=5), "5 min ago"),
        (timedelta(hours=3, minutes=59), "3 h ago"),
        (timedelta(days=1, hours=2), "1 day ago"),
        (timedelta(days=9), "9 days ago"),
        (timedelta(hours=-2, seconds=-5), "in 2 h"),
    ):
        assert f">{said}<" in age(now - ago)
    assert age(datetime(2000, 1, 3, tzinfo=UTC)) == instant(datetime(2000, 1, 3, tzinfo=UTC))
    assert "2026-01-31 12:00 UTC" in instant("2026-01-31T12:00:00+00:00")
    assert instant(datetime(2026, 1, 31, tzinfo=UTC)).startswith('<time datetime="2026-01-31T00:00:00+00:00">')
    assert (age(None), instant(None)) == ("–", "–")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (1234567, "1,234,567"), (0.12345, "0.1235"), (float("nan"), "nan"), (True, "True"), ("a", "a")],
)
def test_figures(value: object, text: str) -> None:
    assert figure(value) == text


def test_sizes() -> None:
    assert [size(value) for value in (None, 0, 1023, 1536, 5 * 2**30)] == ["–", "0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
