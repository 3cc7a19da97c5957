from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import OctKey, RSAKey
from pydantic import SecretStr

from contracts.errors import BadInput
from contracts.home import Home
from contracts.settings import load_settings
from registry.web.oidc import Provider, Ticket, role_among, roles_of
from registry.web.people import list_users
from tests.registry.web.conftest import PASSWORD, Browser, Web
from tests.registry.web.provider import CLIENT, SECRET, SmallProvider, running


@pytest.fixture(scope="module")
def provider() -> Iterator[SmallProvider]:
    with running() as provider:
        yield provider


@pytest.fixture
def company(provider: SmallProvider, home: Home) -> Iterator[Web]:
    """A UI whose people sign in through the provider."""
    provider.claims, provider.key, provider.algorithm = {}, provider.own, "RS256"
    with home.writing("test"):
        pass
    settings = load_settings(
        home=home.root, oidc_issuer=provider.issuer, oidc_client_id=CLIENT, oidc_client_secret=SecretStr(SECRET)
    )
    web = Web(settings, home)
    yield web
    web.close()


def _through(browser: Browser, to: str = "/account") -> Any:
    """Click the button, be recognised, come back."""
    away = browser.get(f"/login/provider?to={to}", follow_redirects=False)
    assert away.status_code == 303
    back = httpx.get(away.headers["location"], follow_redirects=False, trust_env=False).headers["location"]
    there = urlsplit(back)
    return browser.get(f"{there.path}?{there.query}", follow_redirects=False)


def test_somebody_whom_the_provider_knows_comes_in_with_the_role_it_gives(
    company: Web, provider: SmallProvider
) -> None:
    browser = company.browser()
    answer = _through(browser, "/work")
    assert (answer.status_code, answer.headers["location"]) == (303, "/work")
    shown = browser.get("/api/account").json()
    assert (shown["name"], shown["role"], shown["signs_in"]) == ("grace", "engineer", "provider")
    asked = provider.asked[-1]
    assert {"openid"} <= set(asked["scope"].split())
    # Its role is what the provider says at each sign-in, and it stays one account.
    provider.claims = {"roles": ["viewer", "approver", "unheard-of"], "preferred_username": "grace.h"}
    assert _through(company.browser()).status_code == 303
    assert [(user.name, user.role) for user in list_users(company.database)] == [("grace", "approver")]
    assert browser.get("/api/account").json()["role"] == "approver"


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"nonce": "of another attempt"}, "nonce"),
        ({"aud": "another-client"}, "aud"),
        ({"iss": "https://elsewhere.example"}, "iss"),
        ({"exp": 1_000_000_000}, "expired"),
    ],
)
def test_an_id_token_that_is_not_for_this_attempt(
    company: Web, provider: SmallProvider, claims: dict[str, Any], why: str
) -> None:
    provider.claims = claims
    answer = _through(company.browser())
    assert answer.status_code == 401
    assert "an ID token that is not valid" in answer.text
    assert why in answer.text
    assert list_users(company.database) == []


def test_an_id_token_signed_by_somebody_else(company: Web, provider: SmallProvider) -> None:
    provider.key = RSAKey.generate_key(2048, parameters={"kid": "one"})
    assert _through(company.browser()).status_code == 401
    # Whoever knows the client's secret must not be able to sign in its provider's name.
    provider.key = OctKey.import_key(SECRET + " made long enough to sign with", {"kid": "one"})
    provider.algorithm = "HS256"
    assert _through(company.browser()).status_code == 401


def test_somebody_without_a_role_stays_outside(company: Web, provider: SmallProvider) -> None:
    provider.claims = {"roles": ["accounting"]}
    answer = _through(company.browser())
    assert answer.status_code == 403
    assert "no value of the claim roles that gives a role" in answer.text


def test_an_answer_without_an_attempt_or_to_another_one(company: Web, provider: SmallProvider) -> None:
    assert "no attempt of this browser" in company.browser().get("/login/provider/return?code=1&state=2").text
    browser = company.browser()
    browser.get("/login/provider", follow_redirects=False)
    assert "an answer to another attempt" in browser.get("/login/provider/return?code=1&state=2").text
    away = browser.get("/login/provider", follow_redirects=False).headers["location"]
    state = parse_qs(urlsplit(away).query)["state"][0]
    refused = browser.get("/login/provider/return", params={"state": state, "error": "access_denied"})
    assert (refused.status_code, "access_denied" in refused.text) == (401, True)
    assert "invalid_grant" in browser.get("/login/provider/return", params={"state": state, "code": "made up"}).text
    assert Ticket.parse("e30=") is None
    assert Ticket.parse("%%%") is None


def test_a_name_that_is_another_account_s_is_not_taken_over(company: Web) -> None:
    from registry.web.people import add_user

    add_user(company.database, "grace", "admin", PASSWORD, "test")
    answer = _through(company.browser())
    assert answer.status_code == 409
    assert "somebody else&#39;s" in answer.text


def test_a_name_of_signs_only(company: Web, provider: SmallProvider) -> None:
    provider.claims = {"preferred_username": "…"}
    assert "a name without a letter or digit" in _through(company.browser()).text


def test_a_provider_that_is_away_leaves_accounts_working(home: Home) -> None:
    with home.writing("test"):
        pass
    web = Web(load_settings(home=home.root, oidc_issuer="http://127.0.0.1:9"), home)
    try:
        answer = web.browser().get("/login/provider")
        assert answer.status_code == 503
        assert "accounts with a password go on working" in answer.text
        assert web.browser("viewer").get("/account").status_code == 200
        assert "Sign in with http://127.0.0.1:9" in web.browser().get("/login").text
    finally:
        web.close()


def test_another_provider_at_the_address(company: Web, provider: SmallProvider) -> None:
    settings = load_settings(oidc_issuer=provider.issuer.replace("127.0.0.1", "localhost"))
    from contracts.errors import ServiceUnavailable

    with pytest.raises(ServiceUnavailable, match="a provider that calls itself"):
        Provider(settings, "http://127.0.0.1/").begin("/")


def test_settings_that_cannot_be_used(web: Web) -> None:
    with pytest.raises(BadInput, match="the https address of an OpenID Connect provider"):
        Provider(load_settings(oidc_issuer="http://login.example.org"), "")
    with pytest.raises(BadInput, match="'ml=boss'; expected VALUE=ROLE"):
        roles_of(load_settings(oidc_roles="a=viewer, ml=boss"))
    assert web.browser().get("/login/provider").status_code == 404


def test_the_highest_role_of_a_claim_counts() -> None:
    roles = roles_of(load_settings(oidc_roles="cn=ml,ou=x=engineer,boss=admin".replace("cn=ml,", "")))
    assert roles == {"ou=x": "engineer", "boss": "admin"}
    assert role_among({"realm": {"roles": ["ou=x", "boss"]}}, "realm.roles", roles) == "admin"
    assert role_among({"realm.roles": "ou=x"}, "realm.roles", roles) == "engineer"
    assert role_among({"realm": "boss"}, "realm.roles", roles) is None
    assert role_among({"realm": {"roles": [1, None]}}, "realm.roles", roles) is None
