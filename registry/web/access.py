"""Who may do what: the one table of permissions, and the dependency by which every route names one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from contracts.errors import NotPermitted, NotSignedIn
from registry.web.csrf import require_own_form

__all__ = ["ANYBODY", "PERMISSIONS", "ROLES", "Person", "Require", "permissions_of", "require"]

ROLES: Final = ("viewer", "engineer", "approver", "admin")
"""Lowest first; each may do what those before it may."""

ANYBODY: Final = "anybody"
"""In the place of a role: also who has not signed in."""

PERMISSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "enter": ANYBODY,
        "read": "viewer",
        "export": "viewer",
        "leave": "viewer",
        "own-tokens": "viewer",
        "judge": "engineer",
        "request": "engineer",
        "run-jobs": "engineer",
        "decide": "approver",
        "promote": "approver",
        "retire": "approver",
        "rollback": "approver",
        "waive": "approver",
        "experiment": "approver",
        "settle-drift": "approver",
        "people": "admin",
    }
)
"""Permission → the lowest role that has it. Nothing else in the UI looks at roles."""

_SESSION_ONLY: Final = frozenset({"leave", "own-tokens", "people"})
"""What no API token may do: a token that leaks must not make others or change accounts."""


def permissions_of(role: str) -> frozenset[str]:
    """What a role may do."""
    below = {ANYBODY, *ROLES[: ROLES.index(role) + 1]}
    return frozenset(permission for permission, lowest in PERMISSIONS.items() if lowest in below)


@dataclass(frozen=True)
class Person:
    """Who asks."""

    name: str
    """``""`` where nobody has signed in."""
    role: str
    """One of :data:`ROLES`, or :data:`ANYBODY`."""
    via: str
    """``session``, ``token`` or ``nothing``."""
    permissions: frozenset[str] = field(default_factory=frozenset)
    session: str = ""
    """Digest of the session, where there is one."""
    csrf: str = ""
    """What a form of this person's has to bring."""
    owner: bool = False
    """In by the link that was printed at start, so without an account."""

    @classmethod
    def nobody(cls, csrf: str = "") -> "Person":
        """Somebody who has not signed in."""
        enter = frozenset(p for p, lowest in PERMISSIONS.items() if lowest == ANYBODY)
        return cls(name="", role=ANYBODY, via="nothing", permissions=enter, csrf=csrf)

    @classmethod
    def of_session(cls, name: str, role: str, session: str, csrf: str, owner: bool = False) -> "Person":
        """Somebody at a browser."""
        return cls(name, role, "session", permissions_of(role), session, csrf, owner)

    @classmethod
    def of_token(cls, name: str, role: str, scope: frozenset[str]) -> "Person":
        """A program that brings a token: what both the token and its owner's role allow."""
        return cls(name, role, "token", (permissions_of(role) & scope | {"enter"}) - _SESSION_ONLY)

    @property
    def signed_in(self) -> bool:
        """Whether it is known who this is."""
        return self.via != "nothing"

    def may(self, permission: str) -> bool:
        """Whether this person has a permission; templates ask it before they show a button."""
        if permission not in PERMISSIONS:
            raise KeyError(permission)
        return permission in self.permissions


class Require:
    """A dependency that lets only those pass who have a permission; routes without one are refused at start.

    A request that changes something must also come from a form of ours (:mod:`registry.web.csrf`), unless it brings
    a token, which no browser adds by itself.
    """

    def __init__(self, permission: str) -> None:
        if permission not in PERMISSIONS:
            raise KeyError(f"no permission {permission!r} in PERMISSIONS")
        self.permission = permission

    async def __call__(self, request: Request) -> Person:
        """The person who asks.

        Raises:
            NotSignedIn: Nobody has signed in.
            NotPermitted: The role, or the token's scope, does not have the permission; or the form is not ours.
        """
        person: Person = await run_in_threadpool(request.app.state.site.identify, request)
        request.state.person = person
        request.state.turned_away = not person.may(self.permission)
        if request.state.turned_away:
            raise self._refusal(request, person)
        if request.method not in ("GET", "HEAD") and person.via != "token":
            await require_own_form(request, person.csrf, request.app.state.site.origins)
        return person

    def _refusal(self, request: Request, person: Person) -> NotPermitted | NotSignedIn:
        asked, lowest = f"{request.method} {request.url.path}", PERMISSIONS[self.permission]
        if not person.signed_in:
            return NotSignedIn(
                asked,
                found="nobody signed in",
                expected=f"a {lowest}, or a role above",
                next_step="sign in at /login, or send a token of `backbeat users token NAME`",
            )
        if person.via == "token":
            return NotPermitted(
                asked,
                found=f"a token of {person.name} without the permission {self.permission}",
                expected=f"a token with it, whose owner is a {lowest} or above",
                next_step="make one with `backbeat users token NAME --permission ...`, or do it in the UI",
            )
        return NotPermitted(
            asked,
            found=f"{person.name}, who is a {person.role}",
            expected=f"a {lowest}, or a role above: the permission {self.permission}",
            next_step="ask somebody who may, or an admin to run `backbeat users role NAME ROLE`",
        )


def require(permission: str) -> Require:
    """The dependency for a route.

    Args:
        permission: A key of :data:`PERMISSIONS`.
    """
    return Require(permission)
