"""``backbeat users``: the people who use the registry's pages and API."""

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contracts.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contracts.database import Database

__all__ = ["users"]

users = typer.Typer(no_args_is_help=True, help="People who use the registry's UI and API.")

NameArgument = Annotated[str, typer.Argument(help="Name of the account.")]


@users.command("list")
def list_all(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List accounts with their roles and tokens. Example: `backbeat users list`"""
    from contracts.console import emit
    from registry.web.people import list_users
    from registry.web.tokens import list_tokens

    with _database(home) as database:
        people, tokens = list_users(database), list_tokens(database)
    document = {
        "users": [
            {
                "name": user.name,
                "role": user.role,
                "signs_in": user.signs_in,
                "created_at": user.created_at.isoformat(),
                "created_by": user.created_by,
                "tokens": [
                    {
                        "id": token.id,
                        "label": token.label,
                        "permissions": sorted(token.permissions),
                        "expires_at": token.expires_at.isoformat(),
                    }
                    for token in tokens
                    if token.name == user.name
                ],
            }
            for user in people
        ]
    }
    lines = []
    for user in people:
        lines.append(f"{user.name:<32}  {user.role:<8}  signs in with {user.signs_in}")
        for token in (token for token in tokens if token.name == user.name):
            may = " ".join(sorted(token.permissions))
            lines.append(f"  token {token.id} until {token.expires_at:%Y-%m-%d}  {token.label}: {may}")
    text = "\n".join(lines) or "no accounts: run `backbeat users add NAME --role admin`"
    emit(document, as_json=as_json, text=text)


@users.command()
def add(
    name: NameArgument,
    role: Annotated[str, typer.Option("--role", help="viewer, engineer, approver or admin.")] = "viewer",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an account; the password is asked for, or read from standard input.

    Example: `backbeat users add ada --role approver`
    """
    from contracts.actor import current_actor
    from contracts.console import emit
    from registry.web.people import add_user, require_role

    require_role(role)  # before the password is asked for
    with _database(home) as database:
        user = add_user(database, name, role, _password(name), current_actor())
    emit({"name": user.name, "role": user.role}, as_json=as_json, text=f"{user.name} is a {user.role}")


@users.command()
def role(
    name: NameArgument,
    to: Annotated[str, typer.Argument(metavar="ROLE", help="viewer, engineer, approver or admin.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give an account another role, from its next request on. Example: `backbeat users role ada admin`"""
    from contracts.actor import current_actor
    from contracts.console import emit
    from registry.web.people import change_role

    with _database(home) as database:
        user = change_role(database, name, to, current_actor())
    emit({"name": user.name, "role": user.role}, as_json=as_json, text=f"{user.name} is a {user.role}")


@users.command()
def password(name: NameArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Give an account another password and sign it out everywhere. Example: `backbeat users password ada`"""
    from contracts.actor import current_actor
    from contracts.console import emit
    from registry.web.people import set_password

    with _database(home) as database:
        set_password(database, name, _password(name), current_actor())
    emit({"name": name}, as_json=as_json, text=f"{name} has another password and is signed out everywhere")


@users.command()
def remove(name: NameArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Remove an account with its sessions and tokens. Example: `backbeat users remove ada`"""
    from contracts.actor import current_actor
    from contracts.console import emit
    from registry.web.people import remove_user

    with _database(home) as database:
        remove_user(database, name, current_actor())
    emit({"name": name}, as_json=as_json, text=f"{name} is removed")


@users.command()
def token(
    name: NameArgument,
    permission: Annotated[
        list[str] | None,
        typer.Option("--permission", help="What it may do; may be given several times. Default: read."),
    ] = None,
    days: Annotated[float, typer.Option("--days", help="How long it is valid, at most 366.")] = 90,
    label: Annotated[str, typer.Option("--label", help="What it is for.")] = "",
    revoke: Annotated[str | None, typer.Option("--revoke", help="End the token of this id instead.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token for programs, shown this once, or end one.

    Example: `backbeat users token ada --permission read --permission judge --label ci`
    """
    from contracts.console import emit
    from registry.web.tokens import new_token, revoke_token

    with _database(home) as database:
        if revoke is not None:
            revoke_token(database, revoke, name)
            emit({"id": revoke, "revoked": True}, as_json=as_json, text=f"token {revoke} is worth nothing now")
            return
        secret, made = new_token(database, name, label, permission or ["read"], days)
    document = {
        "id": made.id,
        "token": secret,
        "permissions": sorted(made.permissions),
        "expires_at": made.expires_at.isoformat(),
    }
    text = f"{secret}\ntoken {made.id} of {name} until {made.expires_at:%Y-%m-%d}; it is not shown again"
    emit(document, as_json=as_json, text=text)


def _password(name: str) -> str:
    """From a terminal twice and unseen, else the first line of standard input; never an argument others could list."""
    if sys.stdin.isatty():
        return str(typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")


@contextmanager
def _database(home: Path | None) -> "Iterator[Database]":
    from contracts.database import Database
    from contracts.opening import open_home

    settings, place = open_home(home)
    database = Database(settings, place)
    try:
        yield database
    finally:
        database.close()
