"""Accounts and their roles, for admins."""

from datetime import datetime

from pydantic import BaseModel, SecretStr

from registry.web.access import PERMISSIONS, ROLES, permissions_of
from registry.web.page import Done, Pages
from registry.web.people import add_user, change_role, list_users, remove_user
from registry.web.site import Here
from registry.web.tokens import list_tokens, revoke_token

__all__ = ["PeoplePage", "PersonForm", "PersonShown", "RoleForm", "RoleShown", "pages"]

pages = Pages("people")


class PersonShown(BaseModel):
    """An account."""

    name: str
    role: str
    signs_in: str
    created_at: datetime
    created_by: str
    tokens: int


class RoleShown(BaseModel):
    """What a role adds to those below it."""

    role: str
    may: list[str]


class PeoplePage(BaseModel):
    """All accounts, and what roles mean."""

    people: list[PersonShown]
    roles: list[RoleShown]


class PersonForm(BaseModel):
    """An account to be made."""

    name: str
    role: str
    password: SecretStr


class RoleForm(BaseModel):
    """Another role."""

    role: str


@pages.page("/people", "pages/people.html", permission="people")
def people(here: Here) -> PeoplePage:
    """Who has an account, and what each role may do."""
    tokens = list_tokens(here.database)
    shown = [
        PersonShown(
            name=user.name,
            role=user.role,
            signs_in=user.signs_in,
            created_at=user.created_at,
            created_by=user.created_by,
            tokens=sum(token.name == user.name for token in tokens),
        )
        for user in list_users(here.database)
    ]
    roles = [RoleShown(role=role, may=[p for p in PERMISSIONS if PERMISSIONS[p] == role]) for role in ROLES]
    return PeoplePage(people=shown, roles=roles)


@pages.action("/people", permission="people")
def add(here: Here, form: PersonForm) -> Done:
    """Make an account that signs in with a password."""
    user = add_user(here.database, form.name, form.role, form.password.get_secret_value(), here.person.name)
    return Done(said=f"{user.name} is a {user.role} and can sign in.", to="/people")


@pages.action("/people/{name}/role", permission="people")
def role(here: Here, name: str, form: RoleForm) -> Done:
    """Give an account another role."""
    user = change_role(here.database, name, form.role, here.person.name)
    may = len(permissions_of(user.role))
    return Done(said=f"{user.name} is a {user.role} from now on, with {may} permissions.", to="/people")


@pages.action("/people/{name}/remove", permission="people")
def remove(here: Here, name: str) -> Done:
    """Remove an account with its sessions and tokens."""
    remove_user(here.database, name, here.person.name)
    return Done(said=f"{name} is removed and signed out.", to="/people")


@pages.action("/people/{name}/tokens/revoke", permission="people")
def revoke(here: Here, name: str) -> Done:
    """End all tokens of an account."""
    ended = list_tokens(here.database, name)
    for token in ended:
        revoke_token(here.database, token.id)
    return Done(said=f"{len(ended)} tokens of {name} are worth nothing now.", to="/people")
