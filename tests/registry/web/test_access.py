"""Every route against every role: the table of permissions is what decides, and nothing is without one."""

import re
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute

from registry.web.access import ANYBODY, PERMISSIONS, ROLES, Person, Require, permissions_of, require
from registry.web.app import create_app, permission_of
from registry.web.page import Pages
from tests.registry.web.conftest import Web

EVERYBODY = (None, *ROLES)


def _routes(app: FastAPI) -> list[APIRoute]:
    return [route for route in app.routes if isinstance(route, APIRoute)]


def _path(route: APIRoute) -> str:
    return re.sub(r"\{\w+(:\w+)?\}", "1", route.path)


def _expected(role: str | None, may: bool, method: str, path: str) -> str:
    if may:
        return "in" if method == "GET" else "no form"
    if role is not None:
        return "not permitted"
    return "to the door" if method == "GET" and not path.startswith("/api/") else "not signed in"


def _verdict(answer: Any) -> str:
    if answer.status_code == 303 and answer.headers["location"].startswith("/login"):
        return "to the door"
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
        return "not signed in"
    if answer.status_code == 403:
        return "no form" if "CSRF" in answer.text else "not permitted"
    return "in"


@pytest.mark.parametrize("role", EVERYBODY)
def test_every_route_lets_in_who_may_and_nobody_else(web: Web, role: str | None) -> None:
    browser = web.browser(role)
    seen = set()
    for route in _routes(web.app):
        lowest = PERMISSIONS[permission_of(route)]
        may = lowest == ANYBODY or (role is not None and ROLES.index(role) >= ROLES.index(lowest))
        for method in sorted(route.methods or ()):
            # Without a form's token nothing is done, so nothing here changes what the next request finds.
            answer = browser.request(method, _path(route), follow_redirects=False)
            where = f"{role or 'nobody'}: {method} {route.path} → {answer.status_code}"
            seen.add((method, route.path))
            assert _verdict(answer) == _expected(role, may, method, route.path), where
    assert len(seen) == sum(len(route.methods or ()) for route in _routes(web.app))


def test_every_route_names_one_permission_and_acts_only_by_post(web: Web) -> None:
    assert len(_routes(web.app)) == len(web.app.routes), "a route that is no APIRoute has no permission"
    for route in _routes(web.app):
        assert permission_of(route) in PERMISSIONS
        assert (route.methods or set()) <= {"GET", "POST"}


def test_a_route_without_a_permission_does_not_start(web: Web) -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/bare")
    def bare() -> str:
        return ""

    with pytest.raises(RuntimeError, match="/bare names 0 permissions"):
        permission_of(app.routes[0])

    class Bare(Pages):
        def mount(self, app: FastAPI) -> None:
            app.add_api_route("/twice", bare, dependencies=[Depends(require("read")), Depends(require("judge"))])

    with pytest.raises(RuntimeError, match="/twice names 2 permissions"):
        create_app(web.settings, web.home, parts=[Bare("bare")])


def test_a_permission_that_is_not_in_the_table_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="no permission 'reed'"):
        Require("reed")
    with pytest.raises(KeyError):
        Person.nobody().may("reed")


def test_a_role_may_what_those_below_it_may() -> None:
    below: frozenset[str] = frozenset()
    for role in ROLES:
        assert permissions_of(role) > below
        below = permissions_of(role)
    assert below == frozenset(PERMISSIONS)


@pytest.mark.parametrize(("role", "permission", "status"), [("approver", "read", 200), ("viewer", "judge", 403)])
def test_a_token_may_only_what_it_and_its_owner_may(web: Web, role: str, permission: str, status: int) -> None:
    assert web.program(role, permission).get("/api/operations").status_code == status


def test_a_token_needs_no_form_but_makes_no_tokens_or_accounts(web: Web) -> None:
    program = web.program("admin", *PERMISSIONS)
    refused = program.post("/api/people", json={"name": "eve", "role": "admin", "password": "x" * 20})
    assert refused.status_code == 403
    assert "a token of admin without the permission people" in refused.text
    assert program.post("/api/work/1/again").status_code == 404  # past the door: there is no such errand


def test_a_changed_role_holds_from_the_next_request(web: Web) -> None:
    from registry.web.people import change_role

    browser = web.browser("viewer")
    assert browser.get("/people").status_code == 403
    change_role(web.database, "viewer", "admin", "test")
    assert browser.get("/people").status_code == 200
