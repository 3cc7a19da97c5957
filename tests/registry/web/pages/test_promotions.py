from datetime import timedelta

import pytest

from contracts.clock import utc_now
from contracts.jobs import list_jobs
from contracts.promotion_rows import RequestRow, WaiverRow
from tests.registry.conftest import SURFACE
from tests.registry.web.pages.conftest import HOSTILE, Stock, judgement, request


def test_requests_with_what_the_gates_say(stock: Stock) -> None:
    old = request(id="r0", version="3", state="rejected", wish=None, decided_by="approver", decision_reason=HOSTILE)
    until = utc_now() + timedelta(days=1)
    waiver = WaiverRow(
        surface=SURFACE, version="2", gate="latency", approver="a", reason="r", at=utc_now(), until=until
    )
    stock.add(request(), old, judgement(), waiver)
    found = stock.browser("engineer").get("/api/promotions").json()
    (wish,) = found["waiting"]
    assert (wish["id"], wish["champion"], wish["own"]) == ("r1", "1", True)
    assert [gate["outcome"] for gate in wish["verdicts"]] == ["pass", "fail"]
    assert [past["id"] for past in found["past"]] == ["r0"]
    assert [one["gate"] for one in found["waivers"]] == ["latency"]
    page = stock.browser("approver").get("/promotions").text
    assert "Approve: version 2 becomes champion" in page
    assert "<script>alert" not in page
    own = stock.browser("engineer").get("/promotions").text
    assert "Withdraw your request" in own
    assert "Approve:" not in own


def test_nobody_is_offered_to_approve_their_own(stock: Stock) -> None:
    stock.add(request(author="approver"))
    page = stock.browser("approver").get("/promotions").text
    assert "nobody approves their own request" in page
    assert "Approve:" not in page


def test_deciding(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.web.errands.ErrandRunner.run", lambda runner, errand: None)
    stock.add(request(), request(id="r2", version="3", wish=f"{SURFACE}/3/champion"))
    approver = stock.browser("approver")
    answer = approver.fill("/promotions/r1/approve", {"reason": "yes"})
    (job,) = list_jobs(stock.web.database, kind="errand")
    assert answer.headers["location"] == f"/work/{job.id}"
    assert job.parameters["arguments"] == {"request": "r1", "reason": "yes"}
    assert approver.fill("/promotions/r2/reject", {"reason": "no"}).status_code == 303
    assert stock.browser("engineer").fill("/promotions/r1/withdraw", {"reason": "wait"}).status_code == 303
    with stock.web.database.session() as session:
        states = dict(session.query(RequestRow.id, RequestRow.state).all())
    assert states == {"r1": "withdrawn", "r2": "rejected"}
    assert stock.browser("engineer").fill("/promotions/r2/approve", {"reason": "x"}).status_code == 403
    assert approver.fill("/promotions/r9/approve", {"reason": "x"}).status_code == 404
    assert approver.fill("/promotions/r1/reject", {}).status_code == 400


def test_settling_drift(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.web.errands.ErrandRunner.run", lambda runner, errand: None)
    approver = stock.browser("approver")
    assert approver.fill(f"/promotions/drift/{SURFACE}", {"how": "reverted", "reason": "no"}).status_code == 303
    (job,) = list_jobs(stock.web.database, kind="errand")
    assert job.parameters["arguments"] == {"how": "reverted", "reason": "no"}
    assert approver.fill(f"/promotions/drift/{SURFACE}", {"how": "forgotten", "reason": "no"}).status_code == 400
    assert approver.fill("/promotions/drift/nope", {"how": "accepted", "reason": "no"}).status_code == 404


def test_nothing_waits(stock: Stock) -> None:
    page = stock.browser().get("/promotions").text
    assert "Nobody waits for an approval" in page
    assert "No request was decided yet" in page
