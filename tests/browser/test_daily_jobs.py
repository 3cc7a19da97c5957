"""What people do all day, in a browser against a real server, worker, MLflow and database."""

import re

import pytest
from playwright.sync_api import Page, expect

from contracts.clock import utc_now
from contracts.database import Database
from contracts.platform import AuditRow
from registry.store import ModelStore
from tests.browser.conftest import PASSWORD, Registry, backbeat

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

SURFACE = "video-feed"


def _champion(registry: Registry) -> str | None:
    """Whom serving would load: it asks MLflow for the alias."""
    found = ModelStore(registry.settings, registry.home).by_alias(SURFACE, "champion")
    return found.version if found else None


def _act(page: Page, label: str | re.Pattern[str], reason: str) -> None:
    """Open the form behind a button, say why, send it."""
    form = page.locator("details.act").filter(has=page.locator("summary", has_text=label))
    form.locator("summary").click()
    form.get_by_label("Reason").fill(reason)
    form.get_by_role("button").click()


def _ends(page: Page, state: str) -> None:
    """Watch an errand to its end, without loading the page again."""
    expect(page).to_have_url(re.compile(r"/work/\w+$"))
    page.evaluate("window.notLoadedAgain = true")
    expect(page.locator("#errand").get_by_role("status")).to_contain_text(state)
    assert page.evaluate("window.notLoadedAgain") is True


def test_a_version_is_registered_and_seen(registry: Registry) -> None:
    page = registry.visit("viewer")
    page.goto(f"/versions/{SURFACE}")
    rows = page.locator("table tbody tr")
    expect(rows).to_have_count(2)
    backbeat(registry.settings, "train", "lightgcn")
    page.reload()
    expect(rows).to_have_count(3)
    page.get_by_role("link", name="3", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Version 3: lightgcn")
    expect(page.locator("main")).to_contain_text("registered")
    # The same as JSON, by the link that every page has.
    with page.expect_navigation():
        page.get_by_role("link", name="This page as JSON").click()
    assert '"model":"lightgcn"' in page.inner_text("body")


def test_a_materialization_is_started_and_watched_to_its_end(registry: Registry) -> None:
    page = registry.visit("engineer")
    page.goto("/features")
    expect(page.get_by_text("No job runs or waits.")).to_be_visible()
    page.get_by_text("Start a materialization", exact=True).first.click()
    page.get_by_label("Dry run").check()
    page.get_by_role("button", name="Start a materialization").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Dry run")
    expect(page.locator("#job").get_by_role("status")).to_contain_text("done")
    page.goto("/features")
    page.get_by_text("Start a materialization", exact=True).first.click()
    page.get_by_role("button", name="Start a materialization").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Materialize")
    page.evaluate("window.notLoadedAgain = true")
    expect(page.locator("#job").get_by_role("status")).to_contain_text("done")
    assert page.evaluate("window.notLoadedAgain") is True
    page.goto("/features")
    expect(page.get_by_text("online", exact=True).first).to_be_visible()


def test_a_version_is_asked_for_approved_promoted_and_rolled_back(registry: Registry) -> None:
    assert _champion(registry) is None
    engineer, approver = registry.visit("engineer"), registry.visit("approver")
    for version, before in (("1", None), ("2", "1")):
        assert _champion(registry) == before
        engineer.goto(f"/versions/{SURFACE}/{version}")
        _act(engineer, re.compile(rf"Ask for version {version} (as|to replace) champion"), "better on validation")
        _ends(engineer, "done")
        # Its author may not decide: an engineer sees no such button.
        engineer.goto("/promotions")
        expect(engineer.locator("main")).to_contain_text("better on validation")
        expect(engineer.get_by_text(re.compile("^Approve"))).to_have_count(0)
        approver.goto("/promotions")
        _act(approver, f"Approve: version {version} becomes champion", "agreed")
        _ends(approver, "done")
        assert _champion(registry) == version, "serving's alias has moved"
    approver.goto(f"/versions/{SURFACE}/2")
    _act(approver, "Bring back the champion before 2", "complaints since Tuesday")
    _ends(approver, "done")
    assert _champion(registry) == "1"
    approver.goto("/audit")
    expect(approver.locator("main")).to_contain_text("complaints since Tuesday")
    expect(approver.locator("main")).to_contain_text("rollback")


def test_what_the_gates_refuse_is_said_on_the_page(registry: Registry) -> None:
    before = _champion(registry)
    page = registry.visit("approver")
    page.goto(f"/versions/{SURFACE}/2")
    # Without a request there is nobody's approval.
    _act(page, re.compile("^Make version 2 champion"), "in a hurry")
    _ends(page, "failed")
    expect(page.locator("#errand")).to_contain_text("approval")
    assert _champion(registry) == before


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (f"/versions/{SURFACE}/1/request", {"target": "champion", "reason": "x"}),
        (f"/versions/{SURFACE}/1/promote", {"target": "champion", "reason": "x"}),
        (f"/versions/{SURFACE}/1/judge", {"target": "champion"}),
        (f"/versions/{SURFACE}/1/retire", {"reason": "x"}),
        (f"/versions/{SURFACE}/rollback", {"reason": "x"}),
        ("/features/materialize", {}),
        ("/people", {"name": "eve", "role": "admin", "password": PASSWORD}),
    ],
)
def test_a_viewer_is_refused(registry: Registry, path: str, fields: dict[str, str]) -> None:
    page = registry.visit("viewer")
    page.goto(f"/versions/{SURFACE}/1")
    expect(page.locator("details.act")).to_have_count(0)
    token = page.locator("input[name=csrf]").first.get_attribute("value")
    before = _changes(registry)
    answer = page.request.post(path, form={"csrf": token or "", **fields}, headers={"origin": registry.url})
    assert answer.status == 403
    assert "viewer, who is a viewer" in answer.text()
    assert _changes(registry) == before


def _changes(registry: Registry) -> int:
    database = Database(registry.settings, registry.home)
    try:
        with database.session() as session:
            return session.query(AuditRow).filter(AuditRow.at <= utc_now()).count()
    finally:
        database.close()
