"""Headless Chromium, and real ``backbeat ui`` servers on free ports."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from contracts.database import Database
from contracts.home import Home
from contracts.settings import Settings, environment_of_child, load_settings
from registry.web.people import add_user
from serving.server import free_port

PASSWORD = "walrus gravel pendulum"

ROLES = ("viewer", "engineer", "approver", "admin")

_PATIENCE_MS = 60_000
"""An errand loads MLflow into a process of its own, on a machine that does other things too."""

_POLICY = """
[every.moves.champion]
approvals = 1
"""


@dataclass
class Registry:
    """A running ``backbeat ui``, and browsers that look at it."""

    url: str
    link: str | None
    settings: Settings
    home: Home
    browser: Browser

    def visit(self, person: str | None = None, width: int = 1280, script: bool = True) -> Page:
        """A browser of its own in which a person has signed in by password; nobody if None."""
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, base_url=self.url, java_script_enabled=script
        )
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        if person is not None:
            page.goto("/login")
            page.get_by_label("Name").fill(person)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            expect(page.locator("nav .whoami")).to_contain_text(person)
        return page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; in CI it must be there. Closed with the module, as it leaves an event loop running."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium must be installed: apt-get install chromium")
        pytest.skip("no chromium")
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        # Root, as in a container, has no sandbox to give.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()


@contextmanager
def running_ui(settings: Settings, home: Home, browser: Browser, *options: str) -> Iterator[Registry]:
    """``backbeat ui`` as a user runs it, for the length of a block."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "backbeat", "ui", "--port", str(port), "--json", *options],
        env=environment_of_child(settings),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = ""
        while not said.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, f"backbeat ui has ended: {process.wait()}"
            said += line
        told = json.loads(said)
        yield Registry(told["url"], told["link"], settings, home, browser)
    finally:
        process.terminate()
        process.wait(60)


def add_people(settings: Settings, home: Home) -> None:
    """An account of each role, named by it."""
    database = Database(settings, home)
    for role in ROLES:
        add_user(database, role, role, PASSWORD, "test")
    database.close()


def backbeat(settings: Settings, *arguments: str) -> None:
    """A command as a user types it."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "backbeat", *arguments],
        env=environment_of_child(settings),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def registry(
    chromium: Browser, tmp_path_factory: pytest.TempPathFactory, make_mmssl: Callable[..., Path]
) -> Iterator[Registry]:
    """A home with validated data and two trained versions, where a champion needs an approval; and its UI."""
    root = tmp_path_factory.mktemp("browser")
    data = make_mmssl(root / "blocks")
    settings = load_settings(home=root / "home", device="cpu", threads=1, system_metrics=0)
    for command in (
        ["ingest", "mmssl", str(data)],
        ["features", "apply"],
        ["validate", "run"],
        ["train", "popularity"],
        ["train", "mf"],
    ):
        backbeat(settings, *command)
    home = Home.open(settings)
    (home.root / "policy.toml").write_text(_POLICY)
    add_people(settings, home)
    with running_ui(settings, home, chromium) as running:
        yield running
