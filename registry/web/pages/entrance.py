"""Coming in and going out."""

import secrets
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from pydantic import BaseModel, SecretStr
from starlette.responses import RedirectResponse, Response

from contracts.errors import NotFound, NotSignedIn
from registry.web.access import Person
from registry.web.attempts import forget_failures, note_failure, require_few_failures
from registry.web.csrf import csrf_of
from registry.web.oidc import Provider, Ticket
from registry.web.page import Pages
from registry.web.people import any_users, known_by_password, user_of_provider
from registry.web.render import render
from registry.web.sessions import end_session, open_session
from registry.web.site import Here, Site

__all__ = ["EnterForm", "LoginForm", "inside", "pages", "signed_in"]

pages = Pages("entrance")


class EnterForm(BaseModel):
    """The link's token."""

    token: str


class LoginForm(BaseModel):
    """Name and password, and where to go then."""

    name: str
    password: SecretStr
    to: str = "/"


@pages.file("/enter", permission="enter")
def enter(request: Request, here: Here, token: str = "") -> Response:
    """The page that the link opens; its form uses the token up, this does not."""
    return _with_form(request, here.site, "pages/enter.html", token=token, owner=here.site.owner)


@pages.form("/enter", permission="enter")
def enter_now(here: Here, form: EnterForm) -> Response:
    """Let the home's owner in.

    Raises:
        NotSignedIn: The link has been used, or is of another run.
    """
    site = here.site
    if site.owner is None or not site.use_entry(form.token):
        raise NotSignedIn(
            "link to the registry",
            found="a link that has been used, or that another run has printed",
            expected="the link that `backbeat ui` printed last, which opens once",
            next_step="stop `backbeat ui` with Ctrl-C and start it again",
        )
    return signed_in(site, open_session(site.database, site.settings, site.owner, owner=True), "/")


@pages.form("/logout", permission="leave")
def leave(here: Here) -> Response:
    """End this browser's session."""
    end_session(here.database, here.person.session)
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(here.site.cookie, httponly=True, samesite="lax", secure=here.site.secure)
    return answer


@pages.file("/login", permission="enter")
def login(request: Request, here: Here, to: str = "/") -> Response:
    """The form to sign in with."""
    if here.person.signed_in:
        return RedirectResponse(inside(to), status_code=303)
    site = here.site
    known = {"owner": site.owner, "accounts": any_users(site.database), "provider": site.settings.oidc_issuer}
    return _with_form(request, site, "pages/login.html", to=inside(to), **known)


@pages.form("/login", permission="enter")
def login_now(request: Request, here: Here, form: LoginForm) -> Response:
    """Let somebody in who knows an account's password.

    Raises:
        NotSignedIn: It is not the password, or there is no such account; which of the two is not said.
        TooManyAttempts: Others were tried too often.
    """
    site, address = here.site, request.client.host if request.client else "unknown"
    require_few_failures(site.database, form.name, address)
    if not known_by_password(site.database, form.name, form.password.get_secret_value()):
        note_failure(site.database, form.name, address)
        raise NotSignedIn(
            "signing in",
            found="a name and password that do not belong together",
            expected="those of an account",
            next_step="try again, or ask an admin to run `backbeat users password NAME`",
        )
    forget_failures(site.database, form.name)
    return signed_in(site, open_session(site.database, site.settings, form.name), inside(form.to))


@pages.file("/login/provider", permission="enter")
def to_provider(here: Here, to: str = "/") -> Response:
    """Send the browser to the identity provider; nothing is changed here until it comes back."""
    site = here.site
    url, ticket = _provider(site).begin(inside(to))
    answer = RedirectResponse(url, status_code=303)
    # Lax: it has to come along when the provider sends the browser back.
    answer.set_cookie(_ticket(site), ticket.text(), max_age=600, httponly=True, samesite="lax", secure=site.secure)
    return answer


@pages.file("/login/provider/return", permission="enter")
def from_provider(request: Request, here: Here) -> Response:
    """Let in whom the provider has recognised. The one GET that does something: the protocol has no other.

    Raises:
        NotSignedIn: The answer does not belong to this browser, or is not valid.
        NotPermitted: The provider gives no role.
    """
    site = here.site
    provider = _provider(site)
    ticket = Ticket.parse(request.cookies.get(_ticket(site), ""))
    if ticket is None:
        raise NotSignedIn(
            "signing in through the identity provider",
            found="no attempt of this browser's within the last ten minutes",
            expected="one that was begun here",
            next_step="begin again at /login",
        )
    known = provider.finish(ticket, request.query_params)
    user = user_of_provider(site.database, known.subject, known.name, known.role)
    answer = signed_in(site, open_session(site.database, site.settings, user.name), inside(ticket.to))
    answer.delete_cookie(_ticket(site), httponly=True, samesite="lax", secure=site.secure)
    return answer


def _provider(site: Site) -> Provider:
    if site.settings.oidc_issuer is None:
        raise NotFound(
            "identity provider",
            found="none",
            expected="BACKBEAT_OIDC_ISSUER",
            next_step="sign in with an account at /login",
        )
    return site.kept("provider", lambda: Provider(site.settings, f"{site.url}/login/provider/return"))


def _ticket(site: Site) -> str:
    return f"{site.cookie}-provider"


def inside(path: str) -> str:
    """A path of ours; anything that could lead elsewhere becomes the first page."""
    parts = urlsplit(path)
    own = path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return path if own and path.isprintable() else "/"


def _with_form(request: Request, site: Site, template: str, **values: Any) -> Response:
    """A page with a form for somebody who has no session yet: a cookie of its own carries the form's token."""
    name = f"{site.cookie}-enter"
    early = request.cookies.get(name) or secrets.token_urlsafe(24)
    if not request.state.person.signed_in:
        request.state.person = Person.nobody(csrf_of(early))
    answer = render(request, template, **values)
    answer.set_cookie(name, early, httponly=True, samesite="strict", secure=site.secure)
    return answer


def signed_in(site: Site, secret: str, to: str) -> Response:
    """Send a browser to a page of ours with the cookie of its new session."""
    answer = RedirectResponse(to, status_code=303)
    answer.set_cookie(site.cookie, secret, httponly=True, samesite="lax", secure=site.secure)
    answer.delete_cookie(f"{site.cookie}-enter", httponly=True, samesite="strict", secure=site.secure)
    return answer
