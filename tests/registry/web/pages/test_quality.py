import pytest

from contracts.clock import utc_now
from contracts.reports import Finding, SuiteVerdict, ValidationReport, store_report
from tests.registry.web.conftest import Web
from tests.registry.web.pages.conftest import HOSTILE, PNG, Stock


@pytest.fixture
def report(stock: Stock) -> str:
    """A failed report with docs, in which hostile words stand."""
    findings = [
        Finding(expectation="mild", column="c", observed=0.1, rule="r", severity=0.2),
        Finding(expectation="grave", column=HOSTILE, observed=HOSTILE, rule="r", severity=0.9, examples=[HOSTILE]),
    ]
    suite = SuiteVerdict(suite="visual", table="embedding_visual", success=False, evaluated=3, findings=findings)
    made = ValidationReport(
        id="rep1",
        snapshot="snap-1",
        created_at=utc_now(),
        success=False,
        suites=[suite],
        data_docs="index.html",
        pictures={"embedding_visual": "embedding_visual.png", "other": "gone.png"},
    )
    store_report(stock.web.database, made)
    directory = stock.shelf.home.quality / "rep1"
    directory.mkdir(parents=True)
    (directory / "index.html").write_text(f"<h1>{HOSTILE}</h1>")
    (directory / "embedding_visual.png").write_bytes(PNG)
    (directory / "report.json").write_text("{}")
    (stock.shelf.home.quality / "secret.html").write_text("secret")
    (directory / "link.html").symlink_to(stock.shelf.home.quality / "secret.html")
    return made.id


def test_reports_and_their_worst_findings(stock: Stock, report: str) -> None:
    viewer = stock.browser()
    history = viewer.get("/api/quality").json()
    assert [(line["id"], line["verdict"]) for line in history["reports"]] == [(report, "failed")]
    assert history["judged"]["id"] == report
    found = viewer.get(f"/api/quality/{report}").json()
    assert [line["expectation"] for line in found["worst"]] == ["grave", "mild"]
    assert (found["pictures"], found["docs"]) == (["embedding_visual"], True)
    page = viewer.get(f"/quality/{report}").text
    assert "<script>alert" not in page
    assert "Nothing may be built on this snapshot" in page
    assert viewer.get("/quality/nope").status_code == 404


def test_data_docs_are_in_a_sandbox(stock: Stock, report: str) -> None:
    viewer = stock.browser()
    page = viewer.get(f"/quality/{report}/docs/index.html")
    policy = page.headers["content-security-policy"]
    assert page.status_code == 200
    assert policy.startswith("sandbox;")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "allow-" not in policy
    assert viewer.get(f"/quality/{report}/docs/embedding_visual.png").content == PNG
    for name in ("report.json", "link.html", "..%2Fsecret.html", "%2e%2e%2f%2e%2e%2fhome.json", "nope.html"):
        answer = viewer.get(f"/quality/{report}/docs/{name}")
        assert answer.status_code == 404, name


def test_no_data_were_judged(web: Web) -> None:
    assert "backbeat validate run" in web.browser("viewer").get("/quality").text
