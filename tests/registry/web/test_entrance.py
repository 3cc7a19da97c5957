"""Coming in: by the link, once; by password, with a limit; and going out, by hand or by time."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from contracts.clock import utc_now
from contracts.people_rows import LoginAttemptRow, SessionRow
from registry.web.attempts import PER_ACCOUNT, PER_ADDRESS, WINDOW
from registry.web.people import change_role, remove_user, set_password
from registry.web.sessions import digest_of, end_sessions_of
from tests.registry.web.conftest import PASSWORD, Browser, Web


def _enter(browser: Browser, link: str) -> int:
    token = link.partition("token=")[2]
    answer = browser.fill("/enter", {"token": token}, page=f"/enter?token={token}")
    return int(answer.status_code)


def test_the_link_opens_once_and_for_one_browser(web: Web) -> None:
    link = web.site.new_entry()
    assert link.startswith("http://127.0.0.1:8410/enter?token=")
    first, second = web.browser(), web.browser()
    # Looking at the page uses nothing up: a chat program that fetches links must not.
    assert second.get(link).status_code == 200
    assert _enter(first, link) == 303
    assert first.get("/api/account").json()["name"] == "owner"
    assert _enter(second, link) == 401
    assert second.get("/api/account").status_code == 401


def test_a_new_link_ends_the_one_before(web: Web) -> None:
    old, new = web.site.new_entry(), web.site.new_entry()
    assert _enter(web.browser(), old) == 401
    assert _enter(web.browser(), new) == 303


def test_where_people_have_accounts_there_is_no_link(web: Web) -> None:
    web.site.owner = None
    assert _enter_without_page(web) == 401


def _enter_without_page(web: Web) -> int:
    link = web.site.new_entry()
    browser = web.browser()
    web.account("viewer")
    return int(browser.fill("/enter", {"token": link.partition("=")[2]}, page="/login").status_code)


def _log_in(browser: Browser, name: str, password: str, to: str = "/") -> object:
    return browser.fill("/login", {"name": name, "password": password, "to": to}, page="/login")


def test_a_password_lets_in_and_leads_to_where_one_wanted(web: Web) -> None:
    web.account("engineer")
    browser = web.browser()
    away = browser.get("/work?limit=3", follow_redirects=False)
    assert away.headers["location"] == "/login?to=/work%3Flimit%3D3"
    answer = _log_in(browser, "engineer", PASSWORD, "/work?limit=3")
    assert answer.headers["location"] == "/work?limit=3"  # type: ignore[attr-defined]
    assert browser.get("/api/account").json()["role"] == "engineer"
    cookie = answer.headers["set-cookie"]  # type: ignore[attr-defined]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    secret = browser.cookies[web.site.cookie]
    with web.database.session() as session:
        assert [row.digest for row in session.query(SessionRow)] == [digest_of(secret)]


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:1", "/\n/x"])
def test_one_is_not_led_elsewhere(web: Web, to: str) -> None:
    web.account("viewer")
    assert _log_in(web.browser(), "viewer", PASSWORD, to).headers["location"] == "/"  # type: ignore[attr-defined]


def test_a_wrong_name_and_a_wrong_password_look_alike(web: Web) -> None:
    web.account("viewer")
    wrong = [_log_in(web.browser(), *pair) for pair in (("viewer", "not this one"), ("nobody", PASSWORD))]
    assert {answer.status_code for answer in wrong} == {401}  # type: ignore[attr-defined]
    assert wrong[0].text == wrong[1].text  # type: ignore[attr-defined]
    assert PASSWORD not in wrong[1].text  # type: ignore[attr-defined]


def _fail(web: Web, times: int, name: str, address: str) -> None:
    with web.database.session() as session:
        session.add_all(LoginAttemptRow(at=utc_now(), name=name, address=address) for _ in range(times))


def test_guessing_an_account_s_password_is_stopped_even_for_the_right_one(web: Web) -> None:
    web.account("viewer")
    web.account("engineer")
    _fail(web, PER_ACCOUNT - 1, "viewer", "10.0.0.9")
    assert _log_in(web.browser(), "viewer", "wrong").status_code == 401  # type: ignore[attr-defined]
    stopped = _log_in(web.browser(), "viewer", PASSWORD)
    assert stopped.status_code == 429  # type: ignore[attr-defined]
    assert "wait 15 minutes" in stopped.text  # type: ignore[attr-defined]
    assert _log_in(web.browser(), "engineer", PASSWORD).status_code == 303  # type: ignore[attr-defined]
    # Another password, given by an admin, begins anew.
    set_password(web.database, "viewer", "another walrus gravel", "admin")
    assert _log_in(web.browser(), "viewer", "another walrus gravel").status_code == 303  # type: ignore[attr-defined]


def test_guessing_from_an_address_is_stopped_for_all_accounts_until_the_window_has_passed(web: Web) -> None:
    web.account("viewer")
    for number in range(PER_ADDRESS):
        _fail(web, 1, f"name-{number}", "testclient")
    assert _log_in(web.browser(), "viewer", PASSWORD).status_code == 429  # type: ignore[attr-defined]
    with web.database.session() as session:
        session.execute(update(LoginAttemptRow).values(at=utc_now() - WINDOW - timedelta(seconds=1)))
    assert _log_in(web.browser(), "viewer", "wrong").status_code == 401  # type: ignore[attr-defined]
    with web.database.session() as session:
        assert session.query(LoginAttemptRow).count() == 1, "attempts before the window are forgotten"


def test_leaving_ends_the_session_and_not_only_the_cookie(web: Web) -> None:
    browser = web.browser("viewer")
    secret = browser.cookies[web.site.cookie]
    assert browser.fill("/logout").headers["location"] == "/login"
    again = web.browser()
    again.cookies.set(web.site.cookie, secret)
    assert again.get("/api/account").status_code == 401


@pytest.mark.parametrize(
    ("column", "ago"),
    [("seen_at", timedelta(minutes=121)), ("expires_at", timedelta(seconds=1))],
)
def test_a_session_ends_when_idle_and_in_any_case(web: Web, column: str, ago: timedelta) -> None:
    browser = web.browser("viewer")
    assert browser.get("/api/account").status_code == 200
    with web.database.session() as session:
        session.execute(update(SessionRow).values({column: utc_now() - ago}))
    assert browser.get("/api/account").status_code == 401


def test_who_looks_at_pages_stays_and_is_noted_once_a_minute(web: Web) -> None:
    browser = web.browser("viewer")
    early = utc_now() - timedelta(minutes=90)
    with web.database.session() as session:
        session.execute(update(SessionRow).values(seen_at=early))
    browser.get("/api/account")
    seen = _seen(web)
    assert seen > early
    browser.get("/api/account")
    assert _seen(web) == seen


def _seen(web: Web) -> object:
    with web.database.session() as session:
        return session.query(SessionRow.seen_at).scalar()


def test_a_removed_account_is_outside_at_once(web: Web) -> None:
    browser, program = web.browser("viewer"), web.program("viewer", "read")
    assert (browser.get("/api/account").status_code, program.get("/api/account").status_code) == (200, 200)
    remove_user(web.database, "viewer", "admin")
    assert (browser.get("/api/account").status_code, program.get("/api/account").status_code) == (401, 401)


def test_signing_out_everywhere(web: Web) -> None:
    first, second = web.browser("viewer"), web.browser("viewer")
    assert end_sessions_of(web.database, "viewer") == 2
    assert {browser.get("/api/account").status_code for browser in (first, second)} == {401}


def test_expired_sessions_are_forgotten_when_somebody_comes_in(web: Web) -> None:
    web.browser("viewer")
    with web.database.session() as session:
        session.execute(update(SessionRow).values(expires_at=utc_now() - timedelta(days=1)))
    web.browser("engineer")
    with web.database.session() as session:
        assert [row.name for row in session.query(SessionRow)] == ["engineer"]


def test_changing_one_s_password_wants_the_present_one(web: Web) -> None:
    browser = web.browser("engineer")
    change_role(web.database, "engineer", "viewer", "admin")
    new = {"new": "quite another walrus", "again": "quite another walrus"}
    assert "the present password" in browser.fill("/account/password", {"now": "wrong", **new}).text
    assert "the same twice" in browser.fill("/account/password", {"now": PASSWORD, "new": "a", "again": "b"}).text
    assert browser.fill("/account/password", {"now": PASSWORD, **new}).status_code == 303
    assert browser.get("/api/account").status_code == 401
    assert _log_in(browser, "engineer", new["new"]).status_code == 303  # type: ignore[attr-defined]
