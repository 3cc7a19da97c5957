"""The UI's application over a home, and browsers of people of every role."""

import re
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from contracts.database import Database
from contracts.home import Home
from contracts.settings import Settings
from registry.web.app import create_app
from registry.web.people import add_user
from registry.web.sessions import open_session
from registry.web.site import Site
from registry.web.tokens import new_token

URL = "http://127.0.0.1:8410"

PASSWORD = "walrus gravel pendulum"

_FIELD = re.compile(r'name="csrf" value="(\w+)"')


class Browser(TestClient):
    """A browser that is signed in, or not, and sends forms as pages would."""

    def csrf(self, page: str = "/account") -> str:
        """The token that a page's forms have."""
        found = _FIELD.search(self.get(page).text)
        assert found is not None, f"no form on {page}"
        return found[1]

    def fill(self, path: str, fields: dict[str, str] | None = None, page: str = "/account"):  # type: ignore[no-untyped-def]
        """Send a form with a page's token; redirects are not followed."""
        return self.post(path, data={"csrf": self.csrf(page), **(fields or {})}, follow_redirects=False)


class Web:
    """An application, and who looks at it."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self.settings, self.home = settings, home
        self.app: FastAPI = create_app(settings, home, owner="owner")
        self.site: Site = self.app.state.site
        self.database: Database = self.site.database
        self._browsers: list[Browser] = []

    def account(self, role: str) -> str:
        """Name of an account of a role, made when it is first asked for."""
        if not any(user == role for user in self._accounts()):
            add_user(self.database, role, role, PASSWORD, "test")
        return role

    def _accounts(self) -> list[str]:
        from registry.web.people import list_users

        return [user.name for user in list_users(self.database)]

    def browser(self, role: str | None = None) -> Browser:
        """A browser in which somebody of a role is signed in; the home's owner is of the role ``owner``."""
        made = Browser(self.app, base_url=URL, raise_server_exceptions=False)
        self._browsers.append(made)
        if role == "owner":
            made.cookies.set(self.site.cookie, open_session(self.database, self.settings, "owner", owner=True))
        elif role is not None:
            made.cookies.set(self.site.cookie, open_session(self.database, self.settings, self.account(role)))
        return made

    def program(self, role: str, *permissions: str) -> Browser:
        """A program with a token of somebody of a role."""
        secret, _ = new_token(self.database, self.account(role), "test", permissions, 1)
        made = Browser(self.app, base_url=URL, raise_server_exceptions=False)
        made.headers["authorization"] = f"Bearer {secret}"
        self._browsers.append(made)
        return made

    def close(self) -> None:
        """End all of it."""
        for browser in self._browsers:
            browser.close()
        self.site.close()


@pytest.fixture
def web(settings: Settings, home: Home) -> Iterator[Web]:
    """The UI of an empty home."""
    with home.writing("test"):
        pass
    made = Web(settings, home)
    yield made
    made.close()
