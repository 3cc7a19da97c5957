"""The way in, and pages for the keyboard, for narrow screens, without a script and without a network."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from contracts.home import Home
from contracts.settings import load_settings
from tests.browser.conftest import Registry, add_people, running_ui

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PAGES = ("/", "/versions/video-feed", "/promotions", "/features", "/quality", "/shadow", "/audit", "/work", "/people")


@pytest.fixture(scope="module")
def empty(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The UI of a home in which nothing is."""
    settings = load_settings(home=tmp_path_factory.mktemp("empty") / "home")
    home = Home.open(settings)
    with home.writing("test"):
        pass
    add_people(settings, home)
    with running_ui(settings, home, chromium, "--no-worker") as running:
        yield running


def test_the_link_lets_the_owner_in_once(empty: Registry) -> None:
    assert empty.link is not None
    page = empty.visit()
    page.goto(empty.link)
    expect(page).to_have_url(f"{empty.url}/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    again = empty.visit()
    again.goto(empty.link)
    expect(again.get_by_role("heading", level=1)).to_have_text("That does not work")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_fits_has_landmarks_and_asks_nobody_else(empty: Registry, width: int) -> None:
    page = empty.visit("admin", width)
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("request", lambda request: asked.append(request.url))
    for path in PAGES:
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
        assert page.locator("main").count() == page.locator("h1").count() == 1, path
        assert page.locator("nav[aria-label]").count() == 1, path
        for control in page.locator("main input:not([type=hidden]), main select, main textarea").all():
            name = control.evaluate("e => e.labels.length ? e.labels[0].textContent.trim() : e.ariaLabel")
            assert name, f"{path}: a field without a label"
        assert page.locator("table:not(:has(caption))").count() == 0, path
        assert page.locator("thead th:not([scope])").count() == 0, path
    assert said == []
    assert {url.split("/")[2] for url in asked} == {empty.url.split("/")[2]}


def test_the_keyboard_is_enough(empty: Registry) -> None:
    page = empty.visit("admin")
    page.goto("/people")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    add = page.locator("summary", has_text="Add a person")
    expect(add).to_be_focused()
    assert add.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Name")).to_be_hidden()
    expect(add).to_be_focused()


def test_a_narrow_screen_has_a_menu(empty: Registry) -> None:
    page = empty.visit("viewer", 390)
    page.goto("/")
    menu, link = page.get_by_role("button", name="Menu"), page.get_by_role("link", name="Audit")
    expect(link).to_be_hidden()
    menu.click()
    expect(menu).to_have_attribute("aria-expanded", "true")
    link.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Audit")


def test_without_a_script_all_is_there(empty: Registry) -> None:
    page = empty.visit("admin", 390, script=False)
    expect(page.get_by_role("link", name="Audit")).to_be_visible()
    page.goto("/people")
    page.locator("summary", has_text="Add a person").click()
    page.get_by_label("Name").fill("grace")
    page.get_by_label("First password").fill("a few unrelated words")
    page.get_by_role("button", name="Add a person").click()
    expect(page.get_by_role("status")).to_have_text("grace is a viewer and can sign in.")


def test_dark_and_light_are_the_reader_s_choice(empty: Registry) -> None:
    page = empty.visit("viewer")
    page.goto("/")
    shades = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        shades.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert shades == ["rgb(247, 248, 250)", "rgb(16, 19, 23)"]
