from contracts.clock import utc_now
from contracts.platform import ResponseRow
from tests.registry.conftest import SURFACE
from tests.registry.web.pages.conftest import Stock


def test_what_a_version_was_made_of(stock: Stock) -> None:
    found = stock.browser().get(f"/api/versions/{SURFACE}/2/lineage").json()["graph"]
    kinds = {node["kind"] for node in found["nodes"]}
    assert {"version", "run", "snapshot", "index"} <= kinds
    assert found["focus"] == f"version:{SURFACE}/2"
    snapshot = next(node for node in found["nodes"] if node["kind"] == "snapshot")
    assert snapshot["dependents"] == "/lineage?kind=snapshot&id=snap-1"
    page = stock.browser().get(f"/versions/{SURFACE}/2/lineage").text
    assert "<svg" in page
    assert "<script>alert" not in stock.browser().get(f"/versions/{SURFACE}/3/lineage").text


def test_what_depends_on_a_snapshot(stock: Stock) -> None:
    found = stock.browser().get("/api/lineage?kind=snapshot&id=snap-1").json()
    assert [one["version"] for one in found["dependents"]] == ["2", "1"]
    assert "No version depends on it" in stock.browser().get("/lineage?kind=report&id=none").text
    assert stock.browser().get("/lineage?kind=planet&id=x").status_code == 400


def test_where_a_served_list_came_from(stock: Stock) -> None:
    stock.add(ResponseRow(id="abc", at=utc_now(), surface=SURFACE, version="1", user_id="u", items=[], latency_ms=1.0))
    found = stock.browser().get("/api/lineage?response=abc").json()["graph"]
    assert found["focus"] == "response:abc"
    assert "version" in {node["kind"] for node in found["nodes"]}
    assert stock.browser().get("/lineage?response=nope").status_code == 404
