"""What answers say to browsers, and forms that are not ours."""

import re

import pytest

from contracts.home import Home
from contracts.settings import load_settings
from registry.web.csrf import csrf_of
from registry.web.headers import BODY_LIMIT
from registry.web.people import add_user
from tests.registry.web.conftest import PASSWORD, Web


@pytest.mark.parametrize("path", ["/account", "/login", "/nothing-here", "/api/account", "/static/app.css"])
def test_every_answer_has_the_security_headers(web: Web, path: str) -> None:
    headers = web.browser("viewer").get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert "strict-transport-security" not in headers, "this one is reached by http"
    assert ("immutable" in headers["cache-control"]) == path.startswith("/static/")


def test_pages_have_no_script_or_style_of_their_own(web: Web) -> None:
    browser = web.browser("admin")
    for path in ("/account", "/people", "/work", "/api/docs", "/nothing-here"):
        text = browser.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), path
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text), path
        assert not re.search(r'(?:src|href)="(?:https?:)?//', text), path


def test_a_form_from_elsewhere_is_refused(web: Web) -> None:
    browser = web.browser("admin")
    fields = {"name": "eve", "role": "admin", "password": PASSWORD, "csrf": browser.csrf()}
    evil = browser.post("/people", data=fields, headers={"origin": "http://127.0.0.1:9999"})
    assert (evil.status_code, "http://127.0.0.1:9999" in evil.text) == (403, True)
    assert browser.post("/people", data=fields, headers={"origin": "null"}).status_code == 403
    assert browser.post("/people", data=fields, headers={"origin": "http://127.0.0.1:8410"}).status_code == 200


@pytest.mark.parametrize("token", [None, "", "0" * 64, "foreign", "ü"])
def test_a_form_without_this_session_s_token_changes_nothing(web: Web, token: str | None) -> None:
    browser = web.browser("admin")
    foreign = web.browser("admin").csrf()
    fields = {"name": "eve", "role": "admin", "password": PASSWORD}
    if token is not None:
        fields["csrf"] = foreign if token == "foreign" else token
    answer = browser.post("/people", data=fields)
    assert answer.status_code == 403
    assert "load the page again" in answer.text
    assert [person["name"] for person in browser.get("/api/people").json()["people"]] == ["admin"]


def test_a_script_of_ours_brings_the_token_as_a_header(web: Web) -> None:
    browser = web.browser("admin")
    body = {"name": "eve", "role": "viewer", "password": PASSWORD}
    assert browser.post("/api/people", json=body).status_code == 403
    done = browser.post("/api/people", json=body, headers={"x-csrf-token": browser.csrf()})
    assert (done.status_code, done.json()["said"]) == (200, "eve is a viewer and can sign in.")
    assert browser.post("/api/people", json=body, headers={"x-csrf-token": browser.csrf()}).status_code == 409


def test_the_token_of_a_session_that_has_ended_is_worth_nothing(web: Web) -> None:
    browser = web.browser("admin")
    old = browser.csrf()
    browser.fill("/logout")
    answer = web.browser("admin").post("/people", data={"csrf": old, "name": "a", "role": "viewer", "password": "x"})
    assert answer.status_code == 403


def test_the_form_s_token_does_not_tell_the_cookie(web: Web) -> None:
    browser = web.browser("viewer")
    assert browser.csrf() == csrf_of(browser.cookies[web.site.cookie])
    assert browser.cookies[web.site.cookie] not in browser.get("/account").text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8410", "127.0.0.1.evil.example", ""])
def test_a_name_that_is_not_ours_is_not_answered(web: Web, host: str) -> None:
    answer = web.browser("viewer").get("/account", headers={"host": host})
    assert answer.status_code == 421
    assert "viewer" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8410", "LOCALHOST", "[::1]:8410"])
def test_the_names_of_this_machine_are_ours(web: Web, host: str) -> None:
    assert web.browser("viewer").get("/account", headers={"host": host}).status_code == 200


def test_a_body_that_is_too_long_or_of_no_known_length(web: Web) -> None:
    browser = web.browser("viewer")
    assert browser.post("/logout", content=b"x" * (BODY_LIMIT + 1)).status_code == 413
    chunked = browser.post("/logout", content=iter([b"x"]), headers={"transfer-encoding": "chunked"})
    assert chunked.status_code == 413


def test_behind_https_cookies_are_secure_and_the_browser_remembers(home: Home) -> None:
    with home.writing("test"):
        pass
    web = Web(load_settings(home=home.root, ui_url="https://registry.example.org/"), home)
    try:
        add_user(web.database, "ada", "viewer", PASSWORD, "test")
        browser = web.browser()
        browser.base_url = "https://registry.example.org"
        answer = browser.fill("/login", {"name": "ada", "password": PASSWORD}, page="/login")
        assert answer.status_code == 303
        assert answer.headers["set-cookie"].startswith("__Host-backbeat-8410=")
        assert "Secure" in answer.headers["set-cookie"]
        assert "Domain" not in answer.headers["set-cookie"]
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        assert browser.get("/account").status_code == 200
        sent = {"csrf": browser.csrf()}
        assert browser.post("/logout", data=sent, headers={"origin": "https://evil.example"}).status_code == 403
        origin = {"origin": "https://registry.example.org"}
        assert browser.post("/logout", data=sent, headers=origin, follow_redirects=False).status_code == 303
    finally:
        web.close()


def test_what_comes_from_outside_is_escaped(web: Web) -> None:
    browser = web.browser("viewer")
    bad = "<script>alert(1)</script>"
    for answer in (browser.get(f"/{bad}"), browser.get("/work", params={"limit": bad})):
        assert answer.status_code in (400, 404)
        assert bad not in answer.text
        assert "&lt;script&gt;" in answer.text
    notice = web.browser("admin")
    notice.cookies.set(f"{web.site.cookie}-notice", "PHNjcmlwdD4=")  # <script>
    assert '<p class="notice" role="status">&lt;script&gt;</p>' in notice.get("/account").text
    notice.cookies.set(f"{web.site.cookie}-notice", "%")
    assert 'class="notice"' not in notice.get("/account").text


def test_what_an_action_did_is_said_once(web: Web) -> None:
    browser = web.browser("admin")
    browser.fill("/people", {"name": "ada", "role": "viewer", "password": PASSWORD})
    assert "ada is a viewer and can sign in." in browser.get("/people").text
    assert "ada is a viewer and can sign in." not in browser.get("/people").text


def test_a_fault_of_ours_says_so_and_nothing_more(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = web.browser("viewer")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr("registry.web.pages.account.list_tokens", broken)
    for path in ("/account", "/api/account"):
        answer = browser.get(path)
        assert answer.status_code == 500
        assert "a fault of the registry" in answer.text
        assert "the secret inside" not in answer.text
        assert "content-security-policy" in answer.headers
