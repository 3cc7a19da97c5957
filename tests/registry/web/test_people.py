"""Accounts and tokens: by hand, on the page and by command; every change is in the audit log."""

import io
import json
import sys
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from backbeat.cli import invoke
from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, Conflict, NotFound, TooManyAttempts
from contracts.home import Home
from contracts.people_rows import TokenRow, UserRow
from contracts.platform import AuditRow
from contracts.settings import Settings, load_settings
from registry.web.attempts import PER_ACCOUNT, note_failure, require_few_failures
from registry.web.passwords import hash_password, password_matches
from registry.web.people import (
    add_user,
    any_users,
    change_role,
    known_by_password,
    list_users,
    remove_user,
    set_password,
    user_of_provider,
)
from registry.web.sessions import find_session, open_session
from registry.web.tokens import find_token, new_token, revoke_token
from tests.registry.web.conftest import PASSWORD, Web


def test_a_password_is_kept_as_argon2_only(database: Database) -> None:
    assert not any_users(database)
    add_user(database, "ada", "admin", PASSWORD, "test")
    with database.session() as session:
        stored = session.get_one(UserRow, "ada").password
    assert stored is not None
    assert stored.startswith("$argon2id$")
    assert PASSWORD not in stored
    assert known_by_password(database, "ada", PASSWORD)
    assert not known_by_password(database, "ada", PASSWORD + " ")
    assert not known_by_password(database, "bob", PASSWORD)
    assert hash_password(PASSWORD) != hash_password(PASSWORD), "each has its own salt"
    assert not password_matches("no hash at all", PASSWORD)
    assert not password_matches(None, "a password that nobody has")


@pytest.mark.parametrize(
    ("password", "found"),
    [
        ("short", "5 characters"),
        ("x" * 257, "257 characters"),
        ("ababababababab", "hardly any"),
        ("ada-ada-1234", "name"),
    ],
)
def test_a_password_that_is_easy_to_guess(database: Database, password: str, found: str) -> None:
    with pytest.raises(BadInput, match=found):
        add_user(database, "ada", "viewer", password, "test")
    assert list_users(database) == []


@pytest.mark.parametrize("name", ["", "-a", "a b", "<b>", "x" * 33, "a/b"])
def test_a_name_that_cannot_be_used(database: Database, name: str) -> None:
    with pytest.raises(BadInput, match="a name that cannot be used"):
        add_user(database, name, "viewer", PASSWORD, "test")


def test_names_and_roles_that_there_are_not(database: Database) -> None:
    add_user(database, "ada", "viewer", PASSWORD, "test")
    with pytest.raises(Conflict, match="an account of that name"):
        add_user(database, "ada", "viewer", PASSWORD, "test")
    with pytest.raises(NotFound, match="'viewer'"):
        add_user(database, "bob", "viewr", PASSWORD, "test")
    with pytest.raises(NotFound, match="'ada'"):
        change_role(database, "adda", "viewer", "test")
    with pytest.raises(NotFound, match="role 'boss'"):
        change_role(database, "ada", "boss", "test")
    with pytest.raises(NotFound):
        remove_user(database, "bob", "test")
    with pytest.raises(NotFound):
        set_password(database, "bob", PASSWORD, "test")


def test_there_is_always_an_admin(database: Database) -> None:
    add_user(database, "ada", "admin", PASSWORD, "test")
    for change in (lambda: remove_user(database, "ada", "ada"), lambda: change_role(database, "ada", "viewer", "ada")):
        with pytest.raises(Conflict, match="the last admin"):
            change()
    add_user(database, "bob", "admin", PASSWORD, "ada")
    remove_user(database, "ada", "bob")
    assert [user.name for user in list_users(database)] == ["bob"]


def test_somebody_of_the_provider_has_no_password_here(database: Database) -> None:
    user = user_of_provider(database, "https://login.example 1", "Grace Hopper", "viewer")
    assert (user.name, user.signs_in) == ("Grace-Hopper", "provider")
    assert not known_by_password(database, user.name, "")
    with pytest.raises(BadInput, match="change it at the identity provider"):
        set_password(database, user.name, PASSWORD, "admin")


def test_changes_are_audited_with_who_made_them(database: Database) -> None:
    add_user(database, "ada", "viewer", PASSWORD, "root")
    change_role(database, "ada", "admin", "root")
    set_password(database, "ada", PASSWORD + "!", "ada")
    with database.session() as session:
        rows = session.query(AuditRow).order_by(AuditRow.id).all()
        told = [(row.surface, row.actor, row.version, row.action, row.before, row.after) for row in rows]
        assert PASSWORD not in json.dumps([row.reason for row in rows])
    assert told == [
        ("people", "root", "ada", "add user", "", "viewer"),
        ("people", "root", "ada", "change role", "viewer", "admin"),
        ("people", "ada", "ada", "change password", "admin", "admin"),
    ]


def test_a_token_is_kept_as_a_digest_and_expires(database: Database) -> None:
    add_user(database, "ada", "engineer", PASSWORD, "test")
    secret, token = new_token(database, "ada", "ci", ["judge", "read"], 1)
    assert secret.startswith("bbt_")
    assert find_token(database, secret) == token
    with database.session() as session:
        assert secret not in str(vars(session.query(TokenRow).one()))
    assert find_token(database, secret[:-1]) is None
    assert find_token(database, "bbt_") is None
    assert find_token(database, "something else") is None
    with database.session() as session:
        session.execute(update(TokenRow).values(expires_at=utc_now() - timedelta(seconds=1)))
    assert find_token(database, secret) is None


def test_tokens_that_cannot_be_made_or_ended(database: Database) -> None:
    add_user(database, "ada", "engineer", PASSWORD, "test")
    with pytest.raises(NotFound, match="'judge'"):
        new_token(database, "ada", "", ["judg"], 1)
    for days in (0, -1, 367, float("nan")):
        with pytest.raises(BadInput, match="days of a token"):
            new_token(database, "ada", "", ["read"], days)
    with pytest.raises(NotFound, match="user 'bob'"):
        new_token(database, "bob", "", ["read"], 1)
    _, token = new_token(database, "ada", "", ["read"], 1)
    for name, token_id in (("bob", token.id), (None, "00000000")):
        with pytest.raises(NotFound, match="no token of that id"):
            revoke_token(database, token_id, name)


def test_one_makes_and_ends_one_s_own_tokens_on_the_page(web: Web) -> None:
    browser = web.browser("engineer")
    fields: dict[str, Any] = {"label": "ci", "permissions": ["read", "judge"], "days": "7"}
    shown = browser.fill("/account/tokens", fields)
    assert shown.status_code == 200
    secret = shown.text.split('<pre id="token">')[1].split("<")[0]
    program = web.browser()
    program.headers["authorization"] = f"Bearer {secret}"
    account = program.get("/api/account").json()
    assert (account["name"], account["permissions"]) == ("engineer", ["enter", "read", "judge"])
    assert secret not in browser.get("/account").text
    beyond = browser.fill("/account/tokens", {"label": "", "permissions": ["promote"]})
    assert (beyond.status_code, "permissions that a engineer has not: promote" in beyond.text) == (403, True)
    [token] = account["tokens"]
    assert browser.fill(f"/account/tokens/{token['id']}/revoke").status_code == 303
    assert program.get("/api/account").status_code == 401


def test_nobody_ends_another_one_s_token_and_the_owner_has_none(web: Web) -> None:
    web.program("approver", "read")
    token = _tokens(web)[0]
    assert web.browser("engineer").fill(f"/account/tokens/{token}/revoke").status_code == 404
    assert _tokens(web) == [token]
    owner = web.browser("owner")
    refused = owner.post("/account/tokens", data={"csrf": owner.csrf(), "label": "", "permissions": "read"})
    assert (refused.status_code, "has no account" in refused.text) == (403, True)
    admin = web.browser("admin")
    assert admin.fill("/people/approver/tokens/revoke", page="/people").status_code == 303
    assert _tokens(web) == []


def _tokens(web: Web) -> list[str]:
    with web.database.session() as session:
        return [row.id for row in session.query(TokenRow)]


def test_an_admin_changes_and_removes_accounts_on_the_page(web: Web) -> None:
    admin = web.browser("admin")
    assert admin.fill("/people", {"name": "ada", "role": "viewer", "password": PASSWORD}).status_code == 303
    assert admin.fill("/people/ada/role", {"role": "approver"}).status_code == 303
    assert {user.name: user.role for user in list_users(web.database)} == {"admin": "admin", "ada": "approver"}
    assert admin.fill("/people/ada/remove").status_code == 303
    assert admin.fill("/people/admin/remove").status_code == 409
    assert [user.name for user in list_users(web.database)] == ["admin"]


def _run(settings: Settings, *arguments: str) -> Any:
    return invoke(["users", *arguments, "--home", str(settings.home), "--json"])


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What comes on standard input."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_the_commands(settings: Settings, home: Home, typed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with home.writing("test"):
        pass
    typed(f"{PASSWORD}\n")
    _run(settings, "add", "ada", "--role", "admin")
    typed(f"{PASSWORD}\n")
    _run(settings, "add", "bob")
    _run(settings, "role", "bob", "engineer")
    typed("another one to remember\n")
    _run(settings, "password", "bob")
    capsys.readouterr()
    _run(settings, "token", "bob", "--permission", "read", "--permission", "judge", "--days", "3", "--label", "ci")
    made = json.loads(capsys.readouterr().out)
    _run(settings, "list")
    [ada, bob] = json.loads(capsys.readouterr().out)["users"]
    assert (ada["role"], bob["role"], bob["tokens"][0]["permissions"]) == ("admin", "engineer", ["judge", "read"])
    database = Database(settings, home)
    assert known_by_password(database, "bob", "another one to remember")
    assert find_token(database, made["token"]) is not None
    _run(settings, "token", "bob", "--revoke", made["id"])
    assert find_token(database, made["token"]) is None
    _run(settings, "remove", "bob")
    assert [user.name for user in list_users(database)] == ["ada"]
    capsys.readouterr()
    invoke(["users", "list", "--home", str(settings.home)])
    assert "ada" in capsys.readouterr().out


def test_a_password_is_never_an_argument(settings: Settings, home: Home) -> None:
    with home.writing("test"):
        pass
    with pytest.raises(BadInput, match="No such option"):
        _run(settings, "add", "ada", "--password", PASSWORD)


@pytest.mark.service
def test_people_on_postgres(new_postgres: Any, home: Home) -> None:
    with new_postgres() as url:
        settings = load_settings(home=home.root, profile="production", database_url=url)
        database = Database(settings, home)
        try:
            add_user(database, "ada", "admin", PASSWORD, "test")
            secret, _ = new_token(database, "ada", "ci", ["read"], 1)
            cookie = open_session(database, settings, "ada")
            opened = find_session(database, settings, cookie)
            assert opened is not None
            assert (opened.name, opened.role) == ("ada", "admin")
            assert find_token(database, secret) is not None
            for _ in range(PER_ACCOUNT):
                note_failure(database, "ada", "10.0.0.1")
            with pytest.raises(TooManyAttempts):
                require_few_failures(database, "ada", "10.0.0.2")
            add_user(database, "bob", "admin", PASSWORD, "ada")
            remove_user(database, "ada", "bob")
            assert find_session(database, settings, cookie) is None
            assert find_token(database, secret) is None
        finally:
            database.close()
