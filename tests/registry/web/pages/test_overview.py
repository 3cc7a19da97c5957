from contracts.clock import utc_now
from contracts.jobs import queue_job
from contracts.platform import OnlineViewRow
from tests.registry.conftest import PRIMARY, SURFACE
from tests.registry.web.conftest import Web
from tests.registry.web.pages.conftest import HOSTILE, Stock, request


def test_an_empty_home_says_what_to_do(web: Web) -> None:
    page = web.browser("viewer").get("/")
    assert page.status_code == 200
    for command in ("backbeat train", "backbeat ingest"):
        assert command in page.text
    assert not web.home.mlflow_database.exists(), "looking makes nothing"


def test_all_that_is_in_use_wanted_and_under_way(stock: Stock) -> None:
    report = stock.shelf.judge()
    queue_job(stock.web.database, "materialize", "snap-1", [HOSTILE])
    now = utc_now()
    online = OnlineViewRow(
        snapshot="snap-1", view="v", definitions="d", watermark=now, rows=7, job_id="j", updated_at=now
    )
    stock.add(request(reason=HOSTILE), online)
    found = stock.browser().get("/api/overview").json()
    card = next(card for card in found["surfaces"] if card["surface"] == SURFACE)
    assert (card["versions"], card["metric"], card["champion"]["version"], card["shadow"]) == (3, PRIMARY, "1", None)
    assert found["validation"]["id"] == report
    assert (found["features"]["views"], found["features"]["rows"]) == (1, 7)
    assert [wish["version"] for wish in found["requests"]] == ["2"]
    assert [job["state"] for job in found["jobs"]] == ["queued"]
    assert found["drift"] == []
    page = stock.browser().get("/").text
    assert "<script>alert" not in page
    assert "data-live" in page, "running jobs are followed"


def test_an_alias_that_was_moved_in_mlflow_is_an_alarm(stock: Stock) -> None:
    stock.shelf.client.set_registered_model_alias(SURFACE, "champion", "3")
    stock.see()
    (drift,) = stock.browser().get("/api/overview").json()["drift"]
    assert drift == {"surface": SURFACE, "alias": "champion", "ours": "1", "theirs": "3"}
    assert "moved in MLflow itself" in stock.browser().get("/").text
    assert "Write Backbeat&#39;s word into MLflow again" in stock.browser("approver").get("/promotions").text
