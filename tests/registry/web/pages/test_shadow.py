from contracts.clock import utc_now
from contracts.platform import ResponseRow, ShadowReportRow, ShadowRow
from tests.registry.conftest import SURFACE
from tests.registry.web.pages.conftest import HOSTILE, Stock, shadow_report


def test_shadows_and_their_reports(stock: Stock) -> None:
    stock.hold("shadow", "2")
    now = utc_now()
    for number, error in (("a", None), ("b", "broken")):
        response = ResponseRow(id=number, at=now, surface=SURFACE, version="1", user_id="u", items=[], latency_ms=1.0)
        stock.add(response, ShadowRow(response_id=number, version="2", at=now, items=[], latency_ms=2.0, error=error))
    stock.add(shadow_report())
    found = stock.browser().get("/api/shadow").json()
    (running,) = found["shadows"]
    assert (running["shadow"]["version"], running["requests"], running["errors"]) == ("2", 2, 1)
    (report,) = found["reports"]
    assert (report["overlap"], report["ranked_overlap"], report["shadow_p99_ms"]) == (0.4175, 0.39, 41.6)
    assert found["experiments"] == []
    page = stock.browser().get("/shadow").text
    assert "41.6 ms" in page
    assert "No experiment was run" in page


def judged_report(shadow: str, decision: str = "hold") -> ShadowReportRow:
    finding = {
        "metric": "latency_p99",
        "role": "guardrail",
        "threshold": 0.2,
        "value": 0.05,
        "low": -0.1,
        "high": 0.3,
        "p_value": None,
        "state": "open",
        "traffic": 2.5,
    }
    verdict = {
        "decision": decision,
        "reason": "undecided",
        "sentence": "Hold: latency_p99 not settled, about 3,000 more requests.",
        "requests": 2000,
        "more_requests": 3000,
        "findings": [finding],
        "split_p": None,
        "rule": {},
    }
    return shadow_report(id=f"s-{shadow}-{decision}", shadow=shadow, body={"k": 10, "verdict": verdict})


def test_the_verdict_on_the_shadow_with_its_intervals(stock: Stock) -> None:
    stock.hold("shadow", "2")
    stock.add(judged_report("2"), judged_report("1"))
    found = stock.browser().get("/api/shadow").json()
    (judged,) = found["judged"]
    assert (judged["shadow"], judged["verdict"]["more_requests"]) == ("2", 3000)
    page = stock.browser().get("/shadow").text
    assert "Verdict on video-feed version 2" in page
    assert "about 3,000 more requests" in page
    assert "Change of the shadow" in page
    assert "<svg" in page.split("Change of the shadow")[0].split("Verdict on video-feed")[1]
    assert "2.5 times what there was" in page


def test_a_verdict_that_cannot_be_read_is_said(stock: Stock) -> None:
    stock.hold("shadow", "2")
    stock.add(judged_report("2", decision=HOSTILE))
    found = stock.browser().get("/api/shadow").json()
    assert found["judged"] == []
    assert found["reports"][0]["verdict_fault"].startswith("decision: Input should be")
    page = stock.browser().get("/shadow").text
    assert "cannot be read" in page
    assert HOSTILE not in page


def test_a_report_of_another_kind_is_shown_as_far_as_it_goes(stock: Stock) -> None:
    stock.add(shadow_report(body={}))
    (report,) = stock.browser().get("/api/shadow").json()["reports"]
    assert report["overlap"] is None
    assert stock.browser().get("/shadow").status_code == 200


def test_nobody_in_shadow(stock: Stock) -> None:
    page = stock.browser().get("/shadow").text
    assert "--to shadow" in page
    assert "backbeat shadow report" in page
