"""One's own account: what one may do, tokens for programs, another password."""

from datetime import datetime

from pydantic import BaseModel, SecretStr
from starlette.responses import Response

from contracts.clock import utc_now
from contracts.errors import BadInput, NotPermitted
from registry.web.access import PERMISSIONS
from registry.web.attempts import note_failure, require_few_failures
from registry.web.page import Done, Pages
from registry.web.people import known_by_password, list_users, set_password
from registry.web.render import render
from registry.web.site import Here, Visit
from registry.web.tokens import list_tokens, new_token, revoke_token

__all__ = ["AccountPage", "PasswordForm", "TokenForm", "TokenShown", "pages"]

pages = Pages("account")


class TokenShown(BaseModel):
    """A token without its text."""

    id: str
    label: str
    permissions: list[str]
    created_at: datetime
    expires_at: datetime
    expired: bool


class AccountPage(BaseModel):
    """Who one is here."""

    name: str
    role: str
    owner: bool
    """In by the link that was printed: there is no account, so no tokens and no password."""
    signs_in: str
    permissions: list[str]
    tokens: list[TokenShown]
    scopes: list[str]
    """Permissions that one's tokens can have."""


class TokenForm(BaseModel):
    """A token to be made."""

    label: str = ""
    permissions: list[str]
    days: float = 90


class PasswordForm(BaseModel):
    """Another password."""

    now: SecretStr
    new: SecretStr
    again: SecretStr


@pages.page("/account", "pages/account.html")
def account(here: Here) -> AccountPage:
    """One's own account."""
    person = here.person
    user = _account_of(here)
    tokens = list_tokens(here.database, person.name) if user else []
    return AccountPage(
        name=person.name,
        role=person.role,
        owner=user is None,
        signs_in=user or "link",
        permissions=[permission for permission in PERMISSIONS if person.may(permission)],
        tokens=[
            TokenShown(
                id=token.id,
                label=token.label,
                permissions=sorted(token.permissions),
                created_at=token.created_at,
                expires_at=token.expires_at,
                expired=token.expires_at <= utc_now(),
            )
            for token in tokens
        ],
        scopes=[p for p in PERMISSIONS if person.may(p) and p not in ("enter", "leave", "own-tokens", "people")],
    )


@pages.form("/account/tokens", permission="own-tokens")
def make_token(here: Here, form: TokenForm) -> Response:
    """Make a token and show it, this once.

    Raises:
        NotPermitted: It would have a permission that its maker has not, or its maker has no account.
    """
    person = here.person
    if _account_of(here) is None:
        raise NotPermitted(
            "a token",
            found=f"{person.name}, who came in by the link and has no account",
            expected="an account that the token acts for",
            next_step="run `backbeat users add NAME --role ROLE`, then `backbeat users token NAME`",
        )
    beyond = [permission for permission in form.permissions if permission in PERMISSIONS and not person.may(permission)]
    if beyond:
        raise NotPermitted(
            "a token",
            found=f"permissions that a {person.role} has not: {', '.join(beyond)}",
            expected="some of one's own",
            next_step="leave them out",
        )
    secret, made = new_token(here.database, person.name, form.label, form.permissions, form.days)
    return render(here.request, "pages/token.html", secret=secret, token=made)


@pages.action("/account/tokens/{token_id}/revoke", permission="own-tokens")
def revoke(here: Here, token_id: str) -> Done:
    """End one of one's tokens at once."""
    revoke_token(here.database, token_id, here.person.name)
    return Done(said=f"Token {token_id} is worth nothing now.", to="/account")


@pages.action("/account/password", permission="own-tokens")
def another_password(here: Here, form: PasswordForm) -> Done:
    """Change one's password; all browsers are signed out, this one too.

    Raises:
        BadInput: The two new ones differ, or the present one is wrong.
        TooManyAttempts: It was wrong too often.
    """
    name = here.person.name
    if form.new.get_secret_value() != form.again.get_secret_value():
        raise BadInput(
            f"password of {name}", found="two different ones", expected="the same twice", next_step="type it again"
        )
    require_few_failures(here.database, name, name)
    if not known_by_password(here.database, name, form.now.get_secret_value()):
        note_failure(here.database, name, name)
        raise BadInput(
            f"password of {name}",
            found="another one than the account's",
            expected="the present password",
            next_step="type it again",
        )
    set_password(here.database, name, form.new.get_secret_value(), name)
    return Done(said="The password is changed: sign in with it.", to="/login")


def _account_of(here: Visit) -> str | None:
    """How this person's account signs in; None where there is none."""
    if here.person.owner:  # there may be an account of the same name, but it is not this one's
        return None
    return next((user.signs_in for user in list_users(here.database) if user.name == here.person.name), None)
